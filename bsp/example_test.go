package bsp_test

import (
	"fmt"
	"os"

	"groom/bsp"
	"groom/bsp/bsptest"
)

// largest finds the largest number that any peer has: each tells it to its right-hand neighbour until nobody has
// learnt anything new.
func largest(p *bsp.Peer) error {
	best := uint64(17 * (p.Index() + 1) % 10)
	in := bsp.NewChan(p, "best", bsp.U64, bsp.Max)
	return p.Run(bsp.Program{
		State: &best,
		Step: func(k int) (bsp.Vote, error) {
			news := k == 0
			for _, v := range in.Recv() {
				if v > best {
					best, news = v, true
				}
			}
			if news {
				in.Send((p.Index()+1)%p.N(), 0, best)
			}
			return bsp.Vote(!news), nil
		},
		Finish: func() error {
			if p.Index() == 0 {
				fmt.Println("the largest is", best)
			}
			return nil
		},
	})
}

// A program is run by Main as a task of a groom, and by bsptest in a test.
func Example() {
	g := bsptest.Start(os.TempDir(), 4, nil) // it writes nothing
	defer g.Close()
	g.Try(largest)
	// Output: the largest is 8
}
