package fsm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/fsm/table"
)

// Each case is a history and the state in which it leaves task 0: its state, number of newest attempt, counted ends
// and uncounted ends of the budget period.
func TestLifeOfATask(t *testing.T) {
	kill, failing := directive(api.DirectiveKill, 0), directive(api.DirectiveKill, 0)
	failing.Directive.Fail = true
	early := directive(api.DirectiveKill, 0)
	earlyNamed := directive(api.DirectiveKill, 0, 0)
	killBSP := directive(api.DirectiveKill, 1)
	stop, resume := directive(api.DirectiveStop, 0), directive(api.DirectiveResume, 0)
	stopped := ended(0, 1, signaled("SIGTERM", api.ByStop))
	noPlace := ended(0, 1, exit(1))
	noPlace.Place = nil
	unproven := ended(0, 1, api.Outcome{Kind: api.Lost, Why: api.WhyShim})
	unproven.End.Unproven = true
	restart, restarted := directive(api.DirectiveRestart, 0), ended(0, 1, signaled("SIGTERM", api.ByRestart))
	trusting := plain(3, 0)
	trusting.Job.Restart.Unproven = api.UnprovenRestarts
	always := []Observation{policy(api.RestartAlways, 3, 0), due(0), started(0, 1)}
	once := []Observation{policy(api.RestartNever, 1, 0), due(0), started(0, 1)}
	running := []Observation{plain(3, 0), due(0), started(0, 1)}
	runningBSP := []Observation{bsp(1, 0), due(0), started(0, 1)}
	after := func(before []Observation, more ...Observation) []Observation {
		return append(append([]Observation(nil), before...), more...)
	}
	uncounted := func(n int) []Observation {
		h := []Observation{plain(3, 0), due(0)}
		for i := 1; i <= n; i++ {
			h = append(h, ended(0, i, api.Outcome{Kind: api.NotStarted, Why: "no space"}), Told{}, due(0))
		}
		return h
	}
	cases := []struct {
		name      string
		history   []Observation
		state     api.TaskState
		attempt   int
		failures  int
		uncounted int
	}{
		{"accepted, and nothing more without an entry of its own", []Observation{plain(3, 0)}, api.TaskPending, 0, 0, 0},
		{"the intent comes before the process", []Observation{plain(3, 0), due(0)}, api.TaskLaunching, 1, 0, 0},
		{"due twice is one attempt", []Observation{plain(3, 0), due(0, 0), due(0)}, api.TaskLaunching, 1, 0, 0},
		{"a process makes it running", running, api.TaskRunning, 1, 0, 0},
		{"told to run again after a restart", after(running, started(0, 1)), api.TaskRunning, 1, 0, 0},
		{"exit 0 is success", after(running, ended(0, 1, exit(0))), api.TaskSucceeded, 1, 0, 0},
		{"ended before it was seen to run", []Observation{plain(3, 0), due(0), ended(0, 1, exit(0)), started(0, 1)}, api.TaskSucceeded, 1, 0, 0},
		{"the first restart is immediate", after(running, ended(0, 1, exit(3))), api.TaskLaunching, 2, 1, 0},
		{"an end told twice is charged once", after(running, ended(0, 1, exit(3)), ended(0, 1, exit(3))), api.TaskLaunching, 2, 1, 0},
		{"the second restart waits", after(running, ended(0, 1, exit(3)), ended(0, 2, exit(3))), api.TaskBackoff, 2, 2, 0},
		{"due before the backoff ends", after(running, ended(0, 1, exit(3)), ended(0, 2, exit(3)), due(0)), api.TaskBackoff, 2, 2, 0},
		{"three failures of three", after(running, ended(0, 1, exit(3)), ended(0, 2, exit(3)), Told{}, due(0), ended(0, 3, exit(3))), api.TaskFailed, 3, 3, 0},
		{"a limit of one leaves no restart", []Observation{plain(1, 0), due(0), ended(0, 1, exit(3))}, api.TaskFailed, 1, 1, 0},
		{"a signal from elsewhere is charged", after(running, ended(0, 1, signaled("SIGKILL", api.ByOthers))), api.TaskLaunching, 2, 1, 0},
		{"want of memory is charged", after(running, ended(0, 1, api.Outcome{Kind: api.OOM})), api.TaskLaunching, 2, 1, 0},
		{"a failed exec is charged", after(running, ended(0, 1, api.Outcome{Kind: api.ExecFailed, Errno: "ENOENT"})), api.TaskLaunching, 2, 1, 0},
		{"silence is charged", after(running, Silent{Attempt: testJob.Task(0).Attempt(1)}, ended(0, 1, api.Outcome{Kind: api.OutOfContact})), api.TaskLaunching, 2, 1, 0},
		{"a lost shim is charged", after(running, ended(0, 1, api.Outcome{Kind: api.Lost, Why: api.WhyShim})), api.TaskLaunching, 2, 1, 0},
		{"what might still run gets no second copy", after(running, unproven), api.TaskFailed, 1, 1, 0},
		{"a reboot is not charged", after(running, ended(0, 1, api.Outcome{Kind: api.Lost, Why: api.WhyReboot})), api.TaskLaunching, 2, 0, 1},
		{"never started is not charged", uncounted(1), api.TaskLaunching, 2, 0, 1},
		{"ten ends that are nobody's fault", uncounted(10), api.TaskLaunching, 11, 0, 10},
		{"the eleventh is one too many", uncounted(11), api.TaskFailed, 11, 0, 11},
		{"no directory to go to", after(running, noPlace), api.TaskBackoff, 1, 1, 0},
		{"a directory came back", after(running, noPlace, due(0)), api.TaskLaunching, 2, 1, 0},
		{"what might still run gets a second copy where the job allows it", []Observation{trusting, due(0), started(0, 1), unproven}, api.TaskLaunching, 2, 1, 0},

		{"always: exit 0 is followed by another, after a pause", after(always, ended(0, 1, exit(0))), api.TaskBackoff, 1, 0, 0},
		{"always: the other comes", after(always, ended(0, 1, exit(0)), Told{}, due(0)), api.TaskLaunching, 2, 0, 0},
		{"always: at once when it was well", after(always, well(ended(0, 1, exit(0)), testHealthy)), api.TaskLaunching, 2, 0, 0},
		{"always: failures are charged", after(always, ended(0, 1, exit(3)), ended(0, 2, exit(3)), Told{}, due(0), ended(0, 3, exit(3))), api.TaskFailed, 3, 3, 0},
		{"always: success gives no failure back", after(always, ended(0, 1, exit(3)), ended(0, 2, exit(0))), api.TaskBackoff, 2, 1, 0},
		{"always: stopped all the same", after(always, stop, ended(0, 1, exit(0)), due(0)), api.TaskStopped, 1, 0, 0},
		{"never: a failure is the end", after(once, ended(0, 1, exit(3))), api.TaskFailed, 1, 1, 0},
		{"never: exit 0 is success", after(once, ended(0, 1, exit(0))), api.TaskSucceeded, 1, 0, 0},
		{"never: not even after a reboot", after(once, ended(0, 1, api.Outcome{Kind: api.Lost, Why: api.WhyReboot})), api.TaskFailed, 1, 0, 0},
		{"never: what did not run yet still may", after(once[:2], ended(0, 1, api.Outcome{Kind: api.NotStarted})), api.TaskLaunching, 2, 0, 1},
		{"a time of health begins a new budget", after(running, ended(0, 1, exit(3)), ended(0, 2, exit(3)), Told{}, due(0), well(ended(0, 3, exit(3)), testHealthy)), api.TaskLaunching, 4, 1, 0},
		{"nearly well is not well", after(running, ended(0, 1, exit(3)), well(ended(0, 2, exit(3)), testHealthy-1)), api.TaskBackoff, 2, 2, 0},
		{"health forgives what was nobody's fault too", append(uncounted(10), well(ended(0, 11, exit(3)), testHealthy)), api.TaskLaunching, 12, 1, 0},

		{"restart waits for the process", after(running, restart), api.TaskStopping, 1, 0, 0},
		{"restarted at once", after(running, restart, restarted), api.TaskLaunching, 2, 0, 0},
		{"a restart told twice", after(running, restart, restart, restarted), api.TaskLaunching, 2, 0, 0},
		{"restarted, whatever it exits with", after(running, restart, ended(0, 1, exit(0))), api.TaskLaunching, 2, 0, 0},
		{"restart begins a new budget", after(running, ended(0, 1, exit(3)), restart, ended(0, 2, exit(3))), api.TaskLaunching, 3, 0, 0},
		{"restart of a backoff", after(running, ended(0, 1, exit(3)), ended(0, 2, exit(3)), restart, due(0)), api.TaskLaunching, 3, 0, 0},
		{"restart of what is stopped", after(running, stop, stopped, restart, due(0)), api.TaskLaunching, 2, 0, 0},
		{"a stop is stronger than a restart", after(running, restart, stop, restarted, due(0)), api.TaskStopped, 1, 0, 0},
		{"a restart does not take a stop back", after(running, stop, restart, stopped, due(0)), api.TaskStopped, 1, 0, 0},
		{"a kill is stronger than a restart", after(running, restart, kill, restarted), api.TaskKilled, 1, 0, 0},
		{"succeeded is not restarted", after(running, ended(0, 1, exit(0)), restart, due(0)), api.TaskSucceeded, 1, 0, 0},
		{"no restart beside what might still run", after(running, restart, unproven), api.TaskFailed, 1, 0, 0},

		{"stopped before it ran", []Observation{plain(3, 0), stop}, api.TaskStopped, 0, 0, 0},
		{"stop waits for the process", after(running, stop), api.TaskStopping, 1, 0, 0},
		{"a stop told twice", after(running, stop, stop), api.TaskStopping, 1, 0, 0},
		{"stopped", after(running, stop, stopped), api.TaskStopped, 1, 0, 0},
		{"a task that exits as it likes when stopped", after(running, stop, ended(0, 1, exit(9))), api.TaskStopped, 1, 0, 0},
		{"a process seen after the stop", []Observation{plain(3, 0), due(0), stop, started(0, 1)}, api.TaskStopping, 1, 0, 0},
		{"a stopped task is not due", after(running, stop, stopped, due(0)), api.TaskStopped, 1, 0, 0},
		{"resumed with a fresh budget", after(running, ended(0, 1, exit(3)), stop, ended(0, 2, exit(3)), resume, due(0)), api.TaskLaunching, 3, 0, 0},
		{"a resume of what runs changes nothing", after(running, ended(0, 1, exit(3)), resume), api.TaskLaunching, 2, 1, 0},
		{"stop of a backoff", after(running, ended(0, 1, exit(3)), ended(0, 2, exit(3)), stop, due(0)), api.TaskStopped, 2, 2, 0},

		{"killed before it ran", []Observation{plain(3, 0), kill}, api.TaskKilled, 0, 0, 0},
		{"kill waits for the process", after(running, kill), api.TaskStopping, 1, 0, 0},
		{"killed", after(running, kill, ended(0, 1, signaled("SIGKILL", api.ByKill))), api.TaskKilled, 1, 0, 0},
		{"a kill is stronger than a stop", after(running, stop, kill, stopped), api.TaskKilled, 1, 0, 0},
		{"a stop is weaker than a kill", after(running, kill, stop, stopped), api.TaskKilled, 1, 0, 0},
		{"failed by its job", after(running, failing, ended(0, 1, signaled("SIGKILL", api.ByKill))), api.TaskFailed, 1, 0, 0},
		{"a kill does not soften a failure", after(running, failing, kill, ended(0, 1, signaled("SIGKILL", api.ByKill))), api.TaskFailed, 1, 0, 0},
		{"killed is not resumed", after(running, kill, ended(0, 1, exit(0)), resume, due(0)), api.TaskKilled, 1, 0, 0},
		{"a kill of the job overtakes its launch", []Observation{early, plain(3, 0), due(0)}, api.TaskKilled, 0, 0, 0},
		{"a kill of the task overtakes its launch", []Observation{earlyNamed, plain(3, 0), due(0)}, api.TaskKilled, 0, 0, 0},
		{"succeeded is not launched again", after(running, ended(0, 1, exit(0)), plain(3, 0), due(0)), api.TaskSucceeded, 1, 0, 0},
		{"succeeded is not killed", after(running, ended(0, 1, exit(0)), kill), api.TaskSucceeded, 1, 0, 0},

		{"a peer that is done waits for its job", after(runningBSP, done(0, 1), ended(0, 1, exit(0))), api.TaskCommitting, 1, 0, 0},
		{"a peer that exits without being done has failed", after(runningBSP, ended(0, 1, exit(0))), api.TaskPending, 1, 1, 0},
		{"a dead peer waits for the master", after(runningBSP, ended(0, 1, exit(3)), due(0)), api.TaskPending, 1, 1, 0},
		{"output in place", after(runningBSP, done(0, 1), ended(0, 1, exit(0)), directive(api.DirectiveCommit, 1), committed(0)), api.TaskSucceeded, 1, 0, 0},
		{"too late for a kill", after(runningBSP, done(0, 1), ended(0, 1, exit(0)), directive(api.DirectiveCommit, 1), killBSP), api.TaskCommitting, 1, 0, 0},
		{"a done peer falls back with its job", after(runningBSP, done(0, 1), ended(0, 1, exit(0)), recovering(2, 0), due(0)), api.TaskLaunching, 2, 0, 0},
		{"rolled back: first it ends", after(runningBSP, recovering(2, 0), due(0)), api.TaskStopping, 1, 0, 0},
		{"rolled back: then the next epoch starts", after(runningBSP, recovering(2, 0), ended(0, 1, rolledBack())), api.TaskLaunching, 2, 0, 0},
		{"rolled back when it was done", after(runningBSP, done(0, 1), recovering(2, 0), ended(0, 1, exit(0))), api.TaskLaunching, 2, 0, 0},
		{"the dead peer of a recovered job", after(runningBSP, ended(0, 1, exit(3)), recovering(2, 0), due(0)), api.TaskLaunching, 2, 1, 0},
		{"moved to another groom", after(runningBSP, recovering(2, 1), ended(0, 1, rolledBack())), api.TaskKilled, 1, 0, 0},
		{"moved, and moved back", after(runningBSP, recovering(2, 1), ended(0, 1, rolledBack()), recovering(3, 0), due(0)), api.TaskLaunching, 3, 0, 0},
		{"moved, and moved back before it ended", after(runningBSP, recovering(2, 1), recovering(3, 0), ended(0, 1, rolledBack())), api.TaskLaunching, 3, 0, 0},
		{"silent and rolled back is charged once", after(runningBSP, Silent{Attempt: testJob.Task(0).Attempt(1)}, recovering(2, 0), ended(0, 1, api.Outcome{Kind: api.OutOfContact})), api.TaskLaunching, 2, 1, 0},
		{"a rollback stopped on its way", after(runningBSP, recovering(2, 0), directive(api.DirectiveStop, 2), ended(0, 1, rolledBack()), due(0)), api.TaskStopped, 1, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			for _, o := range c.history {
				if told, ok := o.(Told); ok && told.Attempt == "" {
					w.wait(2 * time.Minute) // stands for time that passes
					continue
				}
				w.must(t, o)
			}
			got := w.task(0)
			if got.State != c.state || got.Attempt != c.attempt || got.Failures != c.failures || got.Uncounted != c.uncounted {
				t.Errorf("%s, attempt %d, %d counted, %d uncounted; want %s, attempt %d, %d counted, %d uncounted\n%s",
					got.State, got.Attempt, got.Failures, got.Uncounted, c.state, c.attempt, c.failures, c.uncounted, got.Words)
			}
			if got.State == api.TaskBackoff && got.NextTry != nil && got.NextTry.Until(w.now) <= 0 {
				t.Error("the backoff has no end ahead")
			}
		})
	}
}

