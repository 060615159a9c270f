package fsm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"groom/api"
	"groom/fsm/table"
)

// history is a random life of a groom: orders that make sense and such as do not, processes that end, reports that
// come late or twice, crashes. It checks the tables after every entry.
type history struct {
	*world
	twin   *table.Machine // applies the same entries
	sent   []Directed     // directives, some of which come again
	last   snapshot
	budget map[api.TaskID]int // counted ends since the last resume, counted here independently
	kind   api.JobType
	limit  int
	slots  int
	policy api.RestartPolicy
	parts  bool // its job stops without a master
}

// snapshot is what the tables held before an entry.
type snapshot struct {
	tasks    map[string]Task
	attempts map[string]Attempt
	jobs     map[string]Job
}

func (w *world) snapshot() snapshot {
	s := snapshot{map[string]Task{}, map[string]Attempt{}, map[string]Job{}}
	for k, v := range w.state.Tasks.All() {
		s.tasks[k] = v
	}
	for k, v := range w.state.Attempts.All() {
		s.attempts[k] = v
	}
	for k, v := range w.state.Jobs.All() {
		s.jobs[k] = v
	}
	return s
}

func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{
			world: newWorld(t), twin: NewMachine(NewState(), nil), budget: map[api.TaskID]int{},
			kind: rapid.SampledFrom([]api.JobType{api.Plain, api.BSP}).Draw(t, "type"), limit: rapid.IntRange(1, 4).Draw(t, "limit"),
			slots: rapid.IntRange(1, 4).Draw(t, "slots"), policy: api.RestartOnFailure, parts: rapid.Bool().Draw(t, "parts"),
		}
		if h.kind == api.Plain {
			h.policy = rapid.SampledFrom([]api.RestartPolicy{api.RestartOnFailure, api.RestartAlways, api.RestartNever}).Draw(t, "policy")
		}
		h.must(t, Booted{ID: "groom-1", Name: "north", BootID: "boot-1", MaxTasks: h.slots})
		for i, e := range h.log {
			if _, err := h.twin.Apply(uint64(i+1), e.kind, 1, e.body); err != nil {
				t.Fatal(err)
			}
		}
		h.last = h.snapshot()
		t.Repeat(map[string]func(*rapid.T){
			"directive": h.directive,
			"again":     h.again,
			"due":       h.due,
			"started":   h.started,
			"ended":     h.ended,
			"story":     h.story,
			"committed": h.committed,
			"acked":     h.acked,
			"contact":   h.contact,
			"time":      h.time,
			"crash":     h.crash,
			"race":      h.race,
		})
	})
}

// take decides, records, applies and checks.
func (h *history) take(t *rapid.T, o Observation) {
	dec, err := Decide(h.state, o, h.now, 7)
	if err != nil || len(dec.Changes) == 0 {
		return
	}
	body, err := Record(o, dec, h.now, 7)
	if err != nil {
		t.Fatalf("record: %v", err)
	}
	h.applied(t, o, body)
}

func (h *history) applied(t *rapid.T, o Observation, body []byte) {
	before := h.machine.Digest()
	h.same(t, o.Kind(), body)
	err := h.apply(o.Kind(), body)
	if _, twinErr := h.twin.Apply(uint64(len(h.log)), o.Kind(), 1, body); twinErr != nil {
		t.Fatalf("twin: %v", twinErr)
	}
	if h.twin.Digest() != h.machine.Digest() {
		t.Fatal("two machines differ after the same entries")
	}
	if err != nil {
		if _, stale := err.(*table.Stale); !stale {
			t.Fatal(err)
		}
		if h.machine.Digest() != before {
			t.Fatal("a refused entry changed the tables")
		}
		return
	}
	h.check(t, o)
	h.last = h.snapshot()
}

