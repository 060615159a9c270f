package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
)

// dies ends the living attempt of a task on a groom with an outcome of its own.
func (w *world) dies(t fataler, groom string, id api.JobID, index int, outcome api.Outcome) {
	t.Helper()
	for _, a := range w.processes(groom, id) {
		if a.ID.Task().Index() == index {
			w.grooms[groom].end(t, w.now, a, outcome)
			return
		}
	}
	t.Fatalf("task %d has no process on %s", index, groom)
}

// finishes lets every process of a job come to its end in success.
func (w *world) finishes(t fataler, id api.JobID) {
	t.Helper()
	for _, name := range w.names() {
		g := w.grooms[name]
		for _, a := range w.processes(name, id) {
			g.finish(t, w.now, a)
		}
	}
	w.settle(t)
}

func (w *world) asks(t fataler, id api.JobID, verb api.Verb, tasks ...int) {
	t.Helper()
	w.must(t, Asked{Job: id, Verb: verb, Tasks: tasks})
	w.settle(t)
}

func (w *world) lose(t fataler, groom string) {
	t.Helper()
	w.grooms[groom].away = true
	w.must(t, LeaseOver{Groom: groom})
	w.settle(t)
}

func (w *world) comesBack(t fataler, groom string) {
	t.Helper()
	w.grooms[groom].away = false
	w.must(t, registered(w.grooms[groom]))
	w.settle(t)
}

var killed = api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers}

