package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestIDs(t *testing.T) {
	at := time.Date(2026, 11, 24, 10, 15, 42, 0, time.FixedZone("CET", 3600))
	job := NewJobID(at, 7)
	if job != "job_202611240915_0007" {
		t.Errorf("job %s", job)
	}
	if got := NewJobID(at, 123456); got != "job_202611240915_123456" {
		t.Errorf("the job after many: %s", got)
	}
	task := job.Task(2)
	if task != "task_202611240915_0007_000002" || task.Job() != job || task.Index() != 2 {
		t.Errorf("task %s of %s, index %d", task, task.Job(), task.Index())
	}
	attempt := task.Attempt(3)
	if attempt != "attempt_202611240915_0007_000002_3" || attempt.Task() != task || attempt.N() != 3 {
		t.Errorf("attempt %s of %s, number %d", attempt, attempt.Task(), attempt.N())
	}
}

// What is made of an identifier leads back to it.
func TestIDsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0)
		job := NewJobID(at, rapid.Uint64().Draw(t, "seq"))
		index, n := rapid.IntRange(0, 1e7).Draw(t, "index"), rapid.IntRange(1, 1e6).Draw(t, "n")
		attempt := job.Task(index).Attempt(n)
		if attempt.N() != n || attempt.Task().Index() != index || attempt.Task().Job() != job {
			t.Fatalf("%s is attempt %d of task %d of %s", attempt, attempt.N(), attempt.Task().Index(), attempt.Task().Job())
		}
		for _, id := range []error{second(ParseAttemptID(string(attempt))), second(ParseTaskID(string(attempt.Task()))), second(ParseJobID(string(job)))} {
			if id != nil {
				t.Fatal(id)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestIDsThatAreNone(t *testing.T) {
	for _, s := range []string{
		"", "job", "job_", "job_1", "job_1_", "job_1_2_3", "task_1_2", "task_1_2_3", "task_1_2_x", "task_1_2_-3", "task__2_3",
		"task_1_2_99999999999999999999", "attempt_1_2_3", "attempt_1_2_3_0", "attempt_1_2_3_x", "attempt_1_2_3_-1", "attempt_1_2_3_+1", "attempt_1_2_3_01",
		"attempt_1_2_3_", "attempt_../../x_1", "job_1_2/..", " job_1_2",
	} {
		if _, err := ParseAttemptID(s); !errors.Is(err, ErrBadID) {
			t.Errorf("%q is taken for an attempt", s)
		}
		if _, err := ParseTaskID(s); s != "task_1_2_3" && !errors.Is(err, ErrBadID) {
			t.Errorf("%q is taken for a task", s)
		}
		if _, err := ParseJobID(s); !errors.Is(err, ErrBadID) {
			t.Errorf("%q is taken for a job", s)
		}
	}
	if TaskID("nonsense").Job() != "" || TaskID("nonsense").Index() != -1 || AttemptID("nonsense").Task() != "" || AttemptID("x_y").N() != 0 {
		t.Error("a malformed identifier leads somewhere")
	}
}

// The table of outcomes: what each is called, and whether it is charged to the budget.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		outcome Outcome
		counted bool
		words   string
	}{
		{Outcome{Kind: Exited}, false, "exited with code 0"},
		{Outcome{Kind: Exited, Code: 3}, true, "exited with code 3"},
		{Outcome{Kind: Signaled, Signal: "SIGSEGV", By: ByOthers, Core: true}, true, "ended by SIGSEGV, not sent by groom, core dumped"},
		{Outcome{Kind: Signaled, Signal: "SIGTERM", By: ByStop}, false, "ended by SIGTERM, sent by groom for a stop"},
		{Outcome{Kind: Signaled, Signal: "SIGKILL", By: ByKill}, false, "ended by SIGKILL, sent by groom for a kill"},
		{Outcome{Kind: OOM}, true, "killed by the kernel: out of memory"},
		{Outcome{Kind: ExecFailed, Errno: "ENOENT"}, true, "could not be started: ENOENT"},
		{Outcome{Kind: ExecFailed, Errno: "EACCES", Why: "open stdout"}, true, "could not be started: open stdout (EACCES)"},
		{Outcome{Kind: OutOfContact, Why: "6 pings of 1s missed"}, true, "out of contact: 6 pings of 1s missed"},
		{Outcome{Kind: NotStarted, Why: "no space"}, false, "not started: no space"},
		{Outcome{Kind: Lost, Why: WhyReboot}, false, "lost: the host was restarted; exit code unknown"},
		{Outcome{Kind: Lost, Why: WhyShim}, true, "lost: its shim died; exit code unknown"},
		{Outcome{Kind: RolledBack, Signal: "SIGKILL"}, false, "rolled back: its epoch ended"},
		{Outcome{}, false, "unknown"},
	} {
		if got := c.outcome.Counted(); got != c.counted {
			t.Errorf("%s: counted %v", c.words, got)
		}
		if got := c.outcome.String(); got != c.words {
			t.Errorf("got %q, want %q", got, c.words)
		}
	}
}

