package barrier

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"groom/api"
	"groom/bsp/frame"
)

// What can happen to a peer, or to a groom, around one arrival.
const (
	nothing = iota
	lostBeforeArrival
	lostAfterArrival
	lostAfterRelease
	ownGroomKilled
	rootKilled
	rootKilledAfterArrival
	happenings
)

// sent is what peer i sends to peer j in a step; no peer sends to every other one.
func sent(n, i, step int) map[int]api.Count {
	m := map[int]api.Count{}
	for j := range n {
		if (i+j+step)%3 > 0 {
			m[j] = api.Count{Messages: int64(1 + i + 10*j), Bytes: int64(100*step + i)}
		}
	}
	return m
}

// expected is the release of a peer, computed from all arrivals in the order of their indexes.
func expected(n, index, step, last int) api.Release {
	r := api.Release{Epoch: 1, Index: index, Step: step, Halt: step == last, Expect: map[int]api.Count{}, Aggs: map[string]api.Agg{}}
	sum := 0.0
	for i := range n {
		if c, ok := sent(n, i, step)[index]; ok {
			r.Expect[i] = c
		}
		sum += part(i, step)
	}
	r.Aggs["sum"] = api.Agg{Op: "sum", Value: sum}
	r.Aggs["most"] = api.Agg{Op: "max", Value: float64(n - 1)}
	return r
}

func part(i, step int) float64 { return 0.1 + float64(i*i*i)/7 + float64(step)/3 }

func (f *fake) steps(last int, happens []int) error {
	n := len(f.c.place)
	for step := 0; step <= last; step++ {
		what := happens[step]
		switch what {
		case lostBeforeArrival:
			f.lose()
		case ownGroomKilled:
			f.c.restart(f.c.place[f.index])
		case rootKilled:
			f.c.restart(0)
		}
		f.open()
		f.arrive(api.Arrive{
			Epoch: 1, Index: f.index, Step: step, Sent: sent(n, f.index, step),
			Halt: step == last || f.index == 0, // one wants to end from the first step on
			Aggs: map[string]api.Agg{
				"sum": {Op: "sum", Value: part(f.index, step)}, "most": {Op: "max", Value: float64(f.index)},
			},
		})
		switch what {
		case lostAfterArrival:
			f.lose()
		case rootKilledAfterArrival:
			f.c.restart(0)
		}
		rel, err := f.await(false)
		if err != nil {
			return fmt.Errorf("peer %d, step %d: %w", f.index, step, err)
		}
		if d := cmp.Diff(expected(n, f.index, step, last), rel); d != "" {
			return fmt.Errorf("release of peer %d from step %d (-want +got):\n%s", f.index, step, d)
		}
		if what == lostAfterRelease {
			f.lose()
		}
	}
	// The last barrier: nobody leaves before all know the end.
	f.c.know.Add(1)
	f.arrive(api.Arrive{Epoch: 1, Index: f.index, Step: last + 1, Halt: true})
	_, err := f.await(true)
	f.lose()
	if knew := f.c.know.Load(); err == nil && knew < int64(n) {
		err = fmt.Errorf("peer %d left when %d of %d knew the end", f.index, knew, n)
	}
	return err
}