func TestDecisions(t *testing.T) {
	bsp := func(tasks int) Submitted { return Submitted{Type: api.BSP, Tasks: tasks, Shared: true} }
	plain := func(tasks int) Submitted { return Submitted{Type: api.Plain, Tasks: tasks} }
	cases := []struct {
		name   string
		places []int
		job    Submitted
		then   func(t *testing.T, w *world, id api.JobID)
		state  api.JobState
		epoch  int
		reason string // part of it
		on     map[string]int
	}{
		{
			name: "a plain job runs to its end", places: []int{3}, job: plain(3),
			then:  func(t *testing.T, w *world, id api.JobID) { w.finishes(t, id) },
			state: api.JobSucceeded,
		},
		{
			name: "with a shared directory a job spreads, each groom within its places", places: []int{2, 2}, job: bsp(3),
			state: api.JobRunning, epoch: 1, on: map[string]int{"north": 2, "south": 1},
		},
		{
			name: "without one it waits for one groom with room for all", places: []int{2, 2}, job: Submitted{Type: api.BSP, Tasks: 3},
			state: api.JobQueued, reason: "needs 3 places, 2 are free of 2; with a shared_dir",
		},
		{
			name: "the fewest grooms are taken", places: []int{2, 4}, job: bsp(4),
			state: api.JobRunning, epoch: 1, on: map[string]int{"south": 4},
		},
		{
			name: "a job over the whole capacity waits, and is no error", places: []int{3}, job: plain(5),
			state: api.JobQueued, reason: "needs 5 places, 3 are free of 3",
		},
		{
			name: "a death begins the next epoch", places: []int{3}, job: bsp(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.dies(t, "north", id, 1, killed)
				w.settle(t)
			},
			state: api.JobRunning, epoch: 2, on: map[string]int{"north": 2},
		},
		{
			name: "two deaths told at once are one cause", places: []int{3}, job: bsp(3),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.dies(t, "north", id, 0, killed)
				w.dies(t, "north", id, 2, exit(3))
				w.settle(t)
			},
			state: api.JobRunning, epoch: 2,
		},
		{
			name: "a death of an older epoch is counted, and is no cause", places: []int{1, 1}, job: bsp(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.dies(t, "north", id, 0, killed)
				w.dies(t, "south", id, 1, killed)
				w.report(t, "north", 9, false)
				w.due(t) // epoch 2
				w.report(t, "south", 9, false)
				w.settle(t)
				if task := w.state.Task(w.job(id), 1); task.Failures != 1 {
					t.Errorf("the second death is counted %d times", task.Failures)
				}
			},
			state: api.JobRunning, epoch: 2,
		},
		{
			name: "a peer that was done starts again with its job", places: []int{3}, job: bsp(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.grooms["north"].finish(t, w.now, w.processes("north", id)[0])
				w.settle(t)
				w.dies(t, "north", id, 1, exit(0)) // without done
				w.settle(t)
				if n := len(w.processes("north", id)); n != 2 {
					t.Errorf("%d processes in the next epoch", n)
				}
				w.finishes(t, id)
			},
			state: api.JobSucceeded, epoch: 2,
		},
		{
			name: "the third failure of one task fails the job", places: []int{3}, job: bsp(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				for range 3 {
					w.dies(t, "north", id, 0, exit(3))
					w.settle(t)
				}
			},
			state: api.JobFailed, epoch: 3, reason: "_000000: exited with code 3 (failure 3 of 3)",
		},
		{
			name: "ends that are nobody's fault are bounded as well", places: []int{3}, job: bsp(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				for range uncountedLimit + 1 {
					w.dies(t, "north", id, 0, api.Outcome{Kind: api.Lost, Why: api.WhyReboot})
					w.settle(t)
				}
			},
			state: api.JobFailed, epoch: uncountedLimit + 1, reason: "not counted, but more than 10 such ends",
		},
		{
			name: "a plain task that fails ends its job", places: []int{3}, job: Submitted{Type: api.Plain, Tasks: 3, Limit: 1},
			then: func(t *testing.T, w *world, id api.JobID) {
				w.dies(t, "north", id, 1, exit(3))
				w.settle(t)
			},
			state: api.JobFailed, reason: "_000001: exited with code 3 (failure 1 of 1)",
		},
		{
			name: "a bsp job that was stopped is resumed under its next epoch, with a fresh budget", places: []int{3}, job: bsp(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				for range 2 {
					w.dies(t, "north", id, 0, exit(3))
					w.settle(t)
				}
				w.asks(t, id, api.VerbStop, 1) // one task means the job
				if s := w.job(id).State; s != api.JobStopped {
					t.Fatalf("after the stop it is %s", s)
				}
				w.asks(t, id, api.VerbResume)
				w.dies(t, "north", id, 0, exit(3))
				w.settle(t)
			},
			state: api.JobRunning, epoch: 5,
		},
		{
			name: "a resume that comes before the stop is through is kept", places: []int{3}, job: plain(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.must(t, Asked{Job: id, Verb: api.VerbStop})
				w.asks(t, id, api.VerbResume)
				if n := len(w.processes("north", id)); n != 2 {
					t.Errorf("%d processes", n)
				}
			},
			state: api.JobRunning,
		},
		{
			name: "a plain job is restarted where it is, with a fresh budget", places: []int{3}, job: plain(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.dies(t, "north", id, 0, exit(3))
				w.settle(t)
				w.asks(t, id, api.VerbStop, 1)
				before := w.processes("north", id)
				w.asks(t, id, api.VerbRestart)
				after := w.processes("north", id)
				if len(before) != 1 || len(after) != 2 || after[0].ID.N() != 3 || after[1].ID.N() != 2 {
					t.Errorf("processes %v, restarted %v", before, after)
				}
				if task := w.state.Task(w.job(id), 0); task.Failures != 0 {
					t.Errorf("%d failures are still charged", task.Failures)
				}
			},
			state: api.JobRunning,
		},
		{
			name: "a restart asked for again before the groom has it is one", places: []int{3}, job: plain(1),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.must(t, Asked{Job: id, Verb: api.VerbRestart}, Asked{Job: id, Verb: api.VerbRestart}, Asked{Job: id, Verb: api.VerbRestart, Tasks: []int{0}})
				w.settle(t)
				if p := w.processes("north", id); len(p) != 1 || p[0].ID.N() != 2 {
					t.Errorf("processes %v", p)
				}
			},
			state: api.JobRunning,
		},
		{
			name: "one plain task is restarted alone, also when it is stopped", places: []int{3}, job: plain(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.asks(t, id, api.VerbRestart, 1)
				w.asks(t, id, api.VerbStop, 0)
				w.asks(t, id, api.VerbRestart, 0)
				if p := w.processes("north", id); len(p) != 2 || p[0].ID.N() != 2 || p[1].ID.N() != 2 {
					t.Errorf("processes %v", p)
				}
			},
			state: api.JobRunning,
		},
		{
			name: "a bsp job is restarted in an epoch of its own", places: []int{3}, job: bsp(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.asks(t, id, api.VerbRestart)
				if p := w.processes("north", id); len(p) != 2 || p[0].Epoch != 2 {
					t.Errorf("processes %v", p)
				}
			},
			state: api.JobRunning, epoch: 2,
		},
		{
			name: "one plain task is stopped, resumed and killed alone", places: []int{3}, job: plain(3),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.asks(t, id, api.VerbStop, 1)
				if n, s := len(w.processes("north", id)), w.job(id).State; n != 2 || s != api.JobRunning {
					t.Errorf("stopped: %d processes, job %s", n, s)
				}
				w.asks(t, id, api.VerbResume, 1)
				if n := len(w.processes("north", id)); n != 3 {
					t.Errorf("resumed: %d processes", n)
				}
				w.asks(t, id, api.VerbKill, 2)
				w.finishes(t, id)
			},
			state: api.JobKilled, reason: "1 of its 3 tasks killed",
		},
		{
			name: "a job in the queue is killed without a directive", places: []int{1}, job: plain(2),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.asks(t, id, api.VerbKill)
				if n := w.job(id).Orders; n != 0 {
					t.Errorf("%d directives", n)
				}
			},
			state: api.JobKilled,
		},
		{
			name: "a lost groom: the job moves on, and what it left ends when the groom is back", places: []int{2, 2, 2}, job: bsp(4),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.lose(t, "south")
				w.comesBack(t, "south")
				if left := w.processes("south", id); len(left) != 0 {
					t.Errorf("left on south: %v", left)
				}
			},
			state: api.JobRunning, epoch: 2, on: map[string]int{"north": 2, "west": 2},
		},
		{
			name: "a lost groom, and no room elsewhere: the job waits with both reasons", places: []int{2, 2}, job: bsp(4),
			then:  func(t *testing.T, w *world, id api.JobID) { w.lose(t, "south") },
			state: api.JobQueued, epoch: 2, reason: "groom south is lost",
		},
		{
			name: "and goes on when the groom is back", places: []int{2, 2}, job: bsp(4),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.lose(t, "south")
				w.comesBack(t, "south")
			},
			state: api.JobRunning, epoch: 3, on: map[string]int{"north": 2, "south": 2},
		},
		{
			name: "plain tasks wait for their groom", places: []int{3, 3}, job: plain(3),
			then:  func(t *testing.T, w *world, id api.JobID) { w.lose(t, "north") },
			state: api.JobRunning, on: map[string]int{"north": 3},
		},
		{
			name: "unless their job lets them move", places: []int{3, 3}, job: Submitted{Type: api.Plain, Tasks: 3, Reschedule: true},
			then: func(t *testing.T, w *world, id api.JobID) {
				w.lose(t, "north")
				for _, a := range w.processes("south", id) {
					if a.ID.N() != 1+3+uncountedLimit+1 {
						t.Errorf("%s may have a twin on the lost groom", a.ID)
					}
				}
				w.comesBack(t, "north")
				w.finishes(t, id)
			},
			state: api.JobSucceeded, on: map[string]int{"south": 3},
		},
		{
			name: "a kill does not wait for a lost groom", places: []int{3}, job: plain(3),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.lose(t, "north")
				w.asks(t, id, api.VerbKill)
				if s := w.job(id).State; s != api.JobKilled {
					t.Errorf("while its groom is lost it is %s", s)
				}
				w.comesBack(t, "north")
				if left := w.processes("north", id); len(left) != 0 {
					t.Errorf("left behind: %v", left)
				}
			},
			state: api.JobKilled,
		},
		{
			name: "a committed job is not killed any more", places: []int{3}, job: bsp(1),
			then: func(t *testing.T, w *world, id api.JobID) {
				w.grooms["north"].finish(t, w.now, w.processes("north", id)[0])
				w.report(t, "north", 9, false)
				w.due(t)
				if err := w.observe(Asked{Job: id, Verb: api.VerbKill}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "committing") {
					t.Errorf("kill after the commit: %v", err)
				}
				w.settle(t)
			},
			state: api.JobSucceeded, epoch: 1,
		},
		{
			name: "a groom that cannot launch it fails the job", places: []int{2, 2}, job: bsp(4),
			then: func(t *testing.T, w *world, id api.JobID) {
				// Both have the launch outstanding; north takes it, south never can.
				w.must(t, Answered{Order: w.state.Outstanding("south")[0].ID, Rejected: "artifact data: no such file"})
				w.settle(t)
			},
			state: api.JobFailed, epoch: 1, reason: "groom south cannot launch it: artifact data",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.places...)
			id := w.submit(t, c.job)
			if strings.Contains(c.reason, "cannot launch") {
				w.due(t)
			} else {
				w.settle(t)
			}
			if c.then != nil {
				c.then(t, w, id)
			}
			j := w.job(id)
			reason := j.Reason
			for _, v := range w.state.Queue(w.present()) {
				reason += "; " + v.Why
			}
			if j.State != c.state || j.Epoch != c.epoch || !strings.Contains(reason, c.reason) {
				t.Errorf("%s in epoch %d: %q; want %s in epoch %d: …%s…\n%s", j.State, j.Epoch, reason, c.state, c.epoch, c.reason,
					strings.Join(w.kinds(), " "))
			}
			on := map[string]int{}
			for _, p := range j.Places {
				on[p.Groom] += p.Count
			}
			if c.on != nil && !cmp.Equal(on, c.on) {
				t.Errorf("placed %v, want %v", on, c.on)
			}
		})
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	w := newWorld(t, 3)
	var ids []api.JobID
	for _, n := range []int{2, 9, 2, 1} {
		ids = append(ids, w.submit(t, Submitted{Type: api.Plain, Tasks: n}))
	}
	w.settle(t)
	want := []Verdict{
		{Job: ids[1], Why: "waits for room: needs 9 places, 1 are free of 3"}, // never fits: passed over
		{Job: ids[2], Why: "waits for room: needs 2 places, 1 are free of 3"},
		{Job: ids[3], Why: "waits behind " + string(ids[2])}, // though it would fit
	}
	if diff := cmp.Diff(want, w.state.Queue(w.present())); diff != "" {
		t.Error(diff)
	}
	w.finishes(t, ids[0])
	for i, state := range []api.JobState{api.JobSucceeded, api.JobQueued, api.JobRunning, api.JobRunning} {
		if got := w.job(ids[i]).State; got != state {
			t.Errorf("job %d is %s, want %s", i, got, state)
		}
	}
}