func TestTerminalStates(t *testing.T) {
	for s, want := range map[TaskState]bool{
		TaskPending: false, TaskLaunching: false, TaskRunning: false, TaskBackoff: false, TaskStopping: false,
		TaskStopped: false, TaskCommitting: false, TaskSucceeded: true, TaskFailed: true, TaskKilled: true,
	} {
		if s.Terminal() != want {
			t.Errorf("task %s: terminal %v", s, !want)
		}
	}
	for s, want := range map[JobState]bool{
		JobQueued: false, JobRunning: false, JobStopping: false, JobStopped: false, JobCommitting: false,
		JobKilling: false, JobFailing: false, JobSucceeded: true, JobFailed: true, JobKilled: true,
	} {
		if s.Terminal() != want {
			t.Errorf("job %s: terminal %v", s, !want)
		}
	}
}

// Within one boot a stepped wall clock moves no deadline; across boots the wall clock is all there is.
func TestMoment(t *testing.T) {
	now := Moment{Wall: time.Date(2026, 11, 24, 9, 15, 0, 0, time.UTC), Boot: time.Hour, ID: "one"}
	deadline := now.Add(10 * time.Second)
	later := func(boot, wall time.Duration, id string) Moment {
		return Moment{Wall: now.Wall.Add(wall), Boot: boot, ID: id}
	}
	for _, c := range []struct {
		name string
		now  Moment
		want time.Duration
	}{
		{"at once", now, 10 * time.Second},
		{"later", later(time.Hour+4*time.Second, 4*time.Second, "one"), 6 * time.Second},
		{"the wall clock went back", later(time.Hour+4*time.Second, -time.Hour, "one"), 6 * time.Second},
		{"the wall clock jumped ahead", later(time.Hour+4*time.Second, time.Hour, "one"), 6 * time.Second},
		{"past", later(time.Hour+12*time.Second, 12*time.Second, "one"), -2 * time.Second},
		{"another boot", later(time.Second, 4*time.Second, "two"), 6 * time.Second},
		{"another boot, after it", later(2*time.Hour, time.Minute, "two"), -50 * time.Second},
	} {
		if got := deadline.Until(c.now); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if (Moment{}).IsZero() == deadline.IsZero() {
		t.Error("which one was never set?")
	}
}

// A moment is the same after a way through the journal.
func TestMomentRoundTrip(t *testing.T) {
	want := Moment{Wall: time.Date(2026, 11, 24, 9, 15, 0, 123456789, time.UTC), Boot: 3600123456789, ID: "one"}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Moment
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("%s comes back as %+v: %v", b, got, err)
	}
}

func TestDuration(t *testing.T) {
	var got struct{ D, E Duration }
	if err := json.Unmarshal([]byte(`{"D":"1m30s","E":"250ms"}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.D != Duration(90*time.Second) || got.E.Seconds() != 0.25 || fmt.Sprint(got.D) != "1m30s" {
		t.Errorf("%+v", got)
	}
	b, err := json.Marshal(got)
	if err != nil || string(b) != `{"D":"1m30s","E":"250ms"}` {
		t.Errorf("%s: %v", b, err)
	}
	for _, text := range []string{`"10"`, `"soon"`, `""`} {
		if err := json.Unmarshal([]byte(`{"D":`+text+`}`), &got); err == nil {
			t.Errorf("%s is taken for a duration", text)
		}
	}
}

// Fields without a value stay out of rows and messages.
func TestZerosStayOut(t *testing.T) {
	b, err := json.Marshal(AttemptView{ID: "a", State: "ended"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"a","n":0,"state":"ended","stdout_len":0,"stderr_len":0}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("view (-want +got):\n%s", diff)
	}
}

func TestProblem(t *testing.T) {
	p := Problemf(CodeConflict, "job %s is %s", "x", JobRunning)
	q := p.WithHint("groom job stop %s", "x")
	if p.Error() != "job x is running" || p.Hint != "" || q.Hint != "groom job stop x" || q.Code != CodeConflict {
		t.Errorf("%+v and %+v", p, q)
	}
	var got *Problem
	if !errors.As(fmt.Errorf("ask: %w", q), &got) || got != q {
		t.Error("a problem is lost on its way up")
	}
}
