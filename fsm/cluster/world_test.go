package cluster

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/fsm/table"
)

// world drives the tables of a master, and beside them those of its grooms, as the processes do: decide, record, apply.
// The grooms are the real ones, without processes: what a directive does to them is their own decision.
type world struct {
	state   *State
	machine *table.Machine
	now     api.Moment
	log     []recorded
	grooms  map[string]*groom
}

type recorded struct {
	kind uint16
	body []byte
}

// groom is a groom's tables. While it is away nothing reaches it and nothing comes from it.
type groom struct {
	id      string
	max     int
	state   *fsm.State
	machine *table.Machine
	entries uint64
	away    bool
}

const testCluster = "cluster-1"

var (
	zeroHour  = api.Moment{Wall: time.Date(2026, 11, 24, 9, 15, 0, 0, time.UTC), Boot: time.Hour, ID: "boot-1"}
	testPlace = fsm.Place{Dir: "/data/local/groom-1", BootID: "boot-1", PIDNS: 1}
)

// fataler is a test, or a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// newWorld is a booted master with grooms north, south and so on, of so many places each.
func newWorld(t fataler, places ...int) *world {
	t.Helper()
	s := NewState()
	w := &world{state: s, machine: NewMachine(s, nil), now: zeroHour, grooms: map[string]*groom{}}
	w.must(t, Booted{Cluster: testCluster, Name: "master", BootID: "boot-1", Build: "test"})
	for i, n := range places {
		g := &groom{id: []string{"north", "south", "west"}[i], max: n, state: fsm.NewState()}
		g.machine = fsm.NewMachine(g.state, nil)
		w.grooms[g.id] = g
		g.must(t, w.now, fsm.Booted{ID: g.id, Name: g.id, BootID: "boot-1", MaxTasks: n})
		g.must(t, w.now, fsm.Pinned{Cluster: testCluster})
		w.must(t, registered(g))
	}
	return w
}

func registered(g *groom) Registered {
	return Registered{Groom: g.id, Name: g.id, Incarnation: 1, MaxTasks: g.max, WorkerAddr: g.id + ":50000", Healthy: true}
}