// same proves that the observation as it was recorded leads to the same decision on the same tables.
func (h *history) same(t *rapid.T, kind uint16, body []byte) {
	e, err := table.DecodeEntry(body)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := e.Encode(); string(again) != string(body) {
		t.Fatalf("not canonical:\n%s\n%s", body, again)
	}
	o, err := DecodeObservation(kind, e.Obs)
	if err != nil {
		t.Fatalf("entry: %v", err)
	}
	dec, err := Decide(h.state, o, e.Now, e.Seed)
	if err != nil {
		return // the tables have changed since; it is stale as well
	}
	if diff := cmp.Diff(rows(e.Changes), rows(dec.Changes)); diff != "" && fresh(h.state, e.Changes) {
		t.Fatalf("decided again (-recorded +now):\n%s", diff)
	}
}

func fresh(s *State, changes []table.Change) bool {
	now := map[string]func(string) uint64{
		"self": s.Self.Rev, "jobs": s.Jobs.Rev, "tasks": s.Tasks.Rev, "attempts": s.Attempts.Rev,
		"directives": s.Directives.Rev, "outbox": s.Outbox.Rev, "dirs": s.Dirs.Rev, "incarnations": s.Incarnations.Rev,
	}
	return !slices.ContainsFunc(changes, func(c table.Change) bool { return now[c.Table](c.Key) != c.Rev })
}

func rows(changes []table.Change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, fmt.Sprintf("%s/%s@%d %s", c.Table, c.Key, c.Rev, c.Row))
	}
	return all
}

// The actions.

func (h *history) tasks(t *rapid.T, least int) []int {
	return rapid.SliceOfNDistinct(rapid.IntRange(0, 3), least, 4, rapid.ID[int]).Draw(t, "tasks")
}

func (h *history) directive(t *rapid.T) {
	epoch := 0
	if h.kind == api.BSP {
		j, _ := h.state.Jobs.Get(string(testJob))
		epoch = max(1, j.Epoch+rapid.IntRange(-1, 1).Draw(t, "epoch"))
	}
	job := testRow(h.kind, 4, h.limit)
	job.Restart.Policy = h.policy
	if h.parts {
		job.StopAfter = api.Duration(time.Minute)
	}
	kinds := []api.DirectiveKind{
		api.DirectiveLaunch, api.DirectiveLaunch, api.DirectiveStop, api.DirectiveKill, api.DirectiveResume, api.DirectiveForget,
	}
	if h.kind == api.Plain {
		kinds = append(kinds, api.DirectiveRestart, api.DirectiveRestart)
	} else {
		kinds = append(kinds, api.DirectiveRecover, api.DirectiveRecover, api.DirectiveCommit)
	}
	var o Directed
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case api.DirectiveLaunch, api.DirectiveRecover:
		o = launching(kind, job, epoch, rapid.IntRange(0, 4).Draw(t, "attempt"), h.tasks(t, 1)...)
	default:
		o = directive(kind, epoch, h.tasks(t, 0)...)
		o.Directive.Fail = kind == api.DirectiveKill && rapid.Bool().Draw(t, "fail")
	}
	h.sent = append(h.sent, o)
	h.take(t, o)
}

func (h *history) again(t *rapid.T) {
	if len(h.sent) == 0 {
		return
	}
	h.take(t, rapid.SampledFrom(h.sent).Draw(t, "sent"))
}

func (h *history) due(t *rapid.T) {
	tasks, _, _ := h.state.Due(h.now)
	if rapid.Bool().Draw(t, "wild") {
		tasks = due(h.tasks(t, 1)...).Tasks
	}
	if len(tasks) == 0 {
		return
	}
	h.take(t, Due{Tasks: tasks, Place: testPlace})
}

func (h *history) anyAttempt(t *rapid.T) api.AttemptID {
	var ids []api.AttemptID
	for id := range h.state.Attempts.All() {
		ids = append(ids, api.AttemptID(id))
	}
	if len(ids) == 0 {
		return testJob.Task(0).Attempt(1)
	}
	return rapid.SampledFrom(ids).Draw(t, "attempt")
}

func (h *history) started(t *rapid.T) {
	h.take(t, Started{Attempt: h.anyAttempt(t), Pid: 100, ShimPid: 99, At: h.now})
}

