package main

import (
	"encoding/json"
	"slices"
	"testing"

	"groom/api"
	"groom/test/torture/mark"
)

const (
	testJob     = "job_202611250000_0001"
	testTask    = "task_202611250000_0001_000000"
	testAttempt = "attempt_202611250000_0001_000000_1"
	testNext    = "attempt_202611250000_0001_000000_2"
)

// clean is a round in which one task failed with code 3, and succeeded with its second attempt.
func clean() *evidence {
	h := &history{
		attempts: map[string]*attempt{}, limits: map[string]int{testJob: 3}, orders: map[string][]order{testJob: {{5, api.DirectiveLaunch}}},
		tasks: map[string][]taskRow{testTask: {{State: api.TaskPending}, {State: api.TaskRunning}, {State: api.TaskRunning, Failures: 1}, {State: api.TaskSucceeded, Failures: 1}}},
		jobs: map[string][]jobRow{testJob: {
			{Request: "r0", State: api.JobQueued, Type: api.Plain}, {Request: "r0", State: api.JobSucceeded, Type: api.Plain},
		}},
		master: []entry{{Index: 7, Kind: "job.submitted"}, {Index: 8, Kind: "job.asked"}},
	}
	h.attempts[testAttempt] = ended(10, 100, 200, api.Outcome{Kind: api.Exited, Code: 3})
	h.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Exited})
	return &evidence{
		marks: []mark.Execution{
			{Task: testTask, Attempt: testAttempt, Kind: mark.Main, Pid: 1, Start: 110, Beat: 190, Ended: true, End: 190, Code: 3},
			{Task: testTask, Attempt: testAttempt, Kind: mark.Child, Pid: 2, Start: 120, Beat: 195},
			{Task: testTask, Attempt: testNext, Kind: mark.Main, Pid: 3, Start: 210, Beat: 290, Ended: true, End: 290},
		},
		history: h, x: &executioner{}, bystanders: &bystanders{signals: "/dev/null"},
		w: &work{
			sent:  []*submission{{request: "r0", job: testJob, index: 7, spec: api.JobSpec{Command: []string{"task"}}}},
			asked: map[api.JobID]map[api.Verb]bool{},
		},
	}
}

func ended(index uint64, from, to int64, o api.Outcome) *attempt {
	a := &attempt{index: index, intended: from, ended: to, ends: 1}
	b, err := json.Marshal(map[string]any{"state": "ended", "end": map[string]any{"outcome": o}})
	if err == nil {
		err = json.Unmarshal(b, &a.row)
	}
	if err != nil {
		panic(err)
	}
	return a
}