func (w *world) observe(o Observation) error {
	dec, err := Decide(w.state, o, w.now, 7)
	if err != nil || len(dec.Changes) == 0 {
		return err
	}
	body, err := Record(o, dec, w.now, 7)
	if err != nil {
		return err
	}
	result, err := w.machine.Apply(uint64(len(w.log)+1), o.Kind(), 1, body)
	if err != nil {
		return err
	}
	w.log = append(w.log, recorded{o.Kind(), body})
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

func (g *groom) observe(now api.Moment, o fsm.Observation) error {
	dec, err := fsm.Decide(g.state, o, now, 7)
	if err != nil || len(dec.Changes) == 0 {
		return err
	}
	body, err := fsm.Record(o, dec, now, 7)
	if err != nil {
		return err
	}
	g.entries++
	_, err = g.machine.Apply(g.entries, o.Kind(), 1, body)
	return err
}

func (g *groom) must(t fataler, now api.Moment, o fsm.Observation) {
	t.Helper()
	if err := g.observe(now, o); err != nil {
		t.Fatalf("%s of groom %s: %v", fsm.Kinds()[o.Kind()], g.id, err)
	}
}

// names are the ids of all grooms, in order.
func (w *world) names() []string { return slices.Sorted(maps.Keys(w.grooms)) }

func (w *world) present() []string {
	return slices.DeleteFunc(w.names(), func(id string) bool { return w.grooms[id].away })
}

// deliver hands the next directive to a groom, and its answer back unless that is lost on the way. It says whether
// there was one.
func (w *world) deliver(t fataler, id string, answerLost bool) bool {
	t.Helper()
	g, all := w.grooms[id], w.state.Outstanding(id)
	if g.away || len(all) == 0 {
		return false
	}
	dir, ok := w.state.Directive(all[0])
	if !ok {
		w.must(t, Answered{Order: all[0].ID})
		return true
	}
	o := fsm.Directed{Directive: dir}
	if dir.Launch != nil {
		j, _ := w.state.Jobs.Get(string(dir.Job))
		o.Spec, o.Job = j.Spec, &fsm.Job{
			ID: j.ID, Name: j.Name, Type: j.Type, Spec: j.Spec, Tasks: j.Tasks, Stop: api.Stop{Signal: "SIGTERM"},
			Restart: api.Restart{Limit: j.Limit}, Pings: j.Type == api.BSP,
		}
	}
	err := g.observe(w.now, o)
	switch {
	case answerLost:
	case err == nil:
		w.must(t, Answered{Order: dir.ID, Index: g.entries})
	case dir.Kind == api.DirectiveForget:
		return false // told again later
	default:
		w.must(t, Answered{Order: dir.ID, Rejected: err.Error()})
	}
	return true
}

// report hands over the first n reports of a groom's outbox, and acknowledges them unless that is lost on the way.
func (w *world) report(t fataler, id string, n int, ackLost bool) bool {
	t.Helper()
	g := w.grooms[id]
	o := Reported{Groom: id}
	var acked fsm.Acked
	for _, r := range g.state.Outbox.ByIndex() {
		if len(o.Reports) < n {
			o.Reports, acked.Reports = append(o.Reports, r), append(acked.Reports, r.ID)
		}
	}
	if g.away || len(o.Reports) == 0 {
		return false
	}
	w.must(t, o)
	if !ackLost {
		g.must(t, w.now, acked)
	}
	return true
}

// work lets a groom intend and start what is due, and move outputs that may move.
func (g *groom) work(t fataler, now api.Moment) {
	t.Helper()
	if due, _, _ := g.state.Due(now); len(due) > 0 {
		g.must(t, now, fsm.Due{Tasks: due, Place: testPlace})
	}
	for _, a := range g.attempts() {
		if a.State == fsm.AttemptIntended && a.Order == nil {
			g.must(t, now, fsm.Started{Attempt: a.ID, Pid: 1, ShimPid: 2, At: now})
		}
	}
	for id, j := range g.state.Jobs.All() {
		o := fsm.Committed{Job: api.JobID(id)}
		for _, i := range j.Local {
			if task, _ := g.state.Tasks.Get(string(j.ID.Task(i))); j.Committed && task.State == api.TaskCommitting {
				o.Tasks = append(o.Tasks, i)
			}
		}
		g.must(t, now, o)
	}
}

// attempts are those that have not ended.
func (g *groom) attempts() []fsm.Attempt {
	var all []fsm.Attempt
	for _, a := range g.state.Attempts.All() {
		if a.State != fsm.AttemptEnded {
			all = append(all, a)
		}
	}
	return all
}

// end ends an attempt: as it was ordered to, or by itself with this outcome.
func (g *groom) end(t fataler, now api.Moment, a fsm.Attempt, outcome api.Outcome) {
	t.Helper()
	if a.Order != nil {
		switch a.Order.By {
		case fsm.ByRollback:
			outcome = api.Outcome{Kind: api.RolledBack, Signal: a.Order.Signal}
		default: // by stop, restart or kill
			outcome = api.Outcome{Kind: api.Signaled, Signal: a.Order.Signal, By: a.Order.By}
		}
	}
	place := testPlace
	g.must(t, now, fsm.Ended{Attempt: a.ID, End: fsm.End{Outcome: outcome, At: now}, Place: &place})
}

func (g *groom) finish(t fataler, now api.Moment, a fsm.Attempt) {
	t.Helper()
	if a.Order == nil {
		g.must(t, now, fsm.Done{Attempt: a.ID})
	}
	g.end(t, now, a, exit(0))
}

func exit(code int) api.Outcome { return api.Outcome{Kind: api.Exited, Code: code} }

// due records what the tables ask for, once, and says whether there was anything.
func (w *world) due(t fataler) bool {
	t.Helper()
	before := len(w.log)
	all, _ := w.state.Due(w.present(), w.now)
	for _, o := range all {
		w.must(t, o)
	}
	return len(w.log) > before
}

// settle lets everything that is under way come to its rest, but for processes, which run on.
func (w *world) settle(t fataler) {
	t.Helper()
	for range 1000 {
		moved := w.due(t)
		for _, id := range w.present() {
			before := w.grooms[id].entries
			for w.deliver(t, id, false) {
				moved = true
			}
			w.grooms[id].work(t, w.now)
			for _, a := range w.grooms[id].attempts() {
				if a.Order != nil {
					w.grooms[id].end(t, w.now, a, exit(0))
				}
			}
			moved = w.report(t, id, 100, false) || moved || w.grooms[id].entries > before
		}
		if !moved {
			return
		}
	}
	t.Fatalf("it never comes to rest")
}

// processes are the living attempts of a job on a groom, in order.
func (w *world) processes(groom string, id api.JobID) []fsm.Attempt {
	return slices.DeleteFunc(w.grooms[groom].attempts(), func(a fsm.Attempt) bool { return a.ID.Task().Job() != id })
}

func (w *world) submit(t fataler, o Submitted) api.JobID {
	t.Helper()
	o.Request = fmt.Sprintf("request-%d", len(w.log))
	o.Spec, o.Name = "0123", "test"
	if o.Limit == 0 {
		o.Limit = 3
	}
	if o.Retention == (api.Retention{}) {
		o.Retention = api.Retention{Keep: api.Duration(time.Hour), KeepFailed: api.Duration(2 * time.Hour)}
	}
	w.must(t, o)
	r, _ := w.state.Requests.Get(o.Request)
	return r.Job
}

func (w *world) job(id api.JobID) Job {
	j, _ := w.state.Jobs.Get(string(id))
	return j
}

func (w *world) kinds() []string {
	var all []string
	for _, e := range w.log {
		all = append(all, Kinds()[e.kind])
	}
	return all
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
func (w *world) restored(n int) (*State, *table.Machine, error) {
	_, m, err := w.replayed(n)
	if err != nil {
		return nil, nil, err
	}
	snap, err := m.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	if _, err := snap.WriteTo(&b); err != nil {
		return nil, nil, err
	}
	s := NewState()
	fresh := NewMachine(s, nil)
	if err := fresh.Restore(&b); err != nil {
		return nil, nil, err
	}
	for i, e := range w.log[n:] {
		if _, err := fresh.Apply(uint64(n+i+1), e.kind, 1, e.body); err != nil {
			return nil, nil, err
		}
	}
	return s, fresh, nil
}
