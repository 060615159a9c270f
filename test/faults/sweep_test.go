package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

var (
	sweepAll  = flag.Bool("sweep.all", false, "kill at every system call, and not at a sample of them")
	sweepSeed = flag.Uint64("sweep.seed", 1, "which sample")
)

// sampled is how many calls of each sweep the short form kills at.
const sampled = 6

// sweeps is what is killed in which scenario. The groom is killed in a first start, which makes everything, in one that
// stops a task and in one that adopts; the shim in a life that ends by itself, and in one that is ended.
var sweeps = []struct{ who, scenario string }{
	{"groom", "succeeds"},
	{"groom", "stopped"},
	{"groom", "adopted"},
	{"groom", "shim lost"},
	{"shim", "succeeds"},
	{"shim", "fails"},
	{"shim", "stopped"},
	{"shim", "stubborn"},
}

// A registry of failpoints can miss a step. Here the system calls themselves are counted, and the process is killed
// before the n-th, for every n up to the end of the scenario.
func TestSweep(t *testing.T) {
	var points, kills, violations atomic.Int64
	totals := make([]int, len(sweeps))
	t.Run("count", func(t *testing.T) {
		for i, c := range sweeps {
			t.Run(c.who+", "+c.scenario, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				if err := w.cut(scenarios[c.scenario], c.who, 0); err != nil {
					t.Fatal(err)
				}
				totals[i], _, _ = w.counted()
			})
		}
	})
	t.Run("kill", func(t *testing.T) {
		for i, c := range sweeps {
			for _, n := range chosen(totals[i]) {
				points.Add(1)
				t.Run(fmt.Sprintf("%s, %s, call %d", c.who, c.scenario, n), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					if err := w.cut(scenarios[c.scenario], c.who, n); err != nil {
						t.Error(err)
					}
					_, killed, what := w.counted()
					if killed {
						kills.Add(1)
					}
					for _, v := range w.sum {
						violations.Add(1)
						t.Errorf("killed at %s: %s", what, v)
					}
				})
			}
		}
	})
	fmt.Printf("sweep: %v calls; %d points, %d killed, %d violations\n", totals, points.Load(), kills.Load(), violations.Load())
	if 10*kills.Load() < 9*points.Load() {
		t.Errorf("only %d of %d points were reached", kills.Load(), points.Load())
	}
}

// chosen is every call, or a sample of them.
func chosen(total int) []int {
	if *sweepAll {
		all := make([]int, total)
		for i := range all {
			all[i] = i + 1
		}
		return all
	}
	r := rand.New(rand.NewPCG(*sweepSeed, uint64(total)))
	var some []int
	for i := range sampled {
		from, end := i*total/sampled, (i+1)*total/sampled
		if end > from {
			some = append(some, from+1+r.IntN(end-from))
		}
	}
	return some
}

// cut takes the world through a scenario with a kill at the n-th call, then through a life without.
func (w *world) cut(sc scenario, who string, n int) error {
	if err := w.prepare(sc); err != nil {
		return err
	}
	a, err := w.begin(life{wrap: []string{filepath.Join(bin, "cut"), "-who", who, "-n", fmt.Sprint(n), "-o", filepath.Join(w.dir, "cut"), "--"}})
	if err != nil {
		return err
	}
	if _, err := w.drive(a, sc); err != nil {
		return err
	}
	a.kill9()
	return w.finish(sc)
}

// counted is how far the count came, whether there was a kill, and before which call.
func (w *world) counted() (n int, killed bool, what string) {
	b, _ := os.ReadFile(filepath.Join(w.dir, "cut"))
	_, _ = fmt.Sscan(string(b), &n)
	_, what, killed = strings.Cut(strings.TrimSpace(string(b)), "killed at ")
	return n, killed, fmt.Sprintf("call %d, %s", n, what)
}