// A groom without a master stops the jobs that ask for it, at a deadline that the journal holds.
func TestStopAfterDisconnect(t *testing.T) {
	asking := func() *world {
		w := newWorld(t)
		o := plain(3, 0)
		o.Job.StopAfter = api.Duration(time.Minute)
		w.must(t, o, due(0), started(0, 1))
		return w
	}
	job := func(w *world) Job { j, _ := w.state.Jobs.Get(string(testJob)); return j }

	w := asking()
	w.must(t, Contact{Reached: false})
	deadline := job(w).StopDue
	if deadline == nil || deadline.Until(w.now) != time.Minute {
		t.Fatalf("the deadline is %v", deadline)
	}
	w.wait(30 * time.Second)
	n := len(w.log)
	w.must(t, Contact{Reached: false}, Abandoned{Job: testJob}) // a crash of the groom sees the silence again
	if len(w.log) != n {
		t.Errorf("%d entries say what is so already", len(w.log)-n)
	}
	if _, abandoned, wait := w.state.Due(w.now); len(abandoned) != 0 || wait != 30*time.Second {
		t.Errorf("due: %v, in %s", abandoned, wait)
	}
	w.wait(30 * time.Second)
	if _, abandoned, _ := w.state.Due(w.now); len(abandoned) != 1 {
		t.Fatal("the time is over, and nothing is due")
	}
	w.must(t, Abandoned{Job: testJob})
	if a := w.attempt(0, 1); a.Order == nil || a.Order.By != api.ByStop || a.Order.Why != "no master answered for 1m0s" {
		t.Errorf("the order is %+v", a.Order)
	}
	w.must(t, ended(0, 1, signaled("SIGTERM", api.ByStop)), Contact{Reached: true})
	if got := w.task(0).State; got != api.TaskStopped {
		t.Errorf("the task is %s", got)
	}
	w.must(t, directive(api.DirectiveResume, 0), due(0))
	if got := w.task(0).State; got != api.TaskLaunching {
		t.Errorf("resumed, the task is %s", got)
	}

	w = asking()
	w.must(t, Contact{Reached: false}, Contact{Reached: true})
	if d := job(w).StopDue; d != nil {
		t.Errorf("a master answers, and the deadline stands: %v", d)
	}
	w.must(t, Contact{Reached: true})

	w = newWorld(t)
	w.must(t, plain(3, 0), due(0), started(0, 1))
	n = len(w.log)
	w.must(t, Contact{Reached: false}, Contact{Reached: true})
	if len(w.log) != n {
		t.Error("a job that does not ask for it makes entries")
	}
}

