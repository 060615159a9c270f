package bsp_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"groom/bsp"
	"groom/bsp/bsptest"
)

// The groom is killed again and again, in the middle of steps and between them: the peers go on where they are, and
// compute the same.
func TestAGroomThatIsKilledLosesNothing(t *testing.T) {
	const steps = 60
	for _, c := range []struct{ n, grooms int }{{1, 1}, {2, 1}, {5, 1}, {2, 2}, {5, 3}} {
		n := c.n
		g := bsptest.Spread(t.TempDir(), c.grooms, n, nil)
		res := g.Try(func(p *bsp.Peer) error {
			in := bsp.NewChan(p, "in", bsp.U64, bsp.Sum)
			agg := bsp.NewAgg(p, "agg", bsp.Sum)
			return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
				if p.Index() == k%n && k%5 == 4 {
					g.Restart()
				}
				if k > 0 {
					got := uint64(0)
					for _, v := range in.Recv() {
						got += v
					}
					if want := uint64(n*(n-1)/2 + n*(k-1)); got != want || agg.Value() != float64(n*(k-1)) {
						return bsp.Halt, fmt.Errorf("step %d: %d and %v, want %d", k, got, agg.Value(), want)
					}
				}
				for to := range n {
					in.Send(to, 3, uint64(p.Index()))
					in.Send(to, 3, uint64(k))
				}
				agg.Add(float64(k))
				return bsp.Vote(k == steps), nil
			}})
		})
		g.Close()
		for i, err := range res.Errs {
			if err != nil {
				t.Errorf("%d peers on %d grooms, peer %d: %v", n, c.grooms, i, err)
			}
		}
		if last := res.Steps[len(res.Steps)-1]; last.Step != steps {
			t.Errorf("%d peers: the last superstep recorded is %d", n, last.Step)
		}
	}
}

// The end of an epoch ends a peer at once, even one that computes.
func TestRollbackDoesNotWaitForTheProgram(t *testing.T) {
	g := bsptest.Start(t.TempDir(), 2, nil)
	defer g.Close()
	release := make(chan struct{})
	var computing, waiting atomic.Bool
	go func() {
		defer close(release)
		for !computing.Load() || !waiting.Load() {
			time.Sleep(time.Millisecond)
		}
		g.EndEpoch()
	}()
	res := g.Try(func(p *bsp.Peer) error {
		if err := p.Sync(); err != nil {
			return err
		}
		if p.Index() == 0 {
			computing.Store(true)
			<-release
		}
		waiting.Store(true)
		return p.Sync()
	})
	for i, err := range res.Errs {
		if !errors.Is(err, bsp.ErrRolledBack) {
			t.Errorf("peer %d: %v", i, err)
		}
	}
}
