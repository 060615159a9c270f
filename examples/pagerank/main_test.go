package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"groom/bsp/bsptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// example is a graph with sparse ids, a third of which dangle, and a few vertices that take most edges.
type example struct {
	ids   []uint64
	edges [][2]int
}

func newExample(n int) example {
	r := rand.New(rand.NewPCG(1, 2))
	var x example
	for i := range n {
		x.ids = append(x.ids, uint64(i)*0x9e3779b97f4a7c15)
		if i%3 == 0 {
			continue
		}
		for range 1 + r.IntN(6) {
			x.edges = append(x.edges, [2]int{i, int(float64(n) * math.Pow(r.Float64(), 3))})
		}
	}
	return x
}

func (x example) write(t *testing.T) (vertices, edges string) {
	t.Helper()
	var v, e strings.Builder
	for _, id := range x.ids {
		fmt.Fprintln(&v, id)
	}
	for _, pair := range x.edges {
		fmt.Fprintln(&e, x.ids[pair[0]], x.ids[pair[1]])
	}
	dir := t.TempDir()
	vertices, edges = filepath.Join(dir, "g.v"), filepath.Join(dir, "g.e")
	for path, text := range map[string]string{vertices: v.String(), edges: e.String()} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return vertices, edges
}

// ranks computes what the example should, in one thread, by pulling along the edges and not by pushing.
func (x example) ranks(iterations int) map[uint64]float64 {
	n := len(x.ids)
	into, degree := make([][]int, n), make([]int, n)
	for _, e := range x.edges {
		into[e[1]] = append(into[e[1]], e[0])
		degree[e[0]]++
	}
	rank := make([]float64, n)
	for v := range rank {
		rank[v] = 1 / float64(n)
	}
	for range iterations {
		lost := 0.0
		for v, d := range degree {
			if d == 0 {
				lost += rank[v]
			}
		}
		next := make([]float64, n)
		for v := range next {
			sum := 0.0
			for _, u := range into[v] {
				sum += rank[u] / float64(degree[u])
			}
			next[v] = 0.15/float64(n) + 0.85*(sum+lost/float64(n))
		}
		rank = next
	}
	byID := map[uint64]float64{}
	for v, id := range x.ids {
		byID[id] = rank[v]
	}
	return byID
}

func TestRanksAreThoseOfOneThread(t *testing.T) {
	x := newExample(3000)
	vertices, edges := x.write(t)
	for _, iterations := range []int{0, 1, 25} {
		want := x.ranks(iterations)
		for _, peers := range []int{1, 2, 5} {
			config := map[string]string{"vertices": vertices, "edges": edges, "iterations": fmt.Sprint(iterations)}
			got := read(t, bsptest.Run(t, peers, config, pagerank).Output, peers)
			if len(got) != len(want) {
				t.Fatalf("%d peers: %d ranks, want %d", peers, len(got), len(want))
			}
			sum := 0.0
			for id, w := range want {
				sum += got[id]
				if math.Abs(got[id]-w) > 1e-12*w {
					t.Fatalf("%d peers, %d iterations: rank of %d is %v, want %v", peers, iterations, id, got[id], w)
				}
			}
			if math.Abs(sum-1) > 1e-9 {
				t.Errorf("%d peers, %d iterations: ranks sum to %v", peers, iterations, sum)
			}
		}
	}
}

func read(t *testing.T, output string, peers int) map[uint64]float64 {
	t.Helper()
	ranks := map[uint64]float64{}
	for i := range peers {
		b, err := os.ReadFile(filepath.Join(output, fmt.Sprintf("part-%05d", i)))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var id uint64
			var rank float64
			if _, err := fmt.Sscan(line, &id, &rank); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if _, twice := ranks[id]; twice {
				t.Fatalf("vertex %d is in two parts", id)
			}
			ranks[id] = rank
		}
	}
	return ranks
}

func TestNoGraph(t *testing.T) {
	res := bsptest.Try(t, 1, nil, pagerank)
	if err := res.Errs[0]; err == nil || !strings.Contains(err.Error(), `config needs "vertices" and "edges"`) {
		t.Errorf("error %v", err)
	}
}
