// Package graph gives each peer of a BSP job its part of a graph, in the file format of LDBC Graphalytics: a file of
// vertices, one id a line, and one of edges, "source destination" or "source destination weight". Ids are any unsigned
// numbers of 64 bits.
//
// A vertex belongs to one peer, together with the edges that leave it. Which one is decided by its id and the number
// of peers alone, so every peer knows the owner of every vertex, and reads both files by itself.
package graph

import (
	"bufio"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"groom/bsp"
)

// Ref is where a vertex lives: its owner, and its index there. The two are what a channel's Send asks for.
type Ref uint64

func ref(owner, index int) Ref { return Ref(owner)<<32 | Ref(index) }

// Owner is the peer that the vertex belongs to.
func (r Ref) Owner() int { return int(r >> 32) }

// Index is the number of the vertex at its owner.
func (r Ref) Index() uint32 { return uint32(r) }

// Graph is one peer's part of a graph. Vertices of the part are numbered from 0 in the order of their ids.
type Graph struct {
	N int // vertices of the whole graph

	peer    int
	ids     []uint64
	start   []int // of the edges of each vertex, and the end of the last
	dst     []Ref
	weights []float64 // nil when the edges have none
}

// Load reads this peer's part of the graph that the job file names: config keys "vertices" and "edges" are the two
// files, and "directed" (true unless told) says whether an edge can be followed one way only.
func Load(p *bsp.Peer) (*Graph, error) {
	c := p.Config()
	vertices, edges := c.String("vertices", ""), c.String("edges", "")
	if vertices == "" || edges == "" {
		return nil, errors.New(`the job file names no graph: config needs "vertices" and "edges"`)
	}
	return Read(vertices, edges, c.Bool("directed", true), p.Index(), p.N())
}

// Read reads the part of one of n peers.
func Read(vertices, edges string, directed bool, peer, n int) (*Graph, error) {
	all, err := readVertices(vertices)
	if err != nil {
		return nil, err
	}
	g := &Graph{N: len(all), peer: peer}
	x := newIndex(len(all))
	next := make([]int, n)
	for _, id := range all { // in ascending order, so that numbers follow ids
		owner := owner(id, n)
		x.add(id, ref(owner, next[owner]))
		next[owner]++
		if owner == peer {
			g.ids = append(g.ids, id)
		}
	}
	if next[peer] > math.MaxUint32 {
		return nil, fmt.Errorf("%s: %d vertices are too many for one peer", vertices, next[peer])
	}
	return g, g.readEdges(edges, directed, x, n)
}

// owner spreads vertices evenly, whatever their ids are. Ids that follow each other often have neighbours and degrees
// in common, so ranges of them would not.
func owner(id uint64, n int) int { return int(mix(id^0x5bd1e995) % uint64(n)) }

// readVertices reads all ids in ascending order.
func readVertices(path string) ([]uint64, error) {
	var ids []uint64
	err := lines(path, func(_ int, fields [][]byte) error {
		if len(fields) != 1 {
			return fmt.Errorf("want one vertex id: %w", ErrFormat)
		}
		id, err := vertexID(fields[0])
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			return nil, fmt.Errorf("%s: vertex %d is there twice: %w", path, ids[i], ErrFormat)
		}
	}
	return ids, nil
}

// edge is one that leaves a vertex of this peer.
type edge struct {
	src    uint32
	dst    Ref
	weight float64
}

// readEdges keeps the edges that leave this peer's vertices. Their other ends are looked up by one peer each, so all
// peers together check all of them.
func (g *Graph) readEdges(path string, directed bool, x *index, n int) error {
	var edges []edge
	columns := 0
	err := lines(path, func(line int, fields [][]byte) error {
		if line == 1 {
			columns = len(fields)
		}
		if len(fields) != columns || columns < 2 || columns > 3 {
			return fmt.Errorf("want source and destination, and a weight on all lines or on none: %w", ErrFormat)
		}
		var ends [2]uint64
		for i := range ends {
			var err error
			if ends[i], err = vertexID(fields[i]); err != nil {
				return err
			}
		}
		from, to := owner(ends[0], n) == g.peer, !directed && owner(ends[1], n) == g.peer
		if !from && !to {
			return nil
		}
		var refs [2]Ref
		for i := range refs {
			var ok bool
			if refs[i], ok = x.find(ends[i]); !ok {
				return fmt.Errorf("vertex %d is not in the file of vertices: %w", ends[i], ErrFormat)
			}
		}
		w := 0.0
		if columns == 3 {
			var err error
			if w, err = weight(fields[2]); err != nil {
				return err
			}
		}
		if from {
			edges = append(edges, edge{refs[0].Index(), refs[1], w})
		}
		if to {
			edges = append(edges, edge{refs[1].Index(), refs[0], w})
		}
		return nil
	})
	if err != nil {
		return err
	}
	g.arrange(edges, columns == 3)
	return nil
}

// arrange sorts edges by the vertex that they leave, and keeps the order of the file among those of one vertex.
func (g *Graph) arrange(edges []edge, weighted bool) {
	g.start = make([]int, len(g.ids)+1)
	g.dst = make([]Ref, len(edges))
	if weighted {
		g.weights = make([]float64, len(edges))
	}
	for _, e := range edges {
		g.start[e.src+1]++
	}
	for v := range g.ids {
		g.start[v+1] += g.start[v]
	}
	next := slices.Clone(g.start)
	for _, e := range edges {
		at := next[e.src]
		next[e.src]++
		g.dst[at] = e.dst
		if weighted {
			g.weights[at] = e.weight
		}
	}
}

// Local is how many vertices this peer has.
func (g *Graph) Local() int { return len(g.ids) }

// ID is the id of a vertex of this peer.
func (g *Graph) ID(v int) uint64 { return g.ids[v] }

// Out yields each vertex of this peer with the vertices that its edges lead to.
func (g *Graph) Out() iter.Seq2[int, []Ref] {
	return func(yield func(int, []Ref) bool) {
		for v := range g.ids {
			if !yield(v, g.dst[g.start[v]:g.start[v+1]]) {
				return
			}
		}
	}
}

// Weights are those of the edges of a vertex, in the order in which Out yields them; nil when the edges have none.
func (g *Graph) Weights(v int) []float64 {
	if g.weights == nil {
		return nil
	}
	return g.weights[g.start[v]:g.start[v+1]]
}

// WriteVertexValues writes one line "id value" for each vertex of this peer into a file part-NNNNN in a directory:
// Peer.Output. Values have as many digits as it takes to read the same number back.
func (g *Graph) WriteVertexValues(dir string, values []float64) error {
	if len(values) != len(g.ids) {
		return fmt.Errorf("write values: %d values for %d vertices", len(values), len(g.ids))
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("part-%05d", g.peer)))
	if err != nil {
		return fmt.Errorf("write values: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<18)
	var line []byte
	for v, id := range g.ids {
		line = strconv.AppendUint(line[:0], id, 10)
		line = append(line, ' ')
		line = strconv.AppendFloat(line, values[v], 'g', -1, 64)
		_, _ = w.Write(append(line, '\n')) // Flush returns the first error
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("write values: %w", err)
	}
	return nil
}
