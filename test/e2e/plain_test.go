package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
)

// A task that exits 3 fails after three attempts, its master knows why, and `groom run` says so by its exit code.
func TestTaskThatExits3(t *testing.T) {
	file := write(t, "job.yaml", `
name: exit3
type: plain
tasks: 1
command: [sh, -c, "echo to be found >&2; exit 3"]
restart: {limit: 3, backoff: 10ms}
`)
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(file)
	a.awaitTasks(id, api.TaskFailed)
	task := a.task(id.Task(0))
	if len(task.Attempts) != 3 || task.Failures != 3 {
		t.Errorf("%d attempts, %d failures; want 3 and 3", len(task.Attempts), task.Failures)
	}
	for _, at := range task.Attempts {
		if want := (api.Outcome{Kind: api.Exited, Code: 3}); at.Outcome == nil || *at.Outcome != want {
			t.Errorf("attempt %d: %v, want %v", at.N, at.Outcome, want)
		}
	}
	a.await("the master's word", func() bool { return a.job(id).State == api.JobFailed })
	if why := a.job(id).Reason; !strings.Contains(why, "exited with code 3") {
		t.Errorf("the job failed because %q", why)
	}
	if out, code := a.try("job", "wait", string(id)); code != 1 {
		t.Errorf("job wait: exit %d: %s", code, out)
	}

	out, code := a.try("run", "--data", t.TempDir(), file)
	if code != 1 || !strings.Contains(out, "exited with code 3") || !strings.Contains(out, "to be found") {
		t.Errorf("run: exit %d:\n%s", code, out)
	}
}

// A command that does not exist: the errno is on the attempt, and in what run prints.
func TestCommandThatDoesNotExist(t *testing.T) {
	file := write(t, "job.yaml", `
name: nothing
type: plain
tasks: 1
command: [no-such-command-anywhere]
restart: {limit: 1}
`)
	data := t.TempDir()
	a := start(t, data, agentArgs()...)
	id := a.submit(file)
	a.awaitTasks(id, api.TaskFailed)
	at := a.task(id.Task(0)).Attempts[0]
	if at.Outcome == nil || at.Outcome.Kind != api.ExecFailed || at.Outcome.Errno != "ENOENT" {
		t.Errorf("outcome %v, want exec-failed(ENOENT)", at.Outcome)
	}
	out, code := a.try("run", "--data", t.TempDir(), file)
	if code != 1 || !strings.Contains(out, "ENOENT") {
		t.Errorf("run: exit %d:\n%s", code, out)
	}
}

// A plain task is stopped, which ends its process, and resumed, which starts a new attempt.
func TestStopAndResume(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", threeSleepers))
	before := a.awaitTasks(id, api.TaskRunning)
	a.groom("job", "stop", string(id))
	a.awaitTasks(id, api.TaskStopped)
	for _, task := range before {
		if alive(task.Pid) {
			t.Errorf("pid %d lives after the stop", task.Pid)
		}
	}
	at := a.task(before[0].ID).Attempts[0]
	want := api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByStop}
	if at.Outcome == nil || *at.Outcome != want || at.Counted {
		t.Errorf("outcome %v (counted %v), want %v", at.Outcome, at.Counted, want)
	}
	a.await("the master's word", func() bool { return a.job(id).State == api.JobStopped })
	a.kill9() // a stopped task stays stopped
	a.launch()
	a.awaitTasks(id, api.TaskStopped)
	a.groom("job", "resume", string(id))
	for _, task := range a.awaitTasks(id, api.TaskRunning) {
		if task.Attempt != 2 || !alive(task.Pid) {
			t.Errorf("%s: attempt %d, pid %d", task.ID, task.Attempt, task.Pid)
		}
	}
	a.groom("task", "restart", string(before[1].ID))
	a.await("the restarted task", func() bool { d := a.task(before[1].ID); return d.Attempt == 3 && d.State == api.TaskRunning })
	want = api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByRestart}
	if at := a.task(before[1].ID).Attempts[1]; at.Outcome == nil || *at.Outcome != want || at.Counted {
		t.Errorf("outcome %v (counted %v), want %v", at.Outcome, at.Counted, want)
	}
	a.groom("task", "kill", string(before[0].ID))
	a.await("one task killed", func() bool { return a.task(before[0].ID).State == api.TaskKilled })
	a.groom("job", "kill", string(id))
	a.awaitTasks(id, api.TaskKilled)
}

// Three copies of a command, as examples/copies.yaml has it.
func TestExampleOfCopies(t *testing.T) {
	out, code := (&agent{t: t, data: t.TempDir(), out: nil}).try("run", "--data", t.TempDir(), "../../examples/copies.yaml")
	if code != 0 {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

// A task on the JVM, started from its source file, that pings through the task report server.
func TestExampleOnTheJVM(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit("../../examples/hello-java.yaml")
	a.awaitTasks(id, api.TaskSucceeded)
	if out := a.groom("job", "logs", string(id)); !strings.Contains(out, "JVM") && !strings.Contains(out, "Java") {
		t.Errorf("the program's output is missing: %s", out)
	}
}

// Ctrl-C ends the job and the run with 130.
func TestRunInterrupted(t *testing.T) {
	data := t.TempDir()
	cmd, out := background(t, "run", "--data", data, write(t, "job.yaml", threeSleepers))
	(&agent{t: t, out: out}).await("the tasks run", func() bool { return len(attemptsOf(data)) == 3 })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d, want 130:\n%s", code, out)
	}
	if left := attemptsOf(data); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A run that is killed and run again on the same data directory goes on with the job that it had.
func TestRunAgainResumes(t *testing.T) {
	data := t.TempDir()
	mark := filepath.Join(t.TempDir(), "go")
	file := write(t, "job.yaml", `
name: waits
type: plain
tasks: 2
command: [sh, -c, "while [ ! -e `+mark+` ]; do sleep 0.05; done"]
`)
	cmd, out := background(t, "run", "--data", data, file)
	(&agent{t: t, out: out}).await("the tasks run", func() bool { return len(attemptsOf(data)) == 2 })
	before := attemptsOf(data)
	cmd.Process.Kill()
	cmd.Wait()

	cmd, out = background(t, "run", "--data", data, file)
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if len(before) != 2 {
		t.Errorf("before the kill: %v", before)
	}
	if got := strings.Count(offline(t, data, "journal", "ls", "--of", "master"), "job.submitted"); got != 1 {
		t.Errorf("%d jobs were submitted, want 1", got)
	}
}
