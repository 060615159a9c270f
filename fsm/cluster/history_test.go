package cluster

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"groom/api"
	"groom/fsm"
	"groom/fsm/table"
)

// history is a random life of a cluster: jobs, orders of people, deaths, answers and acknowledgements that are lost,
// grooms that go away and come back, crashes of the master. It checks the tables after every step, and at the end that
// everything can still come to an end.
type history struct {
	*world
	jobs map[api.JobID]Job // as they were before the step
}

func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 3).Draw(t, "places")
		h := &history{world: newWorld(t, places...), jobs: map[api.JobID]Job{}}
		step := func(f func(*rapid.T)) func(*rapid.T) {
			return func(t *rapid.T) {
				from := len(h.log)
				f(t)
				h.check(t, from)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"submit":   step(h.submitAny),
			"ask":      step(h.ask),
			"due":      step(func(t *rapid.T) { h.due(t) }),
			"deliver":  step(func(t *rapid.T) { h.deliver(t, h.any(t), rapid.Bool().Draw(t, "lost")) }),
			"deliver2": step(func(t *rapid.T) { h.deliver(t, h.any(t), false) }),
			"report": step(func(t *rapid.T) {
				h.report(t, h.any(t), rapid.IntRange(1, 4).Draw(t, "n"), rapid.Bool().Draw(t, "lost"))
			}),
			"work":  step(func(t *rapid.T) { h.grooms[h.any(t)].work(t, h.now) }),
			"die":   step(h.die),
			"done":  step(h.done),
			"leave": step(h.leave),
			"back":  step(h.back),
			"time": step(func(t *rapid.T) {
				h.now = h.now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "minutes")) * time.Minute)
			}),
			"crash": step(h.crash),
			"race":  step(h.race),
		})
		h.finale(t)
	})
}

func (h *history) any(t *rapid.T) string {
	return rapid.SampledFrom(h.names()).Draw(t, "groom")
}

func (h *history) submitAny(t *rapid.T) {
	h.submit(t, Submitted{
		Type: rapid.SampledFrom([]api.JobType{api.Plain, api.BSP}).Draw(t, "type"), Tasks: rapid.IntRange(1, 6).Draw(t, "tasks"),
		Shared: rapid.Bool().Draw(t, "shared"), Reschedule: rapid.Bool().Draw(t, "reschedule"), Limit: rapid.IntRange(1, 3).Draw(t, "limit"),
	})
}

func (h *history) anyJob(t *rapid.T) (Job, bool) {
	all := h.state.InOrder()
	if len(all) == 0 {
		return Job{}, false
	}
	return rapid.SampledFrom(all).Draw(t, "job"), true
}

func (h *history) ask(t *rapid.T) {
	j, ok := h.anyJob(t)
	if !ok {
		return
	}
	o := Asked{Job: j.ID, Verb: rapid.SampledFrom([]api.Verb{api.VerbStop, api.VerbKill, api.VerbResume, api.VerbResume, api.VerbRestart}).Draw(t, "verb")}
	if rapid.Bool().Draw(t, "one") {
		o.Tasks = []int{rapid.IntRange(0, j.Tasks-1).Draw(t, "task")}
	}
	_ = h.observe(o) // a refusal is an answer
}

func (h *history) anyAttempt(t *rapid.T) (*groom, fsm.Attempt, bool) {
	g := h.grooms[h.any(t)]
	all := g.attempts()
	if len(all) == 0 {
		return g, fsm.Attempt{}, false
	}
	return g, rapid.SampledFrom(all).Draw(t, "attempt"), true
}

func (h *history) die(t *rapid.T) {
	if g, a, ok := h.anyAttempt(t); ok {
		g.end(t, h.now, a, rapid.SampledFrom([]api.Outcome{
			exit(3), {Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers}, {Kind: api.Lost, Why: api.WhyReboot}, exit(0),
		}).Draw(t, "outcome"))
	}
}

func (h *history) done(t *rapid.T) {
	if g, a, ok := h.anyAttempt(t); ok {
		g.finish(t, h.now, a)
	}
}

// leave takes a groom away; its lease ends, or it is back before that.
func (h *history) leave(t *rapid.T) {
	g := h.grooms[h.any(t)]
	g.away = true
	if rapid.Bool().Draw(t, "lost") {
		h.must(t, LeaseOver{Groom: g.id})
	}
}

