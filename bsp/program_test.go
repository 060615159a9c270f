package bsp_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groom/bsp"
	"groom/bsp/bsptest"
)

var peers = []int{1, 2, 5}

func TestMessagesArriveInTheNextStepInOrder(t *testing.T) {
	for _, n := range peers {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bsptest.Run(t, n, nil, func(p *bsp.Peer) error {
				for k := range 20 {
					var want, got []string
					if k > 0 {
						for from := range n {
							for i := range 3 {
								want = append(want, fmt.Sprintf("%d: %d→%d %d", k-1, from, p.Index(), i))
							}
						}
					}
					for from, m := range p.Messages() {
						if !strings.Contains(string(m), fmt.Sprintf(" %d→", from)) {
							return fmt.Errorf("from %d: %s", from, m)
						}
						got = append(got, string(m))
					}
					if d := cmp.Diff(want, got); d != "" {
						return fmt.Errorf("step %d:\n%s", k, d)
					}
					for to := range n {
						for i := range 3 {
							p.Send(to, fmt.Appendf(nil, "%d: %d→%d %d", k, p.Index(), to, i))
						}
					}
					if err := p.Sync(); err != nil {
						return err
					}
					if p.Superstep() != k+1 {
						return fmt.Errorf("in step %d after %d", p.Superstep(), k)
					}
				}
				return nil
			})
		})
	}
}

// Large values make many blocks, and one that is larger than any.
func TestBlocksOfEverySize(t *testing.T) {
	sizes := []int{0, 1, 100, 255 << 10, 256 << 10, 300 << 10, 3 << 20}
	bsptest.Run(t, 3, nil, func(p *bsp.Peer) error {
		in := bsp.NewChan(p, "sizes", bsp.Bytes, bsp.None)
		return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
			if k == 0 {
				for to := range p.N() {
					for i, size := range sizes {
						in.Send(to, uint32(i), []byte(strings.Repeat(string(rune('a'+p.Index())), size)))
					}
				}
				return bsp.Continue, nil
			}
			i := 0
			for index, m := range in.Recv() {
				from := i / len(sizes)
				if want := strings.Repeat(string(rune('a'+from)), sizes[index]); int(index) != i%len(sizes) || want != string(m) {
					return bsp.Halt, fmt.Errorf("message %d: index %d, %d bytes", i, index, len(m))
				}
				i++
			}
			if i != 3*len(sizes) {
				return bsp.Halt, fmt.Errorf("%d messages", i)
			}
			return bsp.Halt, nil
		}})
	})
}

func TestChannelsCombine(t *testing.T) {
	const spread = 100_000
	far := []uint32{1 << 24, 1<<24 + 1, math.MaxUint32} // without a slot
	for _, n := range peers {
		res := bsptest.Run(t, n, nil, func(p *bsp.Peer) error {
			sum := bsp.NewChan(p, "sum", bsp.F64, bsp.Sum)
			least := bsp.NewChan(p, "least", bsp.I64, bsp.Min)
			most := bsp.NewChan(p, "most", bsp.U64, bsp.Max)
			all := bsp.NewChan(p, "all", bsp.U64, bsp.None)
			return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
				if k == 0 {
					for to := range n {
						for round := range 3 {
							for i := uint32(0); i < spread; i += 7 {
								sum.Send(to, i, float64(i))
								least.Send(to, i, -int64(round))
							}
							for _, i := range far {
								sum.Send(to, i, 1)
							}
							most.Send(to, 77, uint64(round))
							all.Send(to, uint32(round), uint64(p.Index()))
						}
					}
					return bsp.Continue, nil
				}
				got := map[uint32]float64{}
				for i, v := range sum.Recv() {
					got[i] += v
				}
				if len(got) != (spread+6)/7+len(far) {
					return bsp.Halt, fmt.Errorf("%d sums", len(got))
				}
				for i, v := range got {
					want := 3 * float64(n) * float64(i)
					if i >= 1<<24 {
						want = 3 * float64(n)
					}
					if v != want {
						return bsp.Halt, fmt.Errorf("sum %d is %v, want %v", i, v, want)
					}
				}
				for i, v := range least.Recv() {
					if v != -2 {
						return bsp.Halt, fmt.Errorf("least %d is %d", i, v)
					}
				}
				for i, v := range most.Recv() {
					if i != 77 || v != 2 {
						return bsp.Halt, fmt.Errorf("most %d is %d", i, v)
					}
				}
				var order []uint64
				for _, v := range all.Recv() {
					order = append(order, v)
				}
				for i, v := range order {
					if v != uint64(i/3) {
						return bsp.Halt, fmt.Errorf("order of senders %v", order)
					}
				}
				return bsp.Halt, nil
			}})
		})
		combined := 2*((spread+6)/7) + len(far) + 1 + 3
		if got, want := res.Steps[0].Messages, int64(n*n*combined); got != want {
			t.Errorf("%d peers: %d messages, want %d", n, got, want)
		}
		if len(res.Steps) != 2 {
			t.Errorf("%d peers: %d steps, want 2", n, len(res.Steps))
		}
	}
}

