package bsp_test

import (
	"fmt"
	"testing"

	"groom/bsp"
	"groom/bsp/bsptest"
)

// BenchmarkIdleSuperstep is the cost of a barrier through the SDK, counts checked.
func BenchmarkIdleSuperstep(b *testing.B) {
	for _, n := range []int{2, 4, 8} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			bsptest.Run(b, n, nil, func(p *bsp.Peer) error {
				return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) { return bsp.Vote(k+1 >= b.N), nil }})
			})
		})
	}
}

// BenchmarkExchange sends so many bytes to each other peer in each step; the receiver adds up every value.
func BenchmarkExchange(b *testing.B) {
	for _, n := range []int{2, 4} {
		for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("peers=%d/bytes=%d", n, size), func(b *testing.B) {
				b.SetBytes(int64(size * n * (n - 1)))
				bsptest.Run(b, n, nil, func(p *bsp.Peer) error {
					in := bsp.NewChan(p, "values", bsp.F64, bsp.Sum)
					sum := 0.0
					return p.Run(bsp.Program{Step: func(k int) (bsp.Vote, error) {
						for _, v := range in.Recv() {
							sum += v
						}
						for to := range n {
							if to == p.Index() {
								continue
							}
							for i := range uint32(size / 8) {
								in.Send(to, i, 1)
							}
						}
						return bsp.Vote(k+1 >= b.N), nil
					}})
				})
			})
		}
	}
}
