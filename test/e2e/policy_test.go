package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"
)

// A task that is always restarted goes on after exit 0, over a crash of the groom, until it is stopped.
func TestAlwaysRestarted(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", "name: again\ntype: plain\ntasks: 1\ncommand: [\"true\"]\nrestart: {policy: always, backoff: 10ms}\n"))
	first := id.Task(0)
	a.await("five attempts", func() bool { return a.task(first).Attempt >= 5 })
	a.kill9()
	a.launch()
	n := a.task(first).Attempt
	a.await("more attempts after the crash", func() bool { return a.task(first).Attempt > n })
	a.groom("job", "stop", string(id))
	a.awaitTasks(id, api.TaskStopped)
	d := a.task(first)
	if d.Failures != 0 {
		t.Errorf("%d failures are counted", d.Failures)
	}
	for _, at := range d.Attempts {
		if at.Outcome == nil || at.Outcome.Counted() {
			t.Errorf("%s: %+v", at.ID, at.Outcome)
		}
	}
}

func TestNeverRestarted(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", "name: once\ntype: plain\ntasks: 1\ncommand: [\"false\"]\nrestart: {policy: never}\n"))
	a.awaitTasks(id, api.TaskFailed)
	if d := a.task(id.Task(0)); d.Attempt != 1 {
		t.Errorf("%d attempts", d.Attempt)
	}
}

// A task that does not answer its probe is killed and started again; one that does runs on.
func TestProbes(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	well := filepath.Join(t.TempDir(), "well")
	if err := os.WriteFile(well, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	a := start(t, t.TempDir(), agentArgs()...)
	job := func(name, probe string) api.JobID {
		return a.submit(write(t, name+".yaml", fmt.Sprintf(
			"name: %s\ntype: plain\ntasks: 1\ncommand: [sleep, \"3600\"]\nrestart: {limit: 1}\nprobe: {%s, period: 100ms, grace: 0s}\n", name, probe)))
	}
	deaf := job("deaf", fmt.Sprintf("tcp: '%s', failures: 2", addr))
	a.awaitTasks(deaf, api.TaskFailed)
	d := a.task(deaf.Task(0))
	if o := d.Attempts[0].Outcome; o == nil || o.Kind != api.OutOfContact || !d.Attempts[0].Counted {
		t.Errorf("outcome %+v", o)
	}
	told := false
	for _, e := range d.Events {
		told = told || strings.Contains(e.Words, "2 probes in a row failed") && strings.Contains(e.Words, "refused")
	}
	if !told {
		t.Errorf("nobody tells of the probes: %+v", d.Events)
	}

	answers := job("answers", fmt.Sprintf(`exec: [sh, -c, 'test -e %s && test "$GROOM_INDEX" = 0'], failures: 2`, well))
	seen := func() bool { d := a.task(answers.Task(0)); return d.Probe != nil && d.Probe.OK }
	a.await("a good probe", seen)
	pid := a.task(answers.Task(0)).Pid
	a.kill9()
	a.launch()
	a.await("a good probe after the crash", seen)
	if d := a.task(answers.Task(0)); d.Pid != pid || d.State != api.TaskRunning {
		t.Errorf("pid %d is %s, was %d", d.Pid, d.State, pid)
	}
	if err := os.Remove(well); err != nil {
		t.Fatal(err)
	}
	a.awaitTasks(answers, api.TaskFailed)
}

// A task with a short period of pings is watched at once, also where another one has a long period.
func TestShortPeriodBesideALongOne(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	job := func(name, ping string) api.JobID {
		return a.submit(write(t, name+".yaml", "name: "+name+"\ntype: plain\ntasks: 1\ncommand: [sleep, \"600\"]\nrestart: {limit: 1}\nping: "+ping+"\n"))
	}
	long := job("long", "{required: true, period: 1h}")
	a.awaitTasks(long, api.TaskRunning)
	a.awaitTasks(job("short", "{required: true, period: 100ms, first: 3}"), api.TaskFailed)
	a.groom("job", "kill", string(long))
}

// Directories of ended attempts go when their retention is over, also while their job lives, and people can see why.
func TestRemovals(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", "name: brief\ntype: plain\ntasks: 1\ncommand: [\"true\"]\nrestart: {policy: always, backoff: 10ms}\nretention: {keep: 300ms}\n"))
	var removed []api.Removal
	a.await("removals", func() bool { a.get("/removals", &removed); return len(removed) >= 3 })
	a.groom("job", "stop", string(id))
	a.awaitTasks(id, api.TaskStopped)
	for _, r := range removed {
		if r.Why != "its retention of 300ms is over" || r.Attempt.Task() != id.Task(0) {
			t.Errorf("%+v", r)
		}
		if _, err := os.Stat(filepath.Join(r.Dir, string(r.Attempt))); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", r.Attempt, err)
		}
	}
	if d := a.task(id.Task(0)); d.Attempts[0].Removed == "" {
		t.Errorf("the page of the task does not tell: %+v", d.Attempts[0])
	}
	if out := a.groom("node", "removals"); !strings.Contains(out, "its retention of 300ms is over") {
		t.Errorf("in the terminal: %s", out)
	}
	began, gone := time.Now(), a.task(id.Task(0)).Attempts[0].N
	if out := a.groom("task", "logs", "-f", string(id.Task(0)), "--attempt", strconv.Itoa(gone)); out != "" {
		t.Errorf("the log of an attempt that is gone says %q", out)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("who follows a log that is gone waits for %s", took)
	}
	a.kill9()
	a.launch()
	var again []api.Removal
	if a.get("/removals", &again); len(again) < len(removed) {
		t.Errorf("%d removals are known after the crash, were %d", len(again), len(removed))
	}
	a.groom("job", "kill", string(id))
	a.await("the job forgotten, and its directories gone", func() bool {
		dirs, err := filepath.Glob(filepath.Join(a.data, "local", "groom-*", "attempts", "attempt_*"))
		return err == nil && len(dirs) == 0
	})
}