// A task that is restarted for ever does not fill the tables.
func TestOldAttemptsLeaveTheTables(t *testing.T) {
	w := newWorld(t)
	w.must(t, policy(api.RestartAlways, 3, 0), due(0))
	for n := 1; n <= 3*attemptsKept; n++ {
		w.must(t, started(0, n), well(ended(0, n, exit(0)), testHealthy))
	}
	if n := w.state.Attempts.Len(); n != attemptsKept {
		t.Errorf("%d attempts are kept, want %d", n, attemptsKept)
	}
	if a := w.attempt(0, 3*attemptsKept+1); a.State != AttemptIntended {
		t.Errorf("the newest attempt is %+v", a)
	}
	w.must(t, directive(api.DirectiveKill, 0), ended(0, 3*attemptsKept+1, signaled("SIGKILL", api.ByKill)), directive(api.DirectiveForget, 0))
	if n := w.state.Attempts.Len() + w.state.Tasks.Len() + w.state.Jobs.Len(); n != 0 {
		t.Errorf("%d rows are left of a job that was forgotten", n)
	}
}

// What contradicts the tables is refused whole, with a reason, and records nothing.
func TestRefusals(t *testing.T) {
	elsewhere := plain(3, 0)
	elsewhere.Directive.Cluster = "cluster-2"
	long := plain(3, 0)
	long.Directive.ID = strings.Repeat("x", idLimit+1)
	unheard := plain(3, 0)
	unheard.Directive.Kind = "explode"
	headless := plain(3, 0)
	headless.Job = nil
	stranger := ended(3, 1, exit(0))
	cases := []struct {
		name    string
		history []Observation
		refused Observation
		want    error
	}{
		{"another cluster's order", nil, elsewhere, ErrCluster},
		{"another cluster's admission", nil, Pinned{Cluster: "cluster-2"}, ErrCluster},
		{"an endless id", nil, long, ErrRefused},
		{"a kind of directive that is unheard of", nil, unheard, ErrRefused},
		{"a launch without a job", nil, headless, ErrRefused},
		{"a task beyond the job", nil, plain(3, 4), ErrRefused},
		{"a task before the first", nil, directive(api.DirectiveKill, 0, -1), ErrRefused},
		{"an order of an older epoch", []Observation{bsp(1, 0), recovering(2, 0)}, directive(api.DirectiveStop, 1), ErrRefused},
		{"a stop of an unknown job", nil, directive(api.DirectiveStop, 0), ErrUnknown},
		{"a resume of an unknown job", nil, directive(api.DirectiveResume, 0), ErrUnknown},
		{"a commit of an unknown job", nil, directive(api.DirectiveCommit, 1), ErrUnknown},
		{"recover after the commit", []Observation{bsp(1, 0), directive(api.DirectiveCommit, 1)}, recovering(2, 0), ErrRefused},
		{"recover after a kill", []Observation{bsp(1, 0), directive(api.DirectiveKill, 1)}, recovering(2, 0), ErrRefused},
		{"recover of a task being killed", []Observation{bsp(1, 0), due(0), directive(api.DirectiveKill, 1, 0)}, recovering(2, 0), ErrRefused},
		{"forget what still runs", []Observation{plain(3, 0, 1), due(0), ended(0, 1, exit(0))}, directive(api.DirectiveForget, 0), ErrRefused},
		{"output before the commit", []Observation{bsp(1, 0), due(0), done(0, 1), ended(0, 1, exit(0))}, committed(0), ErrRefused},
		{"the end of an unknown attempt", nil, stranger, ErrUnknown},
		{"due of an unknown task", nil, due(3), ErrUnknown},
		{"a recovery of an unknown start", nil, Recovered{Report: api.RecoveryReport{Incarnation: 9}}, ErrUnknown},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.must(t, c.history...)
			before := w.machine.Digest()
			if err := w.observe(c.refused); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if w.machine.Digest() != before {
				t.Error("the tables changed")
			}
		})
	}
}