// A job of ten thousand tasks is placed, recovered and forgotten by entries within their bound.
func TestManyTasks(t *testing.T) {
	const n = 10_000
	w := newWorld(t, n)
	id := w.submit(t, Submitted{Type: api.BSP, Tasks: n, Limit: 1})
	w.due(t)
	o := w.state.Outstanding("north")[0]
	if dir, ok := w.state.Directive(o); !ok || len(dir.Launch.Tasks) != n {
		t.Fatalf("launch of %d tasks", len(dir.Launch.Tasks))
	}
	w.must(t, Answered{Order: o.ID})
	for i := 0; i < n; i += 16 {
		r := Reported{Groom: "north"}
		for k := i; k < i+16 && k < n; k++ {
			r.Reports = append(r.Reports, api.Report{
				ID: fmt.Sprintf("%s/1", id.Task(k)), Task: id.Task(k), Epoch: 1, Attempt: 1, State: api.TaskCommitting,
				Because: strings.Repeat("because ", 100),
			})
		}
		w.must(t, r)
	}
	if !w.state.MayCommit(w.job(id)) {
		t.Fatalf("counts %v", w.job(id).Count)
	}
	w.must(t, Committing{Job: id})
	w.must(t, Answered{Order: w.state.Outstanding("north")[0].ID, Rejected: "job: not in the tables"})
	if j := w.job(id); j.State != api.JobFailed {
		t.Fatalf("after a refused commit it is %s", j.State)
	}
	w.now = w.now.Add(3 * time.Hour)
	w.due(t)
	for _, o := range w.state.Outstanding("north") {
		w.must(t, Answered{Order: o.ID})
	}
	for w.due(t) {
	}
	if n := w.state.Jobs.Len() + w.state.Tasks.Len(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
