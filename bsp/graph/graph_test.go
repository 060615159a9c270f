package graph

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func files(t *testing.T, vertices, edges string) (v, e string) {
	t.Helper()
	dir := t.TempDir()
	v, e = filepath.Join(dir, "g.v"), filepath.Join(dir, "g.e")
	for path, text := range map[string]string{v: vertices, e: edges} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return v, e
}

// The parts of all peers together are the graph, whatever the number of peers is.
func TestPartsAreTheGraph(t *testing.T) {
	v, e := files(t, "18446744073709551615\n0\n7\n1000000007\n42\n",
		"0 7 0.5\n0 18446744073709551615 1\n7\t0 2\n18446744073709551615 42 3\n42 42 4e2\n")
	directed := []string{
		"0→18446744073709551615 1", "0→7 0.5", "18446744073709551615→42 3", "42→42 400", "7→0 2",
	}
	undirected := append([]string{
		"18446744073709551615→0 1", "7→0 0.5", "42→18446744073709551615 3", "42→42 400", "0→7 2",
	}, directed...)
	slices.Sort(undirected)
	for _, way := range []bool{true, false} {
		for n := 1; n < 7; n++ {
			parts := make([]*Graph, n)
			for i := range parts {
				var err error
				if parts[i], err = Read(v, e, way, i, n); err != nil {
					t.Fatal(err)
				}
			}
			var ids []uint64
			var edges []string
			for _, g := range parts {
				if g.N != 5 || !slices.IsSorted(g.ids) {
					t.Errorf("N %d, ids %v", g.N, g.ids)
				}
				for v, out := range g.Out() {
					ids = append(ids, g.ID(v))
					for i, u := range out {
						edges = append(edges, fmt.Sprintf("%d→%d %v", g.ID(v), parts[u.Owner()].ID(int(u.Index())), g.Weights(v)[i]))
					}
				}
			}
			slices.Sort(ids)
			slices.Sort(edges)
			want := directed
			if !way {
				want = undirected
			}
			if d := cmp.Diff([]uint64{0, 7, 42, 1000000007, 18446744073709551615}, ids) + cmp.Diff(want, edges); d != "" {
				t.Errorf("%d peers, directed %v:\n%s", n, way, d)
			}
		}
	}
}

func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct{ vertices, edges, want string }{
		"a last line that is cut":        {"1\n2\n", "1 2\n2 1", `g.e:2: the last line "2 1" has no end: the file is truncated`},
		"a vertex that is cut":           {"1\n2", "", `g.v:2: the last line "2" has no end`},
		"an edge without destination":    {"1\n2\n", "1 2\n2\n", `g.e:2: "2": want source and destination`},
		"an edge with too much":          {"1\n2\n", "1 2 3 4\n", `g.e:1: "1 2 3 4": want source`},
		"a weight on some edges":         {"1\n2\n", "1 2 3\n1 2\n", `g.e:2: "1 2": want source`},
		"a weight that is no number":     {"1\n2\n", "1 2 heavy\n", `weight "heavy" is not a number`},
		"a negative id":                  {"-1\n", "", `g.v:1: "-1": "-1" is not an unsigned number`},
		"an id of more than 64 bits":     {"18446744073709551616\n", "", "is not an unsigned number of 64 bits"},
		"an empty line":                  {"1\n\n2\n", "", `g.v:2: "": want one vertex id`},
		"a vertex that is there twice":   {"1\n2\n1\n", "", "vertex 1 is there twice"},
		"an edge from an unknown vertex": {"1\n2\n", "1 2\n3 1\n", `g.e:2: "3 1": vertex 3 is not in the file of vertices`},
		"an edge to an unknown vertex":   {"1\n2\n", "1 2\n1 12\n", `g.e:2: "1 12": vertex 12 is not in the file`},
	} {
		t.Run(name, func(t *testing.T) {
			v, e := files(t, c.vertices, c.edges)
			found := false
			for peer := range 2 { // one of the peers at least
				_, err := Read(v, e, true, peer, 2)
				if err == nil {
					continue
				}
				found = true
				if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %s", err, c.want)
				}
			}
			if !found {
				t.Errorf("no error, want %s", c.want)
			}
		})
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.v"), "", true, 0, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestValuesAreWrittenToTheLastDigit(t *testing.T) {
	v, e := files(t, "9\n5\n", "")
	g, err := Read(v, e, true, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := g.WriteVertexValues(dir, []float64{1.0 / 3, 2e-300}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "part-00000"))
	if err != nil || string(b) != "5 0.3333333333333333\n9 2e-300\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := g.WriteVertexValues(dir, nil); err == nil {
		t.Error("values are missing, and no error")
	}
}