var outcomes = []api.Outcome{
	exit(0), exit(0), exit(3), signaled("SIGKILL", api.ByOthers), signaled("SIGTERM", api.ByStop), signaled("SIGKILL", api.ByKill),
	{Kind: api.OOM},
	{Kind: api.ExecFailed, Errno: "ENOENT"},
	{Kind: api.OutOfContact, Signal: "SIGKILL"},
	{Kind: api.NotStarted, Why: "no space"},
	{Kind: api.Lost, Why: api.WhyReboot},
	{Kind: api.Lost, Why: api.WhyShim},
	rolledBack(),
}

func (h *history) ended(t *rapid.T) {
	o := Ended{Attempt: h.anyAttempt(t), End: End{Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"), At: h.now}}
	if rapid.IntRange(0, 3).Draw(t, "well") == 0 {
		o.End.Ran = int64(testHealthy)
	}
	if rapid.IntRange(0, 5).Draw(t, "place") > 0 {
		place := testPlace
		o.Place = &place
	}
	h.take(t, o)
}

func (h *history) story(t *rapid.T) {
	id := h.anyAttempt(t)
	h.take(t, rapid.SampledFrom([]Observation{Done{id}, Done{id}, Told{id, "fatal"}, Silent{id, "6 pings missed"}}).Draw(t, "story"))
}

func (h *history) committed(t *rapid.T) { h.take(t, committed(h.tasks(t, 1)...)) }

func (h *history) acked(t *rapid.T) {
	var ids []string
	for id := range h.state.Outbox.All() {
		if rapid.Bool().Draw(t, "held") {
			ids = append(ids, id)
		}
	}
	h.take(t, Acked{ids})
}

func (h *history) contact(t *rapid.T) {
	h.take(t, Contact{Reached: rapid.Bool().Draw(t, "reached")})
	if _, abandoned, _ := h.state.Due(h.now); len(abandoned) > 0 {
		h.take(t, Abandoned{Job: abandoned[0]})
	}
}

func (h *history) time(t *rapid.T) {
	h.wait(time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "elapsed")))
}