// A decision made for rows that have changed since is refused whole: also its changes of other rows.
func TestStaleDecision(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(3, 0, 1), due(0, 1))
	o := directive(api.DirectiveStop, 0)
	dec, err := Decide(w.state, o, w.now, 1)
	if err != nil {
		t.Fatal(err)
	}
	body, err := Record(o, dec, w.now, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, started(1, 1)) // another entry is faster
	before := w.machine.Digest()
	result, err := w.machine.Apply(99, o.Kind(), 1, body)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := result.(*table.Stale); !ok {
		t.Errorf("applied with %v, want a refusal", result)
	}
	if w.machine.Digest() != before || w.task(0).State != api.TaskLaunching {
		t.Error("a part of the stale decision was made")
	}
}

func TestDirectiveSeenTwice(t *testing.T) {
	w := newWorld(t)
	o := plain(3, 0)
	w.must(t, o)
	n := len(w.log)
	w.must(t, o)
	if len(w.log) != n {
		t.Error("the second time was recorded as well")
	}
	if w.state.Directives.Index(o.Directive.ID) != uint64(n) {
		t.Errorf("held by entry %d, want %d", w.state.Directives.Index(o.Directive.ID), n)
	}
}

func TestCapacity(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(3, 0, 1, 2, 3))
	tasks, _, _ := w.state.Due(w.now)
	if len(tasks) != testMax {
		t.Errorf("%d tasks are due, want %d", len(tasks), testMax)
	}
	w.must(t, due(0, 1, 2, 3))
	if w.state.Slots() != testMax || w.task(3).State != api.TaskPending {
		t.Errorf("%d slots, task 3 is %s", w.state.Slots(), w.task(3).State)
	}
	w.must(t, ended(0, 1, exit(0)), due(3))
	if w.task(3).State != api.TaskLaunching {
		t.Errorf("task 3 is %s after a slot came free", w.task(3).State)
	}
}

