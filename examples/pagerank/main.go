// Pagerank ranks the vertices of a graph as LDBC Graphalytics defines it: every vertex starts with 1/n; in each
// iteration it gets (1-d)/n, d times the ranks of its predecessors, each divided by their out-degree, and d/n times
// the rank of all vertices without an edge out. d is 0.85. The ranks stand in the job's output as lines "id rank".
//
// Config of the job file: vertices and edges (files, see package graph), iterations (10 unless told).
package main

import (
	"groom/bsp"
	"groom/bsp/graph"
)

func main() { bsp.Main(pagerank) }

const damping = 0.85

type state struct{ Rank []float64 }

func pagerank(p *bsp.Peer) error {
	g, err := graph.Load(p)
	if err != nil {
		return err
	}
	n, iterations := float64(g.N), p.Config().Int("iterations", 10)
	s := state{Rank: make([]float64, g.Local())}
	for v := range s.Rank {
		s.Rank[v] = 1 / n
	}
	in := bsp.NewChan(p, "rank", bsp.F64, bsp.Sum)
	sinks := bsp.NewAgg(p, "sinks", bsp.Sum)
	return p.Run(bsp.Program{State: &s, Step: func(k int) (bsp.Vote, error) {
		if k > 0 {
			base := (1-damping)/n + damping*sinks.Value()/n
			for v := range s.Rank {
				s.Rank[v] = base
			}
			for v, x := range in.Recv() {
				s.Rank[v] += damping * x
			}
		}
		if k >= iterations {
			return bsp.Halt, nil
		}
		p.Progress(float64(k) / float64(iterations))
		for v, out := range g.Out() {
			if len(out) == 0 {
				sinks.Add(s.Rank[v])
				continue
			}
			share := s.Rank[v] / float64(len(out))
			for _, u := range out {
				in.Send(u.Owner(), u.Index(), share)
			}
		}
		return bsp.Continue, nil
	}, Finish: func() error { return g.WriteVertexValues(p.Output(), s.Rank) }})
}