// crash goes on with tables that are made anew from what was recorded: from the first entry, or from a snapshot
// taken somewhere on the way.
func (h *history) crash(t *rapid.T) {
	before := h.machine.Digest()
	s, m, err := h.replayed(len(h.log))
	if err != nil {
		t.Fatal(err)
	}
	if m.Digest() != before {
		t.Fatal("a replay from the first entry differs from what was live")
	}
	half, err := h.restored(rapid.IntRange(0, len(h.log)).Draw(t, "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	if half.Digest() != before {
		t.Fatal("a snapshot with the tail of the log differs from what was live")
	}
	if string(half.StateJSON()) != string(h.machine.StateJSON()) {
		t.Fatal("the digests agree, the rows do not")
	}
	h.state, h.machine = s, m
	h.take(t, Booted{ID: "another", Name: "north", BootID: "boot-1", MaxTasks: h.slots})
}

// race decides one thing, lets another be recorded first, and proposes the first nevertheless.
func (h *history) race(t *rapid.T) {
	o := Ended{Attempt: h.anyAttempt(t), End: End{Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"), At: h.now}}
	dec, err := Decide(h.state, o, h.now, 7)
	if err != nil || len(dec.Changes) == 0 {
		return
	}
	body, err := Record(o, dec, h.now, 7)
	if err != nil {
		t.Fatal(err)
	}
	rapid.SampledFrom([]func(*rapid.T){h.directive, h.story, h.ended, h.started}).Draw(t, "faster")(t)
	h.applied(t, o, body)
}

// check holds the tables against the invariants.
func (h *history) check(t *rapid.T, o Observation) {
	now := h.snapshot()
	if n := h.state.Slots(); n > h.slots {
		t.Fatalf("%d slots are held, %d exist", n, h.slots)
	}
	h.renew(o)
	living := map[api.TaskID]int{}
	for id, a := range now.attempts {
		task, ok := now.tasks[string(a.ID.Task())]
		if !ok {
			t.Fatalf("%s has no task", id)
		}
		if a.ID.N() > task.Attempt || a.Epoch > task.Epoch {
			t.Fatalf("%s of epoch %d is ahead of its task: attempt %d, epoch %d", id, a.Epoch, task.Attempt, task.Epoch)
		}
		if (a.State == AttemptEnded) != (a.End != nil) {
			t.Fatalf("%s is %s with end %v", id, a.State, a.End)
		}
		if a.State != AttemptEnded {
			if living[a.ID.Task()]++; living[a.ID.Task()] > 1 || a.ID.N() != task.Attempt {
				t.Fatalf("%s has more than one attempt that has not ended", a.ID.Task())
			}
		}
		before, known := h.last.attempts[id]
		if known && before.State == AttemptEnded && !cmp.Equal(before, a) {
			t.Fatalf("%s changed after its end: %v, was %v", id, a, before)
		}
		if a.Counted && a.State == AttemptEnded && before.State != AttemptEnded {
			h.budget[a.ID.Task()]++
		}
	}
	for id := range h.last.attempts {
		if _, ok := now.attempts[id]; !ok && h.last.attempts[id].State != AttemptEnded {
			t.Fatalf("%s is gone without an outcome", id)
		}
	}
	for id, task := range now.tasks {
		h.checkTask(t, o, id, task, living[task.ID] > 0)
	}
	for id, j := range now.jobs {
		before := h.last.jobs[id]
		if j.Epoch < before.Epoch || before.Committed && !j.Committed {
			t.Fatalf("%s went back from %+v to %+v", id, before, j)
		}
	}
}

// renew begins a new budget period where the observation asks for one.
func (h *history) renew(o Observation) {
	switch o := o.(type) {
	case Ended:
		task, ended := h.last.tasks[string(o.Attempt.Task())], h.last.attempts[string(o.Attempt)]
		if o.End.Ran >= int64(testHealthy) && ended.State != AttemptEnded && task.Attempt == o.Attempt.N() {
			h.budget[task.ID] = 0
		}
	case Directed:
		if o.Directive.Kind != api.DirectiveRestart {
			return
		}
		for _, i := range o.covered(h.last.jobs[string(testJob)]) {
			if task, ok := h.last.tasks[string(testJob.Task(i))]; ok && !task.State.Terminal() && task.Final == "" {
				h.budget[task.ID] = 0
			}
		}
	}
}

func (h *history) checkTask(t *rapid.T, o Observation, id string, task Task, alive bool) {
	before, known := h.last.tasks[id]
	resumed := known && before.State == api.TaskStopped && task.State == api.TaskPending && task.Epoch == before.Epoch
	if !known || resumed {
		h.budget[task.ID] = 0
	}
	if known && before.State.Terminal() && !before.Moved && task.State != before.State {
		t.Fatalf("%s left %s for %s", id, before.State, task.State)
	}
	if known && task.Attempt < before.Attempt {
		t.Fatalf("%s went back to attempt %d from %d", id, task.Attempt, before.Attempt)
	}
	if task.State.Terminal() && alive {
		t.Fatalf("%s is %s and has a living attempt", id, task.State)
	}
	if wants := task.State == api.TaskLaunching || task.State == api.TaskRunning || task.State == api.TaskStopping; wants != alive {
		t.Fatalf("%s is %s; a living attempt: %v", id, task.State, alive)
	}
	if h.kind == api.Plain && task.Failures > h.limit {
		t.Fatalf("%s: %d counted failures, the limit is %d", id, task.Failures, h.limit)
	}
	if task.Failures != h.budget[task.ID] {
		t.Fatalf("%s says %d counted failures, there were %d", id, task.Failures, h.budget[task.ID])
	}
	if task.Uncounted > uncountedLimit+1 {
		t.Fatalf("%s: %d ends were not counted", id, task.Uncounted)
	}
	if task.State == api.TaskSucceeded {
		a, _ := h.state.Newest(task)
		j := h.last.jobs[string(testJob)]
		if a.End == nil || a.End.Outcome != exit(0) || h.kind == api.BSP && !(a.Done && j.Committed) {
			t.Fatalf("%s succeeded by %+v", id, a)
		}
	}
	reported := false
	for _, r := range h.state.Outbox.All() {
		reported = reported || r.Task == task.ID && r.State == task.State
	}
	_, acked := o.(Acked)
	if !acked && task.State.Terminal() && !task.Moved && task.State != before.State && !reported {
		t.Fatalf("%s became %s and the master is not told", id, task.State)
	}
}
