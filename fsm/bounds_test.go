package fsm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"groom/api"
	"groom/fsm/table"
)

func span(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func states(s *State) map[api.TaskState]int {
	count := map[api.TaskState]int{}
	for _, t := range s.Tasks.All() {
		count[t.State]++
	}
	return count
}

// A job of a thousand tasks on one groom: every directive about it fits, in as many entries as it takes.
func TestThousandTasks(t *testing.T) {
	const n = 1000
	w := newWorld(t)
	w.must(t, Booted{MaxTasks: n})
	job := testRow(api.BSP, n, 3)
	step := func(want api.TaskState, observations ...Observation) {
		t.Helper()
		before := len(w.log)
		w.must(t, observations...)
		if got := states(w.state); got[want] != n {
			t.Fatalf("states %v, want all %s", got, want)
		}
		largest := 0
		for _, e := range w.log[before:] {
			largest = max(largest, len(e.body))
		}
		if largest > EntryLimit {
			t.Errorf("an entry of %d bytes", largest)
		}
		t.Logf("%s: %d entries, the largest of %d bytes", want, len(w.log)-before, largest)
	}
	launch := launching(api.DirectiveLaunch, job, 1, 1, span(n)...)
	step(api.TaskPending, launch)
	if w.state.Directives.Index(launch.Directive.ID) != uint64(len(w.log)) {
		t.Error("the directive is not seen with its last entry")
	}
	step(api.TaskLaunching, due(span(n)...))
	var all []Observation
	for i := range n {
		all = append(all, started(i, 1), Told{testJob.Task(i).Attempt(1), strings.Repeat("no luck\n", 1000)})
	}
	step(api.TaskRunning, all...)
	step(api.TaskStopping, launching(api.DirectiveRecover, job, 2, 2, span(n)...))
	all = nil
	for i := range n {
		all = append(all, ended(i, 1, rolledBack()))
	}
	step(api.TaskLaunching, all...)
	step(api.TaskStopping, directive(api.DirectiveStop, 2))
	kill := directive(api.DirectiveKill, 2)
	kill.Directive.Reason = strings.Repeat("because ", 100_000)
	step(api.TaskStopping, kill)
	all = nil
	for i := range n {
		all = append(all, ended(i, 2, signaled("SIGKILL", api.ByKill)))
	}
	step(api.TaskKilled, all...)
	w.must(t, directive(api.DirectiveForget, 2))
	if w.state.Tasks.Len()+w.state.Attempts.Len()+w.state.Jobs.Len() != 0 {
		t.Errorf("left: %v", states(w.state))
	}
	var ids []string
	for id := range w.state.Outbox.All() {
		ids = append(ids, id)
	}
	w.must(t, Acked{ids})
	if w.state.Outbox.Len() != 0 {
		t.Errorf("%d reports are left", w.state.Outbox.Len())
	}
	if _, m, err := w.replayed(len(w.log)); err != nil || m.Digest() != w.machine.Digest() {
		t.Errorf("replay: %v", err)
	}
}

// The largest job that a job file may ask for is accepted by one groom, should a master ever place it on one.
func TestTenThousandTasks(t *testing.T) {
	const n = 10_000
	w := newWorld(t)
	w.must(t, launching(api.DirectiveLaunch, testRow(api.Plain, n, 3), 0, 1, span(n)...))
	if got := states(w.state); got[api.TaskPending] != n {
		t.Errorf("states %v", got)
	}
}

// A groom without a master stops a job of any number of tasks, and any number of jobs; a crash between two entries of it
// leaves the deadline, at which the rest follows.
func TestManyAreAbandoned(t *testing.T) {
	asking := func(o Directed) Directed {
		o.Job.StopAfter = api.Duration(time.Minute)
		return o
	}
	w := newWorld(t)
	w.must(t, Booted{Name: "north", BootID: "boot-1", PIDNS: 4026531836, Build: "test", MaxTasks: 1000},
		asking(launching(api.DirectiveLaunch, testRow(api.Plain, 300, 3), 0, 1, span(300)...)))
	tasks, _, _ := w.state.Due(w.now)
	w.must(t, Due{Tasks: tasks, Place: testPlace}, Contact{Reached: false})
	w.wait(time.Minute)
	o := Abandoned{Job: testJob}
	first, _, ok := Halve(w.state, o)
	if !ok {
		t.Fatal("cannot be halved")
	}
	w.must(t, first)
	if _, abandoned, _ := w.state.Due(w.now); len(abandoned) != 1 {
		t.Error("the first half takes the deadline away")
	}
	half := w.task(0)
	w.must(t, o) // the whole, as after a crash
	if got := states(w.state); got[api.TaskStopping] != 300 {
		t.Errorf("states %v", got)
	}
	if !cmp.Equal(half, w.task(0)) {
		t.Errorf("decided on twice: %v, was %v", w.task(0), half)
	}
	if _, abandoned, _ := w.state.Due(w.now); len(abandoned) != 0 {
		t.Error("it is due for ever")
	}

	w = newWorld(t)
	const jobs = 500
	for i := range jobs {
		one := asking(plain(3, 0))
		one.Job.ID = api.JobID(fmt.Sprintf("job_202611240915_%04d", i+1))
		one.Directive.Job, one.Directive.ID = one.Job.ID, fmt.Sprintf("many-%d", i)
		w.must(t, one)
	}
	due := func() (n int) {
		for _, j := range w.state.Jobs.All() {
			if j.StopDue != nil {
				n++
			}
		}
		return n
	}
	w.must(t, Contact{Reached: false})
	if got := due(); got != jobs {
		t.Errorf("%d of %d jobs have a deadline", got, jobs)
	}
	w.must(t, Contact{Reached: true})
	if got := due(); got != 0 {
		t.Errorf("%d jobs have a deadline although a master answers", got)
	}
}

// A directive whose last parts were lost in a crash comes again. What its first parts did is not done twice, also when
// the world has gone on meanwhile.
func TestHalfADirective(t *testing.T) {
	for _, kind := range []api.DirectiveKind{
		api.DirectiveLaunch, api.DirectiveRecover, api.DirectiveStop, api.DirectiveKill, api.DirectiveForget,
	} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			o := directive(kind, 2)
			switch kind {
			case api.DirectiveLaunch:
				o = bsp(1, 0, 1, 2, 3)
			case api.DirectiveRecover:
				w.must(t, bsp(1, 0, 1, 2), due(0, 1, 2), ended(0, 1, exit(1)))
				o = recovering(2, 0, 1, 3)
			case api.DirectiveForget:
				w.must(t, bsp(2, 0, 1, 2), directive(api.DirectiveKill, 2))
			default:
				w.must(t, bsp(2, 0, 1, 2), due(0, 1, 2), started(0, 2))
			}
			first, rest, ok := Halve(w.state, o)
			if !ok {
				t.Fatal("cannot be halved")
			}
			a, b := first.(Directed), rest.(Directed)
			if !a.Part || b.Part {
				t.Errorf("parts %v and %v", a.Part, b.Part)
			}
			w.must(t, first)
			if _, seen := w.state.Directives.Get(o.Directive.ID); seen {
				t.Error("the directive is seen after its first part")
			}
			if tasks, _, _ := w.state.Due(w.now); len(tasks) > 0 {
				w.must(t, Due{Tasks: tasks, Place: testPlace}) // the world goes on
			}
			between := w.snapshot()
			w.must(t, o) // the whole, again
			if _, seen := w.state.Directives.Get(o.Directive.ID); !seen {
				t.Error("the directive is not seen after the whole")
			}
			for id, was := range between.tasks {
				now, ok := w.state.Tasks.Get(id)
				if !slices.Contains(a.covered(Job{}), was.ID.Index()) {
					continue
				}
				if kind != api.DirectiveForget && (!ok || !cmp.Equal(was, now)) {
					t.Errorf("%s was decided on twice: %v, was %v", id, now, was)
				}
			}
			if kind == api.DirectiveForget && w.state.Tasks.Len()+w.state.Jobs.Len() != 0 {
				t.Error("rows are left")
			}
		})
	}
}