func TestAggregatorsAreSeenInTheNextStep(t *testing.T) {
	bsptest.Run(t, 4, nil, func(p *bsp.Peer) error {
		sum, least, most := bsp.NewAgg(p, "sum", bsp.Sum), bsp.NewAgg(p, "least", bsp.Min), bsp.NewAgg(p, "most", bsp.Max)
		return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
			got := []float64{sum.Value(), least.Value(), most.Value()}
			want := []float64{0, math.Inf(1), math.Inf(-1)}
			if k == 1 {
				want = []float64{0.1 + 0.2 + (0.1 + 0.3) + 0.4, 1, 4}
				want[0] = ((0.1 + 0.2) + 0.3) + 0.4 // in the order of the peers, and not another
			}
			if d := cmp.Diff(want, got); d != "" {
				return bsp.Halt, fmt.Errorf("step %d: %s", k, d)
			}
			if k == 0 {
				i := float64(p.Index() + 1)
				sum.Add(i / 10)
				least.Add(i)
				most.Add(i)
				return bsp.Continue, nil
			}
			return bsp.Vote(k == 2), nil
		}})
	})
}

// The job goes on as long as one peer wants to; one whose program has returned takes part in the barriers still.
func TestPeersThatEndAtDifferentSteps(t *testing.T) {
	res := bsptest.Run(t, 3, nil, func(p *bsp.Peer) error {
		for range 4 * p.Index() {
			if err := p.Sync(); err != nil {
				return err
			}
		}
		return nil
	})
	if len(res.Steps) != 9 {
		t.Errorf("%d steps, want 9", len(res.Steps))
	}
}

var errTest = errors.New("by the program")

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		config  map[string]string
		program func(*bsp.Peer) error
		want    string
	}{
		"an error": {nil, func(*bsp.Peer) error { return errTest }, "by the program"},
		"a panic":  {nil, func(*bsp.Peer) error { panic("oh") }, "panic: oh"},
		"an error in a step": {nil, func(p *bsp.Peer) error {
			return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
				if k == 3 {
					return bsp.Halt, errTest
				}
				return bsp.Continue, nil
			}})
		}, "step 3: by the program"},
		"a value of the job file": {map[string]string{"n": "many"}, func(p *bsp.Peer) error {
			p.Config().Int("n", 1)
			return nil
		}, `config n: "many" is not a whole number`},
		"an aggregator that is not a number": {nil, func(p *bsp.Peer) error {
			bsp.NewAgg(p, "error", bsp.Sum).Add(math.NaN())
			return p.Sync()
		}, `aggregator "error": NaN`},
		"a channel that the receiver does not have": {nil, func(p *bsp.Peer) error {
			bsp.NewChan(p, "a", bsp.F64, bsp.None)
			if p.Index() == 0 {
				bsp.NewChan(p, "b", bsp.F64, bsp.None).Send(1, 0, 1)
			}
			return errors.Join(p.Sync(), p.Sync())
		}, "a channel that this peer does not have"},
		"two channels of one name": {nil, func(p *bsp.Peer) error {
			bsp.NewChan(p, "a", bsp.F64, bsp.None)
			bsp.NewChan(p, "a", bsp.F64, bsp.None)
			return nil
		}, `channel "a" is there already`},
		"sums of bytes": {nil, func(p *bsp.Peer) error {
			bsp.NewChan(p, "a", bsp.Bytes, bsp.Sum)
			return nil
		}, `cannot have operation "sum"`},
	} {
		t.Run(name, func(t *testing.T) {
			res := bsptest.Try(t, 2, c.config, c.program)
			found := false
			for _, err := range res.Errs {
				switch {
				case err == nil:
					t.Error("a peer is done")
				case strings.Contains(err.Error(), c.want):
					found = true
				case !errors.Is(err, bsp.ErrRolledBack):
					t.Errorf("a peer ended with %v", err)
				}
			}
			if !found {
				t.Errorf("errors %v, want one with %q", res.Errs, c.want)
			}
		})
	}
}

// A peer that fails late ends the others while they wait.
func TestSurvivorsAreRolledBack(t *testing.T) {
	res := bsptest.Try(t, 4, nil, func(p *bsp.Peer) error {
		for k := range 100 {
			if k == 10 && p.Index() == 2 {
				return errTest
			}
			for to := range p.N() {
				p.Send(to, binary.BigEndian.AppendUint64(nil, uint64(k)))
			}
			if err := p.Sync(); err != nil {
				return err
			}
		}
		return nil
	})
	for i, err := range res.Errs {
		want := bsp.ErrRolledBack
		if i == 2 {
			want = errTest
		}
		if !errors.Is(err, want) {
			t.Errorf("peer %d: %v, want %v", i, err, want)
		}
	}
}

func TestOutsideOfAGroom(t *testing.T) {
	err := bsp.Run(func(string) string { return "" }, func(*bsp.Peer) error { return nil })
	if !errors.Is(err, bsp.ErrNoGroom) || !strings.Contains(err.Error(), "groom run JOB.yaml") {
		t.Errorf("error %v", err)
	}
}