// Whatever is lost, and whichever groom is killed: every peer gets every release, with the same content to the last
// bit, and every superstep is recorded.
func TestReleasesSurviveLossesAndKills(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		place := append([]int{0}, rapid.SliceOfN(rapid.IntRange(0, 1), 1, 4).Draw(rt, "place")...)
		last := rapid.IntRange(0, 6).Draw(rt, "last")
		c := newCluster(place...)
		defer c.close()
		errs := make([]error, len(place))
		var peers sync.WaitGroup
		for i := range place {
			happens := rapid.SliceOfN(rapid.IntRange(-6, happenings-1), last+1, last+1).Draw(rt, fmt.Sprint("peer ", i))
			f := &fake{c: c, index: i}
			peers.Go(func() { errs[i] = f.steps(last, happens) })
		}
		peers.Wait()
		for _, err := range errs {
			if err != nil {
				rt.Fatal(err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		next := 0
		for _, s := range c.steps {
			if s.Step > next || s.Step < next-1 { // the newest may be told again
				rt.Fatalf("superstep %d recorded after %d", s.Step, next-1)
			}
			next = s.Step + 1
		}
		if next != last+1 {
			rt.Fatalf("%d supersteps recorded, want %d", next, last+1)
		}
	})
}

// recorder keeps what is written to a stream.
type recorder struct {
	io.ReadWriteCloser
	mu  sync.Mutex
	out bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.out.Write(b)
	r.mu.Unlock()
	return r.ReadWriteCloser.Write(b)
}

func TestOneMessageForEachGroomAndStep(t *testing.T) {
	c := newCluster(0, 1, 1, 1)
	var rec *recorder
	ready := make(chan struct{})
	c.close()
	c.wrap = func(s io.ReadWriteCloser) io.ReadWriteCloser {
		rec = &recorder{ReadWriteCloser: s}
		close(ready)
		return rec
	}
	for g := range c.hubs {
		c.hubs[g] = nil
	}
	c.hubs[0] = c.start(0)
	c.hubs[1] = c.start(1)
	<-ready
	const last = 9
	var peers sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		f := &fake{c: c, index: i}
		peers.Go(func() {
			f.open()
			if kind, _, _ := f.read(); kind != api.FrameWelcome { // from here on the root is reached
				errs[i] = fmt.Errorf("peer %d: frame %d, want a welcome", i, kind)
				return
			}
			errs[i] = f.steps(last, make([]int, last+1))
		})
	}
	peers.Wait()
	c.close()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	got := map[api.FrameType]int{}
	for {
		kind, body, err := frame.Read(&rec.out)
		if err != nil {
			break
		}
		got[kind]++
		var arrivals []api.Arrive
		if kind == frameArrives {
			if err := json.Unmarshal(body, &arrivals); err != nil || len(arrivals) != 3 {
				t.Errorf("%d arrivals in one message: %v", len(arrivals), err)
			}
		}
	}
	if d := cmp.Diff(map[api.FrameType]int{frameHello: 3, frameArrives: last + 2}, got); d != "" {
		t.Error(d)
	}
}

// rollback waits for the end of a peer's epoch. The peer hangs up then.
func rollback(t *testing.T, f *fake, reason string) {
	t.Helper()
	for {
		kind, body, ok := f.read()
		if !ok {
			t.Fatal("the stream ended without a rollback")
		}
		if kind != api.FrameRollback {
			continue
		}
		if !strings.Contains(string(body), reason) {
			t.Errorf("rollback %s, want %q", body, reason)
		}
		f.lose()
		return
	}
}

func TestAnOlderEpochIsFenced(t *testing.T) {
	c := newCluster(0)
	defer c.close()
	old := &fake{c: c}
	old.open()
	next := c.job(0)
	next.Epoch = 2
	c.hubs[0].Begin(next)
	rollback(t, old, "a newer epoch has begun")
	old.open() // it comes too late, or again
	if kind, _, _ := old.read(); kind != api.FrameRollback {
		t.Errorf("frame %d, want a rollback", kind)
	}
	if _, _, ok := old.read(); ok { // a peer that does not hang up is hung up on
		t.Error("another frame after the rollback")
	}
	c.hubs[0].Begin(c.job(0)) // an old directive, told again, changes nothing
	c.epoch = 2
	fresh := &fake{c: c}
	fresh.open()
	if kind, _, _ := fresh.read(); kind != api.FrameWelcome {
		t.Errorf("frame %d, want a welcome", kind)
	}
	fresh.lose()
}