// What concerns one task cannot be halved; its entry always fits.
func TestLongTextsFit(t *testing.T) {
	long := strings.Repeat("\"\x01<long>\u2028 ", 100_000)
	w := newWorld(t)
	id := testJob.Task(0).Attempt(1)
	stop := directive(api.DirectiveStop, 0)
	stop.Directive.Reason = long
	end := ended(0, 1, api.Outcome{Kind: api.NotStarted, Why: long})
	end.End.Words = long
	for _, o := range []Observation{
		Booted{Name: long, Build: long, MaxTasks: 3},
		DirChanged{Path: "/data", Reason: long},
		plain(3, 0), due(0),
		Told{id, long},
		Silent{id, long},
		stop, end,
	} {
		n := len(w.log)
		w.must(t, o)
		if len(w.log) != n+1 || len(w.log[n].body) > 16<<10 {
			t.Errorf("%s: %d bytes", Kinds()[o.Kind()], len(w.log[n].body))
		}
	}
}

// No secret and no spec gets into an entry, whoever forgot to take it out.
func TestNoSecretInAnEntry(t *testing.T) {
	w := newWorld(t)
	o := bsp(1, 0)
	o.Directive.Launch.Secret = "hunter2"
	o.Directive.Launch.Spec.Env = map[string]string{"PASSWORD": "hunter3"}
	w.must(t, o)
	for _, e := range w.log {
		if strings.Contains(string(e.body), "hunter") {
			t.Errorf("%s", e.body)
		}
	}
	if o.Directive.Launch.Secret == "" {
		t.Error("the caller's own launch was changed")
	}
}

