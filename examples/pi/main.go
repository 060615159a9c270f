// Pi estimates π by throwing points at a square and counting those within the circle in it. Each peer throws its share
// of the points; a point is made from its number alone, so the estimate depends on how many there are in all, and not
// on how many peers throw them.
//
// Config of the job file: samples (10 million unless told). The estimate is printed by peer 0, and stands in the job's
// output as the file "pi".
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"groom/bsp"
)

func main() { bsp.Main(pi) }

func pi(p *bsp.Peer) error {
	samples := p.Config().Int("samples", 10_000_000)
	if samples < 1 {
		return fmt.Errorf("config samples: %d is not a number of points", samples)
	}
	inside := bsp.NewAgg(p, "inside", bsp.Sum)
	return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
		if k == 0 {
			first, end := samples*p.Index()/p.N(), samples*(p.Index()+1)/p.N()
			inside.Add(float64(count(first, end)))
			return bsp.Continue, nil
		}
		if p.Index() > 0 {
			return bsp.Halt, nil
		}
		estimate := 4 * inside.Value() / float64(samples)
		fmt.Printf("pi is about %.8f, by %d points\n", estimate, samples)
		return bsp.Halt, os.WriteFile(filepath.Join(p.Output(), "pi"), fmt.Appendf(nil, "%.8f\n", estimate), 0o644)
	}})
}

// count throws the points from first up to end, and counts those within the circle.
func count(first, end int) (inside int) {
	for i := first; i < end; i++ {
		z := random(uint64(i))
		x, y := float64(z>>32)/(1<<32), float64(uint32(z))/(1<<32)
		if x*x+y*y < 1 {
			inside++
		}
	}
	return inside
}

// random is number i of a sequence of random numbers (SplitMix64), each of which can be had without those before it.
func random(i uint64) uint64 {
	z := (i + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
