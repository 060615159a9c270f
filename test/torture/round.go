package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"groom/api"
	"groom/test/torture/mark"
)

// round is one groom with an empty data directory, tortured for a number of steps and then judged.
type round struct {
	bin, dir  string
	seed      uint64
	steps     []step
	crashable bool
	ungrouped bool
	reaper    *reaper
}

// tally is what rounds add up to.
type tally struct {
	cycles     int
	kills      map[string]int
	adoptions  int
	executions int
	attempts   int
	jobs       int
	again      int
	unproven   int
	found      []violation
}

func (r *round) run(ctx context.Context) (tally, error) {
	t := tally{kills: map[string]int{}}
	d, err := makeDirs(r.dir, r.bin)
	if err != nil {
		return t, err
	}
	h, err := newHost(r.dir, r.crashable, r.ungrouped, r.reaper)
	if err != nil {
		return t, err
	}
	a, err := newAgent(r.bin, r.dir, h.data, r.reaper, h)
	if err != nil {
		return t, errors.Join(err, h.close())
	}
	x := &executioner{a: a, host: h, reaper: r.reaper, d: d, count: t.kills, finished: map[string]bool{}}
	// Nothing of a round outlives it, whatever came of it.
	defer func() {
		err := x.killAll()
		if err = errors.Join(err, h.close(), a.log.Close()); err != nil {
			fmt.Fprintln(os.Stderr, "torture: tidy up:", err)
		}
	}()
	b, err := newBystanders(d, h.data, r.reaper)
	if err != nil {
		return t, err
	}
	defer b.close()
	if err := errors.Join(a.start(""), a.ready(), b.settle()); err != nil {
		return t, err
	}
	w := newWork(a, r.seed, d)
	w.begin()
	for i, s := range r.steps {
		if ctx.Err() != nil {
			break
		}
		if err = x.carryOut(s); err != nil {
			err = fmt.Errorf("step %d (%s): %w", i, s.kind, err)
			break
		}
		t.cycles++
	}
	w.end()
	if ctx.Err() != nil {
		return t, ctx.Err()
	}
	if err == nil {
		err = errors.Join(a.start(""), a.ready())
	}
	if err == nil {
		err = w.finish()
	}
	e := &evidence{x: x, w: w, bystanders: b}
	if err != nil {
		t.found = append(t.found, violation{4, err.Error()}) // attempts without an outcome, or a groom without a start
	}
	if e.leftovers, e.digests, err = r.close(x); err != nil {
		return t, err
	}
	e.history, err = readHistory(r.reaper, r.bin, h.data)
	if err == nil {
		e.marks, err = mark.ReadAll(d.marks)
	}
	if err != nil {
		t.found = append(t.found, violation{8, err.Error()})
		return t, nil // with what was found before
	}
	e.results = resultsOf(d)
	t.found = append(t.found, judge(e)...)
	t.adoptions, t.executions, t.attempts, t.unproven = e.history.adopted, len(e.marks), len(e.history.attempts), e.history.unproven()
	t.jobs = len(w.sent)
	for _, s := range w.sent {
		t.again += s.again
	}
	return t, nil
}

// close looks at the living journal, kills the groom, and compares with what the files replay to. Idle means no
// write: once everything has ended, the two must agree.
func (r *round) close(x *executioner) (left []victim, differ []string, err error) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if left = x.living(); len(left) == 0 {
			break
		}
	}
	var live, dead []api.JournalInfo
	if err := x.a.get("/journal/info", &live); err != nil {
		differ = append(differ, "the living journal does not tell: "+err.Error())
	}
	x.a.kill9()
	out, err := r.reaper.run(filepath.Join(r.bin, "groom"), "journal", "info", "--json", "--data", x.a.data)
	if err != nil {
		return left, append(differ, err.Error()), nil
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&dead); err != nil {
		return left, differ, fmt.Errorf("decode journal info: %w", err)
	}
	if len(live) != len(dead) {
		differ = append(differ, fmt.Sprintf("%d living journals, %d on disk", len(live), len(dead)))
	}
	for i := range min(len(live), len(dead)) {
		a, b := live[i], dead[i]
		if a.Last != b.Last || a.Digest != b.Digest || a.ChainTip != b.ChainTip || b.Health != api.HealthOK {
			differ = append(differ, fmt.Sprintf("journal of the %s: living at %d digest %.12s chain %.12s, replayed at %d digest %.12s chain %.12s, %s %s",
				a.Of, a.Last, a.Digest, a.ChainTip, b.Last, b.Digest, b.ChainTip, b.Health, b.Reason))
		}
	}
	return left, differ, nil
}

// resultsOf counts what the BSP jobs that succeeded put in place. Each of them computes the same.
func resultsOf(d dirs) map[string]int {
	found := map[string]int{}
	files, _ := filepath.Glob(filepath.Join(d.outputs, "*", "pi"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		found[string(b)]++
	}
	return found
}
