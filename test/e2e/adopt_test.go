package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"groom/api"
)

const threeSleepers = `
name: sleepers
type: plain
tasks: 3
command: [sleep, "600"]
`

// Three tasks, the groom killed, one task killed meanwhile: the living pids are adopted, none is started twice, the
// dead one has its true signal and one new attempt, and the recovery report tells it.
func TestGroomKilledAndOneTaskKilledMeanwhile(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", threeSleepers))
	before := a.awaitTasks(id, api.TaskRunning)

	a.kill9()
	victim := before[1]
	if err := syscall.Kill(victim.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a.await("the victim is gone", func() bool { return !alive(victim.Pid) })
	a.launch()
	after := a.awaitTasks(id, api.TaskRunning)

	for _, i := range []int{0, 2} {
		if after[i].Pid != before[i].Pid || after[i].Attempt != 1 {
			t.Errorf("task %d: pid %d attempt %d, was pid %d", i, after[i].Pid, after[i].Attempt, before[i].Pid)
		}
	}
	if after[1].Attempt != 2 || after[1].Failures != 1 {
		t.Errorf("the killed task is at attempt %d with %d failures, want 2 with 1", after[1].Attempt, after[1].Failures)
	}
	dead := a.task(victim.ID).Attempts[0]
	want := api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers}
	if dead.Outcome == nil || *dead.Outcome != want || !dead.Counted {
		t.Errorf("outcome of the killed attempt is %v (counted %v), want %v", dead.Outcome, dead.Counted, want)
	}
	for attempt, pids := range attemptsOf(a.data) {
		if len(pids) != 1 {
			t.Errorf("%s runs as %v", attempt, pids)
		}
	}
	if n := len(attemptsOf(a.data)); n != 3 {
		t.Errorf("%d attempts are alive, want 3", n)
	}

	var reports []api.RecoveryReport
	a.get("/recoveries", &reports)
	found := map[api.Finding]int{}
	for _, row := range reports[0].Found {
		found[row.Finding]++
		if row.Finding == api.FoundEnded && !strings.Contains(row.Words, "SIGKILL") {
			t.Errorf("the report says %q of the killed task", row.Words)
		}
	}
	if found[api.FoundAlive] != 2 || found[api.FoundEnded] != 1 {
		t.Errorf("the report found %v, want 2 adopted and 1 ended while away", found)
	}
}

// A second process on the same data directory is refused, by the pid that holds it.
func TestDataDirectoryInUse(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	out, code := a.try(append(agentArgs(), "--data", a.data)...)
	if code != 1 || !strings.Contains(out, "in use") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// An acknowledged job survives a kill right after its acknowledgement, and runs once.
func TestKillRightAfterSubmit(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", threeSleepers))
	a.kill9()
	a.launch()
	tasks := a.awaitTasks(id, api.TaskRunning)
	var pids []int
	for _, task := range tasks {
		pids = append(pids, task.Pid)
	}
	slices.Sort(pids)
	if len(slices.Compact(pids)) != 3 || len(attemptsOf(a.data)) != 3 {
		t.Errorf("pids %v; alive %v", pids, attemptsOf(a.data))
	}
}