// A recovery of a thousand tasks: its entry keeps what tells of losses, and counts the rest.
func TestLargeRecovery(t *testing.T) {
	w := newWorld(t)
	report := api.RecoveryReport{Incarnation: 1}
	for i := range 1000 {
		row := api.RecoveryRow{Attempt: testJob.Task(i).Attempt(1), Finding: api.FoundAlive, Pid: 1000 + i, Words: "its shim lives; watched again"}
		if i%100 == 99 {
			row.Finding, row.Outcome = api.FoundLost, &api.Outcome{Kind: api.Lost, Why: api.WhyReboot}
		}
		report.Found = append(report.Found, row)
	}
	w.must(t, Recovered{report})
	in, _ := w.state.Incarnations.Get(incarnationKey(1))
	kept := map[api.Finding]int{}
	for i, row := range in.Recovery.Found {
		kept[row.Finding]++
		if i > 0 && row.Attempt < in.Recovery.Found[i-1].Attempt {
			t.Error("the order is lost")
		}
	}
	if kept[api.FoundLost] != 10 || kept[api.FoundAlive] < 50 {
		t.Errorf("kept %v, want every loss", kept)
	}
	if want := 990 - kept[api.FoundAlive]; in.Recovery.Omitted[api.FoundAlive] != want {
		t.Errorf("omitted %v, want %d adopted", in.Recovery.Omitted, want)
	}
	e, err := table.DecodeEntry(w.log[len(w.log)-1].body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(e.Because, "recovery: 990 adopted, 0 ended while away, 10 lost") {
		t.Errorf("because %q", e.Because)
	}
	if len(report.Found) != 1000 || report.Omitted != nil {
		t.Error("the caller's own report was changed")
	}
}

// A text is cut to the bytes of its JSON form, at the end of a character, and cutting it again changes nothing.
func TestClip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		limit := rapid.IntRange(3, 60).Draw(t, "limit")
		got := clip(s, limit)
		raw, err := table.Canonical(got)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw)-2 > limit {
			t.Fatalf("%s has %d bytes, the limit is %d", raw, len(raw)-2, limit)
		}
		if clip(got, limit) != got {
			t.Fatalf("cut again: %q, was %q", clip(got, limit), got)
		}
		var back string
		if err := json.Unmarshal(raw, &back); err != nil || back != got {
			t.Fatalf("%q comes back as %q", got, back)
		}
	})
}

func TestWhatCannotBeHalved(t *testing.T) {
	w := newWorld(t)
	w.must(t, plain(3, 0))
	for _, o := range []Observation{due(0), Acked{[]string{"one"}}, committed(0), started(0, 1), directive(api.DirectiveStop, 0), plain(3, 1)} {
		if _, _, ok := Halve(w.state, o); ok {
			t.Errorf("%+v was halved", o)
		}
	}
	body := make([]table.Change, 1)
	body[0].Row, _ = table.Canonical(strings.Repeat("x", EntryLimit))
	if _, err := Record(started(0, 1), Decision{Changes: body}, w.now, 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}