// Who follows a log goes on where it was when the groom comes back, over rotated files as well, and loses nothing.
func TestLogIsFollowedOverACrash(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	gate := filepath.Join(t.TempDir(), "gate")
	id := a.submit(write(t, "job.yaml", fmt.Sprintf(`
name: writes
type: plain
tasks: 1
command: [sh, -c, 'for i in 1 2 3; do seq 1 2000; while [ ! -e %s.$i ]; do sleep 0.02; done; done']
logs: {max_size: 4096, max_files: 100}
`, gate)))
	a.awaitTasks(id, api.TaskRunning)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	follow := exec.Command(filepath.Join(bin, "groom"), "job", "logs", "-f", string(id), "--addr", a.addr())
	follow.Stdout, follow.Stderr = out, out
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer follow.Process.Kill()
	read := func() string { b, _ := os.ReadFile(out.Name()); return string(b) }
	lines := func(n int) func() bool { return func() bool { return strings.Count(read(), "\n2000\n") >= n } }
	a.await("the first part", lines(1))
	a.kill9()
	pass := func(i int) {
		if err := os.WriteFile(fmt.Sprintf("%s.%d", gate, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pass(1) // it writes while there is no groom
	a.launch()
	a.await("the second part", lines(2))
	pass(2)
	a.await("the third part", lines(3))
	pass(3)
	if err := follow.Wait(); err != nil {
		t.Errorf("%v\n%s", err, read())
	}
	var want strings.Builder
	for range 3 {
		for i := 1; i <= 2000; i++ {
			fmt.Fprintln(&want, i)
		}
	}
	if got := read(); got != want.String() {
		t.Errorf("%d bytes were followed, %d written", len(got), want.Len())
	}
}

// A job that asks for it is stopped when no master answers, at a deadline that a crash of the groom does not move; its
// report waits for the master, and it can be resumed.
func TestStopAfterDisconnect(t *testing.T) {
	m := start(t, t.TempDir(), "master", "--master-addr", "127.0.0.1:0", "--web-addr", "127.0.0.1:0")
	g := start(t, t.TempDir(), agentArgs("--masters", kept(t, m.data)["master"], "--master-token-file", filepath.Join(m.data, "token"))...)
	stops := m.submit(write(t, "stops.yaml", "name: stops\ntype: plain\ntasks: 1\ncommand: [sleep, \"3600\"]\nstop_after_disconnect: 2s\n"))
	stays := m.submit(write(t, "stays.yaml", "name: stays\ntype: plain\ntasks: 1\ncommand: [sleep, \"3600\"]\n"))
	g.awaitTasks(stops, api.TaskRunning)
	g.awaitTasks(stays, api.TaskRunning)
	m.kill9()
	g.await("the silence in the journal", func() bool { return strings.Contains(g.groom("journal", "ls"), "stops in 2s") })
	g.kill9()
	g.launch()
	g.awaitTasks(stops, api.TaskStopped)
	if got := g.task(stays.Task(0)); got.State != api.TaskRunning || got.Attempt != 1 {
		t.Errorf("the job that does not ask for it is %s, attempt %d", got.State, got.Attempt)
	}
	m.launch()
	m.await("the master's word", func() bool { return m.job(stops).State == api.JobStopped })
	m.groom("job", "resume", string(stops))
	g.awaitTasks(stops, api.TaskRunning)
}
