package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"groom/api"
	"groom/fsm/table"
)

// world drives tables as a groom does: decide, record, apply. It keeps what it recorded, as a journal would.
type world struct {
	state   *State
	machine *table.Machine
	now     api.Moment
	log     []recorded
}

type recorded struct {
	kind uint16
	body []byte
}

const (
	testJob     = api.JobID("job_202611240915_0001")
	testCluster = "cluster-1"
	testMax     = 3
	testHealthy = 10 * time.Minute
)

var (
	zeroHour  = api.Moment{Wall: time.Date(2026, 11, 24, 9, 15, 0, 0, time.UTC), Boot: time.Hour, ID: "boot-1"}
	testPlace = Place{Dir: "/data/local/groom-1", BootID: "boot-1", PIDNS: 4026531836}
)

// fataler is a test, or a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newWorld(t fataler) *world {
	t.Helper()
	s := NewState()
	w := &world{state: s, machine: NewMachine(s, nil), now: zeroHour}
	w.must(t, Booted{ID: "groom-1", Name: "north", BootID: "boot-1", PIDNS: 4026531836, Build: "test", MaxTasks: testMax})
	w.must(t, Pinned{Cluster: testCluster})
	return w
}

// observe takes an observation the whole way, in halves when it has to, as the server does.
func (w *world) observe(o Observation) error {
	dec, err := Decide(w.state, o, w.now, 7)
	if err != nil || len(dec.Changes) == 0 {
		return err
	}
	body, err := Record(o, dec, w.now, 7)
	if errors.Is(err, ErrTooLarge) {
		first, rest, ok := Halve(w.state, o)
		if !ok {
			return err
		}
		return errors.Join(w.observe(first), w.observe(rest))
	}
	if err != nil {
		return err
	}
	return w.apply(o.Kind(), body)
}

func (w *world) apply(kind uint16, body []byte) error {
	result, err := w.machine.Apply(uint64(len(w.log)+1), kind, 1, body)
	if err != nil {
		return err
	}
	w.log = append(w.log, recorded{kind, body})
	if stale, ok := result.(*table.Stale); ok {
		return stale
	}
	return nil
}

func (w *world) must(t fataler, observations ...Observation) {
	t.Helper()
	for _, o := range observations {
		if err := w.observe(o); err != nil {
			t.Fatalf("%s: %v", Kinds()[o.Kind()], err)
		}
	}
}

func (w *world) wait(d time.Duration) { w.now = w.now.Add(d) }

func (w *world) task(i int) Task {
	t, _ := w.state.Tasks.Get(string(testJob.Task(i)))
	return t
}

func (w *world) attempt(i, n int) Attempt {
	a, _ := w.state.Attempts.Get(string(testJob.Task(i).Attempt(n)))
	return a
}

// replayed is fresh tables to which the log up to entry n has been applied.
func (w *world) replayed(n int) (*State, *table.Machine, error) {
	s := NewState()
	m := NewMachine(s, nil)
	for i, e := range w.log[:n] {
		if _, err := m.Apply(uint64(i+1), e.kind, 1, e.body); err != nil {
			return nil, nil, err
		}
	}
	return s, m, nil
}

// restored is fresh tables made from a snapshot after entry n, with the rest of the log applied to it.
func (w *world) restored(n int) (*table.Machine, error) {
	_, m, err := w.replayed(n)
	if err != nil {
		return nil, err
	}
	snap, err := m.Snapshot()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := snap.WriteTo(&b); err != nil {
		return nil, err
	}
	fresh := NewMachine(NewState(), nil)
	if err := fresh.Restore(&b); err != nil {
		return nil, err
	}
	for i, e := range w.log[n:] {
		if _, err := fresh.Apply(uint64(n+i+1), e.kind, 1, e.body); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// Observations, as short as a table of cases wants them.

var serial int

func directive(kind api.DirectiveKind, epoch int, tasks ...int) Directed {
	serial++
	return Directed{Directive: api.Directive{
		Version: 1, ID: fmt.Sprintf("d-%d", serial), Cluster: testCluster, Kind: kind, Job: testJob, Epoch: epoch, Tasks: tasks,
	}}
}

func testRow(kind api.JobType, tasks, limit int) *Job {
	return &Job{
		ID: testJob, Name: "test", Type: kind, Spec: "0123", Tasks: tasks,
		Stop: api.Stop{Signal: "SIGTERM", Grace: api.Duration(10 * time.Second)},
		Restart: api.Restart{
			Policy: api.RestartOnFailure, Limit: limit, Backoff: api.Duration(time.Second), MaxBackoff: api.Duration(time.Minute),
			Healthy: api.Duration(testHealthy), Unproven: api.UnprovenFails,
		},
		Pings: kind == api.BSP, Dump: "SIGQUIT",
	}
}

// launching is a launch, or a recover, of the tasks with these indexes, each with its attempt of this number.
func launching(kind api.DirectiveKind, job *Job, epoch, attempt int, tasks ...int) Directed {
	o := directive(kind, epoch)
	o.Job, o.Spec = job, job.Spec
	o.Directive.Launch = &api.Launch{}
	if job.Type == api.BSP {
		o.Directive.Launch.Root = api.RootAddr{Groom: "groom-1"}
	}
	for _, i := range tasks {
		o.Directive.Launch.Tasks = append(o.Directive.Launch.Tasks, api.TaskLaunch{Index: i, Attempt: attempt})
	}
	return o
}

func plain(limit int, tasks ...int) Directed {
	return launching(api.DirectiveLaunch, testRow(api.Plain, 4, limit), 0, 1, tasks...)
}

func bsp(epoch int, tasks ...int) Directed {
	return launching(api.DirectiveLaunch, testRow(api.BSP, 4, 3), epoch, epoch, tasks...)
}

func recovering(epoch int, tasks ...int) Directed {
	return launching(api.DirectiveRecover, testRow(api.BSP, 4, 3), epoch, epoch, tasks...)
}

func due(tasks ...int) Due {
	o := Due{Place: testPlace}
	for _, i := range tasks {
		o.Tasks = append(o.Tasks, testJob.Task(i))
	}
	return o
}

func started(i, n int) Started {
	return Started{Attempt: testJob.Task(i).Attempt(n), Pid: 100 + 10*i + n, ShimPid: 200 + 10*i + n, At: zeroHour}
}

func ended(i, n int, outcome api.Outcome) Ended {
	place := testPlace
	return Ended{Attempt: testJob.Task(i).Attempt(n), End: End{Outcome: outcome, At: zeroHour}, Place: &place}
}

// well is an end after a run of this length.
func well(o Ended, ran time.Duration) Ended {
	o.End.Ran = int64(ran)
	return o
}

// policy is a launch under a restart policy.
func policy(p api.RestartPolicy, limit int, tasks ...int) Directed {
	job := testRow(api.Plain, 4, limit)
	job.Restart.Policy = p
	return launching(api.DirectiveLaunch, job, 0, 1, tasks...)
}

func done(i, n int) Done { return Done{Attempt: testJob.Task(i).Attempt(n)} }

func committed(tasks ...int) Committed { return Committed{Job: testJob, Tasks: tasks} }

func exit(code int) api.Outcome { return api.Outcome{Kind: api.Exited, Code: code} }

func signaled(name, by string) api.Outcome {
	return api.Outcome{Kind: api.Signaled, Signal: name, By: by}
}

func rolledBack() api.Outcome { return api.Outcome{Kind: api.RolledBack, Signal: "SIGKILL"} }