func (h *history) back(t *rapid.T) {
	g := h.grooms[h.any(t)]
	g.away = false
	h.must(t, registered(g))
}

// crash goes on with tables that are made anew from what was recorded: from the first entry, or from a snapshot.
func (h *history) crash(t *rapid.T) {
	before := h.machine.Digest()
	s, m, err := h.replayed(len(h.log))
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "snapshot") {
		if s, m, err = h.restored(rapid.IntRange(0, len(h.log)).Draw(t, "at")); err != nil {
			t.Fatal(err)
		}
	}
	if m.Digest() != before || string(m.StateJSON()) != string(h.machine.StateJSON()) {
		t.Fatal("what was recorded does not lead to the tables that were live")
	}
	h.state, h.machine = s, m
}

// race decides one thing, lets another be recorded first, and proposes the first nevertheless: refused whole, or right.
func (h *history) race(t *rapid.T) {
	all, _ := h.state.Due(h.present(), h.now)
	if len(all) == 0 {
		return
	}
	o := rapid.SampledFrom(all).Draw(t, "observation")
	dec, err := Decide(h.state, o, h.now, 7)
	if err != nil || len(dec.Changes) == 0 {
		return
	}
	body, err := Record(o, dec, h.now, 7)
	if err != nil {
		t.Fatal(err)
	}
	rapid.SampledFrom([]func(*rapid.T){h.ask, h.leave, h.submitAny}).Draw(t, "faster")(t)
	before := h.machine.Digest()
	result, err := h.machine.Apply(uint64(len(h.log)+1), o.Kind(), 1, body)
	if err != nil {
		t.Fatal(err)
	}
	h.log = append(h.log, recorded{o.Kind(), body})
	if _, stale := result.(*table.Stale); stale && h.machine.Digest() != before {
		t.Fatal("a refused entry changed the tables")
	}
}

// check holds the tables against the invariants. from is the first entry of the step.
func (h *history) check(t *rapid.T, from int) {
	for _, e := range h.log[from:] {
		if told, err := table.DecodeEntry(e.body); err != nil || told.Because == "" {
			t.Fatalf("%s says nothing: %s", Kinds()[e.kind], e.body)
		}
	}
	now := map[api.JobID]Job{}
	used := h.state.Used()
	for _, j := range h.state.InOrder() {
		now[j.ID] = j
		h.checkJob(t, j)
		before, known := h.jobs[j.ID]
		if known && before.State.Terminal() && j.State != before.State {
			t.Fatalf("%s left %s for %s", j.ID, before.State, j.State)
		}
		if j.Epoch < before.Epoch {
			t.Fatalf("%s went back from epoch %d to %d", j.ID, before.Epoch, j.Epoch)
		}
		if before.State == api.JobCommitting && j.Epoch != before.Epoch {
			t.Fatalf("%s has a new epoch after its commit", j.ID)
		}
	}
	for id, n := range used {
		if g, _ := h.state.Grooms.Get(id); n > g.MaxTasks && !h.resumed() {
			t.Fatalf("%d tasks are placed on %s, which takes %d", n, id, g.MaxTasks)
		}
	}
	h.jobs = now
}

// resumed says that plain tasks were resumed: they wait at their groom for a place that another job may have by now.
func (h *history) resumed() bool {
	for _, e := range h.log {
		if e.kind == KindAsked && (bytes.Contains(e.body, []byte(`"verb":"resume"`)) || bytes.Contains(e.body, []byte(`"verb":"restart"`))) {
			return true
		}
	}
	return false
}

