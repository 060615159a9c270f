// Rounds is a BSP program that goes from superstep to superstep until a file is there, for tests that stop the world
// under it.
package main

import (
	"os"
	"time"

	"groom/bsp"
)

func main() {
	bsp.Main(func(p *bsp.Peer) error {
		open := bsp.NewAgg(p, "open", bsp.Sum)
		return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
			if k > 0 && open.Value() > 0 { // all of them see it in the same step
				return bsp.Halt, nil
			}
			time.Sleep(10 * time.Millisecond)
			if _, err := os.Stat(os.Getenv("GATE")); err == nil {
				open.Add(1)
			}
			return bsp.Continue, nil
		}})
	})
}