// A backoff that was journaled ends when it was to end, also for a groom that was away meanwhile or was rebooted.
func TestBackoffOutlivesTheGroom(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(3, 0), due(0), ended(0, 1, exit(1)), ended(0, 2, exit(1)))
	_, _, wait := w.state.Due(w.now)
	if wait < time.Second || wait > 1250*time.Millisecond {
		t.Errorf("backoff of %s, want 1 s and up to a quarter", wait)
	}
	for _, elapsed := range []time.Duration{0, 400 * time.Millisecond} {
		other := w.now.Add(elapsed)
		other.ID, other.Boot = "boot-2", time.Second
		if _, _, left := w.state.Due(other); left != wait-elapsed {
			t.Errorf("%s after a reboot %s is left, want %s", elapsed, left, wait-elapsed)
		}
	}
	if tasks, _, _ := w.state.Due(w.now.Add(wait)); len(tasks) != 1 {
		t.Error("not due when the backoff is over")
	}
}

func TestBackoff(t *testing.T) {
	r := api.Restart{Limit: 100, Backoff: api.Duration(time.Second), MaxBackoff: api.Duration(10 * time.Second)}
	for _, c := range []struct {
		n    int
		want time.Duration // without jitter
	}{{0, 0}, {1, 0}, {2, time.Second}, {3, 2 * time.Second}, {5, 8 * time.Second}, {6, 10 * time.Second}, {1000, 10 * time.Second}} {
		for seed := range uint64(50) {
			got := backoff(r, c.n, seed)
			if got < c.want || got > c.want+c.want/4 {
				t.Errorf("end %d, seed %d: %s, want %s and up to a quarter", c.n, seed, got, c.want)
			}
			if got != backoff(r, c.n, seed) {
				t.Errorf("end %d, seed %d: two draws differ", c.n, seed)
			}
		}
	}
	if got := backoff(api.Restart{}, 5, 1); got != 0 {
		t.Errorf("no backoff asked for, got %s", got)
	}
}