func (h *history) checkJob(t *rapid.T, j Job) {
	next := 0
	places := slices.SortedFunc(slices.Values(j.Places), func(a, b Place) int { return a.First - b.First })
	for _, p := range places {
		if p.First != next {
			t.Fatalf("%s: its places %+v leave out a task, or name one twice", j.ID, j.Places)
		}
		next += p.Count
	}
	placed := j.holds() && (j.State != api.JobStopped || next > 0) // one that was stopped in the queue never was
	if next != j.Tasks && (placed || next > 0) {
		t.Fatalf("%s: %d of %d tasks are placed", j.ID, next, j.Tasks)
	}
	count := map[api.TaskState]int{}
	for i := range j.Tasks {
		row, _ := h.state.Tasks.Get(string(j.ID.Task(i)))
		task := j.current(row, i)
		if task.Failures > j.Limit {
			t.Fatalf("%s: %d counted failures, the limit is %d", task.ID, task.Failures, j.Limit)
		}
		if task.Uncounted > uncountedLimit+1 {
			t.Fatalf("%s: %d ends were not counted", task.ID, task.Uncounted)
		}
		if at := j.at(i); at >= 0 && (task.State.Terminal() || settled(task.State) && !j.Places[at].Gone) {
			count[task.State]++
		}
		h.checkCopies(t, j, i)
	}
	if j.holds() && fmt.Sprint(count) != fmt.Sprint(orEmpty(j.Count)) {
		t.Fatalf("%s (%s): counts %v, its tasks are %v", j.ID, j.State, j.Count, count)
	}
	if j.State == api.JobSucceeded && j.Count[api.TaskSucceeded] != j.Tasks {
		t.Fatalf("%s succeeded with tasks %v", j.ID, j.Count)
	}
}

func orEmpty(count map[api.TaskState]int) map[api.TaskState]int {
	if count == nil {
		return map[api.TaskState]int{}
	}
	return count
}

// checkCopies: in one epoch a task of a BSP job has one process at most, wherever its grooms are.
func (h *history) checkCopies(t *rapid.T, j Job, index int) {
	if j.Type != api.BSP {
		return
	}
	copies := map[int]int{}
	for _, g := range h.grooms {
		a, ok := g.state.Newest(fsmTask(g, j.ID.Task(index)))
		if ok && a.State != fsm.AttemptEnded {
			if copies[a.Epoch]++; copies[a.Epoch] > 1 {
				t.Fatalf("%s has two processes in epoch %d", j.ID.Task(index), a.Epoch)
			}
			if a.Epoch > j.Epoch {
				t.Fatalf("%s runs in epoch %d, its master is at %d", a.ID, a.Epoch, j.Epoch)
			}
		}
	}
}

func fsmTask(g *groom, id api.TaskID) fsm.Task {
	task, _ := g.state.Tasks.Get(string(id))
	return task
}

// finale brings every groom back, resumes what is stopped, and lets every process do its work: then every job that fits
// must end, and after its retention nothing of it is left anywhere.
func (h *history) finale(t *rapid.T) {
	for _, id := range h.names() {
		g := h.grooms[id]
		g.away = false
		h.must(t, registered(g))
	}
	for range 100 {
		h.settle(t)
		for _, j := range h.state.InOrder() {
			if j.State == api.JobStopped || j.Type == api.Plain && j.Count[api.TaskStopped] > 0 && !j.State.Terminal() {
				_ = h.observe(Asked{Job: j.ID, Verb: api.VerbResume})
			}
		}
		h.settle(t)
		busy := false
		for _, id := range h.names() {
			g := h.grooms[id]
			for _, a := range g.attempts() {
				busy = true
				g.finish(t, h.now, a)
			}
		}
		h.now = h.now.Add(5 * time.Minute) // past every backoff
		if !busy {
			break
		}
	}
	h.settle(t)
	h.check(t, 0)
	for _, j := range h.state.InOrder() {
		_, _, ever := h.state.place(j, h.present())
		if !j.State.Terminal() && (ever || j.State != api.JobQueued) {
			t.Fatalf("%s is %s for ever: %+v", j.ID, j.State, j)
		}
		if j.State == api.JobQueued {
			h.must(t, Asked{Job: j.ID, Verb: api.VerbKill})
		}
	}
	h.settle(t)
	h.now = h.now.Add(24 * time.Hour)
	h.settle(t)
	if h.state.Jobs.Len()+h.state.Tasks.Len()+h.state.Orders.Len() > 0 {
		t.Fatalf("after the retention there are still %s", h.machine.StateJSON())
	}
	for _, id := range h.names() {
		g := h.grooms[id]
		if n := g.state.Jobs.Len() + g.state.Tasks.Len() + g.state.Attempts.Len(); n > 0 {
			t.Fatalf("groom %s still has %s", g.id, g.machine.StateJSON())
		}
	}
}
