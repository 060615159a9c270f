package replay

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/fsm"
	"groom/fsm/table"
	"groom/journal"
)

// life is a groom whose tables change by real decisions, in a real journal.
type life struct {
	t     *testing.T
	data  string
	state *fsm.State
	m     *table.Machine
	j     *journal.Journal
	now   api.Moment
}

func newLife(t *testing.T) *life {
	t.Helper()
	l := &life{t: t, data: t.TempDir(), state: fsm.NewState(), now: api.Moment{ID: "boot", Boot: time.Hour, Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	l.m = fsm.NewMachine(l.state, nil)
	var err error
	l.j, err = journal.Open(context.Background(), journal.Options{Dir: filepath.Join(l.data, "groom"), Machine: l.m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.j.Close() })
	l.see(fsm.Booted{ID: "g", Name: "vm", BootID: "boot", PIDNS: 1, Build: "test", MaxTasks: 3})
	return l
}

// see records what this build decides for an observation.
func (l *life) see(o fsm.Observation) uint64 {
	l.t.Helper()
	l.now = l.now.Add(time.Second)
	d, err := fsm.Decide(l.state, o, l.now, 1)
	if err != nil {
		l.t.Fatal(err)
	}
	body, err := fsm.Record(o, d, l.now, 1)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.propose(o.Kind(), body)
}

func (l *life) propose(kind uint16, body []byte) uint64 {
	l.t.Helper()
	r, err := l.j.Propose(context.Background(), journal.Record{Kind: kind, Version: 1, Body: body})
	if err != nil {
		l.t.Fatal(err)
	}
	return r.Index
}

const (
	job     = api.JobID("job_202601020304_0001")
	another = api.JobID("job_202601020304_0002")
)

var place = fsm.Place{Dir: "/tmp", BootID: "boot", PIDNS: 1}

func (l *life) launch(id api.JobID, name string) uint64 { return l.see(launching(id, name)) }

func launching(id api.JobID, name string) fsm.Directed {
	return fsm.Directed{
		Directive: api.Directive{
			Version: 1, ID: "d-" + string(id), Cluster: "c", Kind: api.DirectiveLaunch, Job: id,
			Launch: &api.Launch{Tasks: []api.TaskLaunch{{Index: 0, Attempt: 1}}},
		},
		Spec: "0123",
		Job: &fsm.Job{
			ID: id, Name: name, Type: api.Plain, Spec: "0123", Tasks: 1, Local: []int{0},
			Stop:    api.Stop{Signal: "SIGTERM", Grace: api.Duration(time.Second)},
			Restart: api.Restart{Policy: api.RestartOnFailure, Limit: 2, Healthy: api.Duration(time.Hour)},
		},
	}
}

// story is a groom whose task falls silent, is killed for it, runs again, and fails for good. It returns the indexes of
// what happened.
func (l *life) story() map[string]uint64 {
	at := map[string]uint64{}
	task := job.Task(0)
	at["pinned"] = l.see(fsm.Pinned{Cluster: "c"})
	at["launch"] = l.launch(job, "sums")
	at["other"] = l.launch(another, "other")
	at["due"] = l.see(fsm.Due{Tasks: []api.TaskID{task}, Place: place})
	at["started"] = l.see(fsm.Started{Attempt: task.Attempt(1), Pid: 11, ShimPid: 10, At: l.now})
	at["silent"] = l.see(fsm.Silent{Attempt: task.Attempt(1), Why: "no ping for 6.1s"})
	at["ended"] = l.see(fsm.Ended{Attempt: task.Attempt(1), Place: &place, End: fsm.End{
		Outcome: api.Outcome{Kind: api.OutOfContact, Signal: "SIGKILL"}, Status: 9, At: l.now,
	}})
	at["again"] = l.see(fsm.Started{Attempt: task.Attempt(2), Pid: 13, ShimPid: 12, At: l.now})
	at["failed"] = l.see(fsm.Ended{Attempt: task.Attempt(2), Place: &place, End: fsm.End{Outcome: api.Outcome{Kind: api.Exited, Code: 3}, Status: 768, At: l.now}})
	return at
}

// past reads what the journal holds by now, as a second process would.
func (l *life) past() *Past {
	l.t.Helper()
	p, err := Open(l.data, "groom")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { p.Close() })
	return p
}

func TestEntriesThatAreChosen(t *testing.T) {
	l := newLife(t)
	at := l.story()
	first := string(job.Task(0).Attempt(1))
	for name, c := range map[string]struct {
		f    Filter
		want []uint64
	}{
		"of a kind":                        {Filter{Kinds: []string{"attempt.ended"}}, []uint64{at["ended"], at["failed"]}},
		"of two kinds":                     {Filter{Kinds: []string{"attempt.silent", "cluster.pinned"}}, []uint64{at["pinned"], at["silent"]}},
		"of a job, with its tasks":         {Filter{Object: string(another)}, []uint64{at["other"]}},
		"of an attempt, not of its task":   {Filter{Object: first}, []uint64{at["due"], at["started"], at["silent"], at["ended"]}},
		"of a row":                         {Filter{Object: "self/self"}, nil},
		"from an index to another":         {Filter{From: at["silent"], To: at["again"]}, []uint64{at["silent"], at["ended"], at["again"]}},
		"of an attempt and a kind":         {Filter{Object: first, Kinds: []string{"attempt.silent"}}, []uint64{at["silent"]}},
		"of a job whose number is another": {Filter{Object: "job_202601020304_00011"}, nil},
		"since a time that is to come":     {Filter{Since: time.Now().Add(time.Hour)}, nil},
		"until a time before all":          {Filter{Until: time.Now().Add(-time.Hour), From: at["pinned"]}, nil},
		"none of a kind":                   {Filter{Kinds: []string{"no.such"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []uint64
			for v, err := range l.past().Entries(c.f) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, v.Index)
			}
			if name == "of a row" {
				if len(got) < 2 { // it was made, and pinned
					t.Errorf("entries %v", got)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNewestThatAreChosen(t *testing.T) {
	l := newLife(t)
	at := l.story()
	for range 300 { // they lie behind what is looked for
		l.see(fsm.DirChanged{Path: "/tmp", OK: len(l.t.Name())%2 == 0})
		l.see(fsm.DirChanged{Path: "/tmp", OK: len(l.t.Name())%2 == 1, Reason: "full"})
	}
	p := l.past()
	for name, c := range map[string]struct {
		f     Filter
		limit int
		want  []uint64
	}{
		"far behind the end": {Filter{Kinds: []string{"attempt.ended"}}, 1, []uint64{at["failed"]}},
		"fewer than asked":   {Filter{Kinds: []string{"attempt.ended"}}, 10, []uint64{at["ended"], at["failed"]}},
		"before an index":    {Filter{To: at["due"]}, 2, []uint64{at["other"], at["due"]}},
		"none":               {Filter{Kinds: []string{"no.such"}}, 3, nil},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := p.Newest(c.f, c.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, v := range page {
				got = append(got, v.Index)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestShowTellsEachRowBeforeAndAfter(t *testing.T) {
	l := newLife(t)
	at := l.story()
	v, err := l.past().Show(at["silent"])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(v.Observed), "no ping for 6.1s") {
		t.Errorf("observed %s", v.Observed)
	}
	got := map[string]api.FieldChange{}
	for _, c := range v.Changes {
		for _, f := range c.Fields {
			got[c.Table+" "+f.Field] = f
		}
	}
	if f := got["attempts order.by"]; f.Before != "" || f.After != fsm.BySilence {
		t.Errorf("the order: %+v of %+v", f, got)
	}
	if _, err := l.past().Show(10_000); !errors.Is(err, ErrRange) {
		t.Errorf("an entry that is to come: %v", err)
	}
}

// An entry that was decided for rows that had moved on changed nothing, and is told so.
func TestRefusedEntries(t *testing.T) {
	l := newLife(t)
	at := l.story()
	stale, err := l.past().Show(at["started"])
	if err != nil {
		t.Fatal(err)
	}
	index := l.propose(fsm.KindStarted, stale.Body)
	v, err := l.past().Show(index)
	if err != nil || v.Refused == "" {
		t.Errorf("%v, refused %q", err, v.Refused)
	}
	s, err := Blame([]*Past{l.past()}, string(job.Task(0)))
	if err != nil {
		t.Fatal(err)
	}
	if last := s.Steps[len(s.Steps)-1]; last.Index != index || last.Refused == "" || len(last.Changes) > 0 {
		t.Errorf("blame ends with %+v", last)
	}
	if s, err = Why([]*Past{l.past()}, string(job.Task(0))); err != nil || !strings.Contains(s.Answer, "failed") {
		t.Errorf("why: %v, %q", err, s.Answer)
	}
}

func TestStateAndDiff(t *testing.T) {
	l := newLife(t)
	at := l.story()
	p := l.past()
	whole, err := p.StateAt(0)
	if err != nil || cmp.Diff(string(l.m.StateJSON()), string(whole)) != "" {
		t.Errorf("the newest state is not that of the living tables: %v", err)
	}
	there, err := p.Diff(at["started"], at["silent"])
	if err != nil {
		t.Fatal(err)
	}
	back, err := p.Diff(at["silent"], at["started"])
	if err != nil || len(there) == 0 {
		t.Fatalf("%d rows, %v", len(there), err)
	}
	for i, c := range there {
		b := back[i]
		if c.Key != b.Key || string(c.Before) != string(b.After) || string(c.After) != string(b.Before) {
			t.Errorf("there %+v, and back %+v", c, b)
		}
	}
	if same, err := p.Diff(at["other"], at["other"]); err != nil || len(same) > 0 {
		t.Errorf("a moment differs from itself: %v, %v", same, err)
	}
	if _, err := p.StateAt(10_000); !errors.Is(err, ErrRange) {
		t.Errorf("a moment to come: %v", err)
	}
}

// To a diff entry 0 is the beginning, and not the newest entry, as it is where a moment may be left out.
func TestDiffFromTheBeginning(t *testing.T) {
	l := newLife(t)
	at := l.story()
	all, err := l.past().Diff(0, at["launch"])
	if err != nil || len(all) == 0 {
		t.Fatalf("%d rows, %v", len(all), err)
	}
	for _, c := range all {
		if c.Before != nil || c.After == nil {
			t.Errorf("%s/%s was there before the first entry, or is gone", c.Table, c.Key)
		}
	}
}

func TestMoments(t *testing.T) {
	l := newLife(t)
	at := l.story()
	p := l.past()
	for moment, want := range map[string]uint64{
		fmt.Sprint(at["due"]):                          at["due"],
		time.Now().Add(time.Hour).Format(time.RFC3339): p.h.Stats().Last,
		"0s": p.h.Stats().Last,
	} {
		if got, err := p.Index(moment); err != nil || got != want {
			t.Errorf("%s: %d, %v", moment, got, err)
		}
	}
	for _, moment := range []string{"99999", "1h", "yesterday", "-3s", ""} {
		if got, err := p.Index(moment); err == nil {
			t.Errorf("%q is entry %d", moment, got)
		}
	}
}

func TestWhy(t *testing.T) {
	l := newLife(t)
	at := l.story()
	for name, c := range map[string]struct {
		object  string
		settled uint64
		answer  []string
		told    []uint64
	}{
		"an attempt: the order that ended it": {
			string(job.Task(0).Attempt(1)), at["silent"],
			[]string{"no ping for 6.1s", "silence"},
			[]uint64{at["due"], at["started"], at["silent"], at["ended"]},
		},
		"an attempt that ended by itself": {
			string(job.Task(0).Attempt(2)), at["failed"],
			[]string{"exited with code 3", "counts"},
			[]uint64{at["ended"], at["again"], at["failed"]},
		},
		"a task: the last word about it": {
			string(job.Task(0)), at["failed"],
			[]string{"failed", "2 counted"},
			[]uint64{at["launch"], at["due"], at["started"], at["silent"], at["ended"], at["again"], at["failed"]},
		},
		"a task that waits": {string(another.Task(0)), at["other"], []string{"pending"}, []uint64{at["other"]}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Why([]*Past{l.past()}, c.object)
			if err != nil {
				t.Fatal(err)
			}
			for _, words := range c.answer {
				if !strings.Contains(s.Answer, words) {
					t.Errorf("answer %q does not say %q", s.Answer, words)
				}
			}
			var told []uint64
			for _, step := range s.Steps {
				told = append(told, step.Index)
				if step.Settled != (step.Index == c.settled) {
					t.Errorf("entry %d settled it: %v", step.Index, step.Settled)
				}
				if step.Settled && len(step.Believed) == 0 && step.Index != at["other"] {
					t.Error("nothing was believed")
				}
			}
			if diff := cmp.Diff(c.told, told); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := Why([]*Past{l.past()}, "task_202601020304_0009_000000"); !errors.Is(err, ErrNothing) {
		t.Errorf("a task that never was: %v", err)
	}
}

func TestNames(t *testing.T) {
	l := newLife(t)
	l.story()
	pasts := []*Past{l.past()}
	for name, want := range map[string]string{
		"sums": string(job), "sums/0": string(job.Task(0)), "sums/0/2": string(job.Task(0).Attempt(2)),
	} {
		if id, err := Resolve(pasts, name); err != nil || id != want {
			t.Errorf("%s is %s, %v", name, id, err)
		}
	}
	if id, err := Resolve(pasts, "sums/x"); err == nil {
		t.Errorf("sums/x is %s", id)
	}
	for _, id := range []string{string(job), "dirs//tmp", string(job.Task(0).Attempt(1))} {
		if got, err := Resolve(pasts, id); err != nil || got != id {
			t.Errorf("%s is %s, %v", id, got, err)
		}
	}
	if id, err := Resolve(pasts, "nobody"); !errors.Is(err, ErrNothing) {
		t.Errorf("nobody is %s, %v", id, err)
	}
}

func TestCounts(t *testing.T) {
	l := newLife(t)
	l.story()
	all, err := l.past().Count(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(c api.KindCount) bool { return c.Kind == "attempt.ended" })
	if i < 0 || all[i].Entries != 2 || all[i].Bytes == 0 {
		t.Errorf("counted %+v", all)
	}
	info, err := l.past().Info("DIR")
	if err != nil || !info.Living || info.Health != api.HealthOK || len(info.Kinds) != len(all) {
		t.Errorf("%+v, %v", info, err)
	}
	if r, err := l.past().Verify(true, nil); err != nil || r.Err() != nil {
		t.Errorf("%v, %v", err, r.Err())
	}
}

// A build decides again as it decided, also where words differ or rows had moved on.
func TestRedecide(t *testing.T) {
	l := newLife(t)
	at := l.story()
	stale, err := l.past().Show(at["started"])
	if err != nil {
		t.Fatal(err)
	}
	l.propose(fsm.KindStarted, stale.Body) // never applied, so nothing to decide again
	all := func(want Redecided) (found []Divergence) {
		t.Helper()
		r, err := l.past().Redecide(0, 0, func(d Divergence) error {
			found = append(found, d)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r.From, r.To, r.Skipped = 0, 0, 0
		want.Of = "groom"
		if diff := cmp.Diff(want, r); diff != "" {
			t.Error(diff)
		}
		return found
	}
	decisions := uint64(len(at)) + 1 // and the start
	all(Redecided{Same: decisions})

	// What another build might have recorded, of one more job each.
	other := func(id api.JobID, f func(e *table.Entry)) uint64 {
		t.Helper()
		o := launching(id, "other")
		d, err := fsm.Decide(l.state, o, l.now, 1)
		if err != nil {
			t.Fatal(err)
		}
		body, err := fsm.Record(o, d, l.now, 1)
		if err != nil {
			t.Fatal(err)
		}
		e, err := table.DecodeEntry(body)
		if err != nil {
			t.Fatal(err)
		}
		f(e)
		if body, err = e.Encode(); err != nil {
			t.Fatal(err)
		}
		return l.propose(o.Kind(), body)
	}
	worded := other("job_202601020304_0007", func(e *table.Entry) { e.Because = "so be it" })
	acted := other("job_202601020304_0008", func(e *table.Entry) {
		for i, c := range e.Changes {
			if c.Table == "tasks" {
				e.Changes[i].Row = []byte(strings.Replace(string(c.Row), `"pending"`, `"stopped"`, 1))
			}
		}
	})
	more := other("job_202601020304_0009", func(e *table.Entry) { e.Changes = e.Changes[:1] })
	refused := other("job_202601020304_0010", func(e *table.Entry) {
		e.Obs = []byte(strings.ReplaceAll(string(e.Obs), `"cluster":"c"`, `"cluster":"of another"`))
	})
	for _, c := range [][2]uint64{{5, 4}, {1000, 0}, {0, 1000}} {
		if r, err := l.past().Redecide(c[0], c[1], nil); !errors.Is(err, ErrRange) {
			t.Errorf("from %d to %d: %+v, %v", c[0], c[1], r, err)
		}
	}
	found := all(Redecided{Same: decisions, Reworded: 1, Changed: 2, Refused: 1})
	var indexes []uint64
	for _, d := range found {
		indexes = append(indexes, d.Index)
		if d.Reworded != (d.Index == worded) || (d.Refused != "") != (d.Index == refused) {
			t.Errorf("%+v", d)
		}
	}
	if diff := cmp.Diff([]uint64{worded, acted, more, refused}, indexes); diff != "" {
		t.Error(diff)
	}
	if f := found[1].Rows[0].Fields; len(f) != 1 || f[0].Before != "stopped" || f[0].After != "pending" {
		t.Errorf("the decision that acts differs by %+v", found[1].Rows)
	}
}

// A build that panics at an observation has refused it; the rest of the history is tried all the same.
func TestRedecideOutlivesAPanic(t *testing.T) {
	l := newLife(t)
	at := l.story()
	p := l.past()
	m, decide := p.decider()
	again := &redecider{Machine: m, p: p, from: 1, decide: func(kind uint16, e *table.Entry) (string, []table.Change, error) {
		if kind == fsm.KindSilent {
			panic("no such case")
		}
		return decide(kind, e)
	}}
	r := Redecided{Of: p.Of}
	err := p.redecide(again, &r, p.h.Stats().Last, func(d Divergence) error {
		if d.Index != at["silent"] || d.Refused != "panic: no such case" {
			t.Errorf("%+v", d)
		}
		return nil
	})
	if err != nil || r.Refused != 1 || r.Changed > 0 || r.Same != uint64(len(at)) { // and the start, less the one
		t.Errorf("%+v, %v", r, err)
	}
}