// Each thing that must never be is seen, as a breach of the invariant that it is.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  int // the invariant, 0 for none
		spoil func(*evidence)
	}{
		{"a clean round", 0, func(*evidence) {}},
		{"a submission that was acknowledged and lost", 1, func(e *evidence) { delete(e.history.jobs, testJob) }},
		{"one request, two jobs", 1, func(e *evidence) {
			e.history.jobs["job_202611250000_0002"] = []jobRow{{Request: "r0", State: api.JobKilled}}
		}},
		{"an order that was acknowledged and lost", 1, func(e *evidence) { e.w.acts = []act{{api.VerbStop, testJob, 9}} }},
		{"an attempt after a kill", 1, func(e *evidence) {
			e.history.orders[testJob] = append(e.history.orders[testJob], order{10, api.DirectiveKill})
		}},
		{"an attempt after a stop and a resume", 0, func(e *evidence) {
			e.history.orders[testJob] = append(e.history.orders[testJob], order{8, api.DirectiveStop}, order{9, api.DirectiveResume})
		}},
		{"an execution that saw another one", 2, func(e *evidence) { e.marks[2].Saw = []string{testAttempt + ".main.1"} }},
		{"two executions that overlap by their beats", 2, func(e *evidence) { e.marks[2].Start = 185 }},
		{"an attempt that ran twice", 2, func(e *evidence) {
			e.marks = append(e.marks, mark.Execution{Task: testTask, Attempt: testAttempt, Kind: mark.Main, Pid: 9})
		}},
		{"a task that lived on after its end", 2, func(e *evidence) { e.marks[2].Beat = 301 }},
		{"an execution that no entry intends", 3, func(e *evidence) { delete(e.history.attempts, testNext) }},
		{"an execution before its intent", 3, func(e *evidence) { e.marks[0].Start = 99 }},
		{"no outcome", 4, func(e *evidence) { e.history.attempts[testNext].row.End, e.history.attempts[testNext].ends = nil, 0 }},
		{"an outcome that changed", 4, func(e *evidence) { e.history.attempts[testNext].ends = 2 }},
		{"an invented code", 4, func(e *evidence) { e.marks[0].Code = 4 }},
		{"a code of a task that was killed", 4, func(e *evidence) { e.marks[0].Ended = false }},
		{"not started, and ran", 4, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.NotStarted})
		}},
		{"a signal that nobody sent", 4, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers})
		}},
		{"a signal that the harness sent", 0, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers})
			e.x.kills = []killing{{ofTask, testNext, 250}}
		}},
		{"a stop that nobody asked for", 4, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByStop})
		}},
		{"a shim that is lost, and nobody killed it", 4, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Lost, Why: api.WhyShim})
		}},
		{"a reboot that never was", 4, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Lost, Why: api.WhyReboot})
		}},
		{"an end that was told, and lost with the power", 4, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Lost, Why: api.WhyReboot})
			e.x.cuts, e.x.finished = []int64{295}, map[string]bool{testNext: true}
		}},
		{"an end that nobody was told, lost with the power", 0, func(e *evidence) {
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Lost, Why: api.WhyReboot})
			e.x.cuts = []int64{295}
		}},
		{"a foreign file deleted", 5, func(e *evidence) { e.bystanders.files = map[string]string{"/no/such/file": ""} }},
		{"more failures than the limit", 6, func(e *evidence) { e.history.tasks[testTask][2].Failures = 4 }},
		{"more failures by the marks than the rows tell", 6, func(e *evidence) {
			e.history.limits[testJob], e.marks[2].Code = 1, 3
			e.history.attempts[testNext] = ended(11, 200, 300, api.Outcome{Kind: api.Exited, Code: 3})
		}},
		{"a task that comes back", 7, func(e *evidence) {
			e.history.tasks[testTask] = append(e.history.tasks[testTask], taskRow{State: api.TaskRunning}, taskRow{State: api.TaskSucceeded})
		}},
		{"a job that comes back", 7, func(e *evidence) {
			e.history.jobs[testJob] = append(e.history.jobs[testJob], jobRow{Request: "r0", State: api.JobRunning})
		}},
		{"a replay that differs", 8, func(e *evidence) { e.digests = []string{"differs"} }},
		{"two results of one BSP job", 10, func(e *evidence) { e.results = map[string]int{"3.14\n": 5, "3.15\n": 1} }},
		{"a child that outlived its task", 12, func(e *evidence) { e.marks[1].Beat = 201 }},
		{"a child that outlived its task, and that is said", 0, func(e *evidence) {
			e.marks[1].Beat = 201
			e.history.attempts[testAttempt].row.End.Unproven = true
		}},
		{"a child that the next attempt saw", 12, func(e *evidence) { e.marks[2].Saw = []string{testAttempt + ".child.2"} }},
		{"a process that is left", 12, func(e *evidence) { e.leftovers = []victim{{ofChild, testNext, 4}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := clean()
			c.spoil(e)
			found := judge(e)
			if c.want == 0 && len(found) > 0 {
				t.Errorf("found %v", found)
			}
			if c.want > 0 && !slices.ContainsFunc(found, func(v violation) bool { return v.invariant == c.want }) {
				t.Errorf("found %v, want invariant %d", found, c.want)
			}
		})
	}
}

// The same seed draws the same kills and the same jobs.
func TestSeedReproducesThePlan(t *testing.T) {
	plan := func(seed uint64) string {
		steps, err := json.Marshal(struct {
			Jobs  []api.JobSpec
			Steps int
			Plan  []string
		}{[]api.JobSpec{jobOf(seed, 0, dirs{}), jobOf(seed, 1, dirs{})}, len(planOf(seed, 50, true)), names(planOf(seed, 50, true))})
		if err != nil {
			t.Fatal(err)
		}
		return string(steps)
	}
	first := plan(1)
	if again := plan(1); again != first {
		t.Error("one seed drew two plans")
	}
	if first == plan(2) {
		t.Error("two seeds drew one plan")
	}
}

func names(steps []step) []string {
	var all []string
	for _, s := range steps {
		all = append(all, s.kind+s.point+s.pause.String())
	}
	return all
}