// Every end is told to the master, and stays in the outbox until the master holds it.
func TestReports(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(2, 0), due(0), ended(0, 1, exit(1)), ended(0, 2, exit(1)))
	var got []api.Report
	var ids []string
	for id, r := range w.state.Outbox.ByIndex() {
		if id != r.ID {
			t.Errorf("report %s is kept as %s", r.ID, id)
		}
		got, ids = append(got, r), append(ids, id)
	}
	if len(got) != 2 {
		t.Fatalf("%d reports, want one of each end", len(got))
	}
	one := exit(1)
	want := api.Report{
		ID: ids[1], Task: testJob.Task(0), Attempt: 2, State: api.TaskFailed, Outcome: &one, Counted: true, Failures: 2,
		At: w.now, Because: w.task(0).Words,
	}
	if diff := cmp.Diff(want, got[1]); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	w.must(t, Acked{Reports: []string{ids[0], "never heard of"}})
	if w.state.Outbox.Len() != 1 {
		t.Errorf("%d reports after the first was acknowledged", w.state.Outbox.Len())
	}
	n := len(w.log)
	w.must(t, Acked{Reports: ids[:1]})
	if len(w.log) != n {
		t.Error("an acknowledgement told twice was recorded twice")
	}
}

// Orders stand on the attempt's row, so that adoption can repeat them; the strongest stays.
func TestOrders(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(3, 0), due(0), started(0, 1), directive(api.DirectiveStop, 0))
	want := &Order{By: api.ByStop, Signal: "SIGTERM", Grace: api.Duration(10 * time.Second), At: w.now}
	if diff := cmp.Diff(want, w.attempt(0, 1).Order); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	w.wait(time.Second)
	w.must(t, directive(api.DirectiveKill, 0))
	want = &Order{By: api.ByKill, Signal: "SIGKILL", At: w.now}
	if diff := cmp.Diff(want, w.attempt(0, 1).Order); diff != "" {
		t.Errorf("kill (-want +got):\n%s", diff)
	}
	w.wait(time.Second)
	w.must(t, Silent{Attempt: testJob.Task(0).Attempt(1), Why: "6 pings missed"})
	if diff := cmp.Diff(want, w.attempt(0, 1).Order); diff != "" {
		t.Errorf("silence after a kill (-want +got):\n%s", diff)
	}
}