func TestAnEpochThatHasNotBegunIsWaitedFor(t *testing.T) {
	c := newCluster(0)
	defer c.close()
	c.epoch = 2
	f := &fake{c: c}
	opened := make(chan struct{})
	go func() { defer close(opened); f.open() }() // the hub reads the hello when it knows the epoch
	c.hubs[0].Begin(c.job(0))
	<-opened
	if kind, _, _ := f.read(); kind != api.FrameWelcome {
		t.Errorf("frame %d, want a welcome", kind)
	}
	f.lose()
}

func TestTheEndOfAJobEndsItsPeers(t *testing.T) {
	c := newCluster(0)
	defer c.close()
	f := &fake{c: c}
	f.open()
	c.hubs[0].End(job, 7, "another epoch's end")
	if kind, _, _ := f.read(); kind != api.FrameWelcome {
		t.Errorf("frame %d, want a welcome", kind)
	}
	c.hubs[0].End(job, 1, "the job was killed")
	rollback(t, f, "the job was killed")
}

func TestNobodySpeaksForAnother(t *testing.T) {
	for name, c := range map[string]struct {
		hello api.Hello
		want  string
	}{
		"another peer":                {api.Hello{Version: api.Version, Epoch: 1, Index: 1}, "the attempt is peer 0"},
		"another epoch":               {api.Hello{Version: api.Version, Epoch: 2}, "in epoch 2"},
		"an unknown version":          {api.Hello{Version: api.Version + 1, Epoch: 1}, "this build speaks"},
		"an arrival of another peer":  {api.Hello{Version: api.Version, Epoch: 1, Arrivals: []api.Arrive{{Epoch: 1, Index: 1}}}, "repeats an arrival"},
		"an arrival of another epoch": {api.Hello{Version: api.Version, Epoch: 1, Arrivals: []api.Arrive{{Epoch: 3}}}, "in epoch 3"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(0, 0)
			defer cl.close()
			conn, err := cl.connect(0, 1)
			if err != nil {
				t.Fatal(err)
			}
			f := &fake{c: cl, conn: conn}
			f.send(api.FrameHello, c.hello)
			rollback(t, f, c.want)
		})
	}
}

func TestPeersThatDisagreeEndTheirEpoch(t *testing.T) {
	for name, c := range map[string]struct {
		arrive api.Arrive
		want   string
	}{
		"on an operation":      {api.Arrive{Epoch: 1, Aggs: map[string]api.Agg{"a": {Op: "min"}}}, "is \\\"min\\\" and \\\"sum\\\""},
		"on the peers":         {api.Arrive{Epoch: 1, Sent: map[int]api.Count{2: {Messages: 1}}}, "sent to peer 2 of 2"},
		"on the epoch":         {api.Arrive{Epoch: 4}, "of epoch 4"},
		"beyond a float's end": {api.Arrive{Epoch: 1, Aggs: map[string]api.Agg{"a": {Op: "sum", Value: 1.7e308}}}, "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(0, 0)
			defer cl.close()
			a, b := &fake{c: cl}, &fake{c: cl, index: 1}
			a.open()
			b.open()
			b.send(api.FrameArrive, api.Arrive{Epoch: 1, Index: 1, Aggs: map[string]api.Agg{"a": {Op: "sum", Value: 1.7e308}}})
			a.send(api.FrameArrive, c.arrive)
			rollback(t, a, c.want)
			rollback(t, b, c.want)
		})
	}
}

// A peer that reads nothing, as one that was stopped, holds up nobody else's frames.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	c := newCluster(0, 0)
	defer c.close()
	slow, quick := &fake{c: c}, &fake{c: c, index: 1}
	slow.open()
	quick.open()
	for step := range 3 {
		slow.send(api.FrameArrive, api.Arrive{Epoch: 1, Step: step}) // its pipe holds nothing: the welcome waits
		quick.arrive(api.Arrive{Epoch: 1, Index: 1, Step: step})
		if _, err := quick.await(false); err != nil {
			t.Fatal(err)
		}
	}
	slow.lose()
	quick.lose()
}
