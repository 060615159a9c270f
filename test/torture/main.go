// Torture runs the real groom under random kills of itself, its shims and its tasks, and judges it by what the tasks
// left on disk. Its last line counts the violations of each invariant; it exits 1 when there is one. See `make torture`
// and CONTRIBUTING.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	n, round int
	seed     uint64
	bin, dir string
	power    string
	groups   string
	only     string
	verbose  bool
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 400, "cycles: each kills, freezes or crashes something")
	flag.IntVar(&o.round, "round", 100, "cycles until everything is ended and judged, and begun anew with empty tables")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the plan (default: drawn, and printed)")
	flag.StringVar(&o.bin, "bin", "bin", "directory of groom, pi and task")
	flag.StringVar(&o.dir, "dir", "", "directory for what the rounds leave (default: a temporary one, removed when nothing is found)")
	flag.StringVar(&o.power, "power", "some", "rounds on a machine that loses its power: some, all or none")
	flag.StringVar(&o.groups, "groups", "some", "rounds on a machine with control groups: some, all or none")
	flag.StringVar(&o.only, "only", "", "make every step of this kind")
	flag.BoolVar(&o.verbose, "v", false, "print a line for each round")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64N(1 << 32)
	}
	// A first signal ends the round after its step, with everything that it started.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (ok bool, err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return false, err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "torture"); err != nil {
			return false, err
		}
	} else if o.dir, err = filepath.Abs(o.dir); err != nil {
		return false, err
	}
	reaper, err := newReaper()
	if err != nil {
		return false, err
	}
	fmt.Printf("torture: seed %d, %d cycles, in %s\n", o.seed, o.n, o.dir)
	if o.power != "none" {
		if err := probe(o.dir, reaper); err != nil && o.power == "all" {
			return false, fmt.Errorf("no loss of power can be had here: %w", err)
		} else if err != nil {
			fmt.Println("torture: without losses of power, which cannot be had here:", err)
			o.power = "none"
		}
	}
	began := time.Now()
	total := tally{kills: map[string]int{}}
	for i := 0; total.cycles < o.n && len(total.found) == 0; i++ {
		n := min(o.round, o.n-total.cycles)
		r := &round{
			bin: o.bin, dir: filepath.Join(o.dir, fmt.Sprintf("round-%d", i)), seed: o.seed + uint64(i), reaper: reaper,
			crashable: o.power == "all" || o.power == "some" && i%4 == 1,
			ungrouped: o.groups == "none" || o.groups == "some" && i%2 == 1,
		}
		r.steps = planOf(r.seed, n, r.crashable)
		for i := range r.steps {
			r.steps[i].kind = cmp.Or(o.only, r.steps[i].kind)
		}
		t, err := r.run(ctx)
		total.add(t)
		if ctx.Err() != nil {
			return false, errors.Join(ctx.Err(), os.RemoveAll(o.dir))
		}
		if err != nil {
			return false, fmt.Errorf("round %d: %w; look into %s", i, err, r.dir)
		}
		if o.verbose {
			fmt.Printf("round %d, seed %d, %s: %s\n", i, r.seed, time.Since(began).Round(time.Millisecond), t.line())
		}
		if len(t.found) == 0 {
			err = os.RemoveAll(r.dir)
		} else {
			err = explain(t, r)
		}
		if err != nil {
			return false, err
		}
	}
	if len(total.found) == 0 {
		err = os.RemoveAll(o.dir)
	}
	fmt.Println(total.line())
	return len(total.found) == 0, err
}

// explain prints what was found and how to look at it.
func explain(t tally, r *round) error {
	for _, v := range t.found[:min(len(t.found), 20)] {
		fmt.Println("FOUND", v)
	}
	data := filepath.Join(r.dir, "data")
	if r.crashable {
		fmt.Printf("its disk is %s\n", filepath.Join(r.dir, "disk"))
		data = filepath.Join(r.dir, "mnt", "data")
		fmt.Printf("look: mount -o loop %s %s\n", filepath.Join(r.dir, "disk"), filepath.Join(r.dir, "mnt"))
	}
	fmt.Printf("look: groom journal ls --limit 0 --data %s\n", data)
	fmt.Printf("look: %s holds the marks of each task, %s what the groom said\n", filepath.Join(r.dir, "marks"), filepath.Join(r.dir, "groom.log"))
	fmt.Printf("again: make torture N=%d SEED=%d\n", len(r.steps), r.seed)
	return nil
}

func (t *tally) add(o tally) {
	t.cycles += o.cycles
	t.adoptions += o.adoptions
	t.executions += o.executions
	t.attempts += o.attempts
	t.jobs += o.jobs
	t.again += o.again
	t.unproven += o.unproven
	t.found = append(t.found, o.found...)
	for kind, n := range o.kills {
		t.kills[kind] += n
	}
}

func (t tally) line() string {
	var kills []string
	all := 0
	for _, kind := range slices.Sorted(maps.Keys(t.kills)) {
		kills = append(kills, fmt.Sprintf("%s %d", kind, t.kills[kind]))
		if kind != "frozen" {
			all += t.kills[kind]
		}
	}
	broken := map[int]int{}
	for _, v := range t.found {
		broken[v.invariant]++
	}
	var counts []string
	for _, i := range invariants {
		counts = append(counts, fmt.Sprintf("%d:%d", i, broken[i]))
	}
	return fmt.Sprintf("torture: cycles %d, kills %d (%s), adoptions %d, jobs %d (%d handed in again), attempts %d, executions %d, unproven %d; violations %s",
		t.cycles, all, strings.Join(kills, ", "), t.adoptions, t.jobs, t.again, t.attempts, t.executions, t.unproven, strings.Join(counts, " "))
}