// A task that was launched and never seen to run is out of contact like any other.
func TestSilentBeforeItWasSeenToRun(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(3, 0), due(0), Silent{Attempt: testJob.Task(0).Attempt(1), Why: "no ping"})
	if o := w.attempt(0, 1).Order; o == nil || o.By != BySilence || o.Signal != "SIGKILL" {
		t.Errorf("order %+v, want a kill", o)
	}
}

// The first reason that an attempt tells is kept.
func TestTold(t *testing.T) {
	w := newWorld(t)
	id := testJob.Task(0).Attempt(1)
	w.must(t, plain(3, 0), due(0), Told{id, "fatal: no input"}, Told{id, "fatal: another"}, ended(0, 1, exit(1)), Told{id, "late"})
	if got := w.attempt(0, 1).Failure; got != "fatal: no input" {
		t.Errorf("failure %q", got)
	}
}

// A forget leaves nothing of the job but its reports and the memory of its directives.
func TestForget(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(3, 0, 1), due(0, 1), ended(0, 1, exit(3)), ended(0, 2, exit(0)), ended(1, 1, exit(0)),
		directive(api.DirectiveForget, 0))
	if n := w.state.Jobs.Len() + w.state.Tasks.Len() + w.state.Attempts.Len(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if w.state.Outbox.Len() != 3 {
		t.Errorf("%d reports, want 3 that wait for the master", w.state.Outbox.Len())
	}
	w.must(t, directive(api.DirectiveForget, 0)) // another one has nothing to do
}

// What a recover leaves out keeps what a kill, a commit or an older launch has set.
func TestLaunchKeepsWhatIsSettled(t *testing.T) {
	w := newWorld(t)
	w.must(t, bsp(1, 0), directive(api.DirectiveCommit, 1), bsp(1, 1))
	j, _ := w.state.Jobs.Get(string(testJob))
	if !j.Committed || !cmp.Equal(j.Local, []int{0, 1}) {
		t.Errorf("committed %v, local %v", j.Committed, j.Local)
	}
}

func TestDirectories(t *testing.T) {
	w := newWorld(t)
	full := DirChanged{Path: "/data/local", Reason: "no space"}
	w.must(t, full)
	n := len(w.log)
	w.must(t, full)
	if len(w.log) != n {
		t.Error("the same trouble was recorded twice")
	}
	w.must(t, DirChanged{Path: "/data/local", OK: true})
	if d, _ := w.state.Dirs.Get("/data/local"); !d.OK {
		t.Error("it did not come back")
	}
}

// Each start raises the incarnation; who the groom is stays.
func TestIncarnations(t *testing.T) {
	w := newWorld(t)
	w.must(t, Booted{ID: "another", Name: "south", BootID: "boot-2", MaxTasks: 5})
	me := w.state.Me()
	if me.ID != "groom-1" || me.Name != "south" || me.Incarnation != 2 || me.Cluster != testCluster || me.MaxTasks != 5 {
		t.Errorf("self %+v", me)
	}
	report := api.RecoveryReport{Incarnation: 2, Found: []api.RecoveryRow{{Finding: api.FoundAlive}}}
	w.must(t, Recovered{Report: report})
	in, _ := w.state.Incarnations.Get(incarnationKey(2))
	if diff := cmp.Diff(&report, in.Recovery); diff != "" {
		t.Errorf("recovery (-want +got):\n%s", diff)
	}
}

// A peer that hears of the end of its epoch may end before its shim has the order.
func TestPeerThatEndsBeforeItsOrderIsRolledBack(t *testing.T) {
	w := newWorld(t)
	for _, o := range []Observation{bsp(1, 0), due(0), started(0, 1), recovering(2, 0), ended(0, 1, exit(69))} {
		w.must(t, o)
	}
	a, _ := w.state.Attempts.Get(string(testJob.Task(0).Attempt(1)))
	if a.End == nil || a.End.Outcome.Kind != api.RolledBack || a.Counted || !strings.Contains(a.End.Words, "69") {
		t.Errorf("ended as %+v, counted %v", a.End, a.Counted)
	}
}
