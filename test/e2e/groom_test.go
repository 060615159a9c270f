package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"groom/api"
)

// The monitor exports the groom's own figures and raft's.
func TestMetrics(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	a.awaitTasks(a.submit(write(t, "job.yaml", threeSleepers)), api.TaskRunning)
	text := a.metrics()
	for _, want := range []string{
		`groom_tasks\{state="running"\} 3`, `groom_attempts\{state="running"\} 3`, `groom_restarts 0`, `groom_heartbeats_total [1-9]`,
		`groom_journal_index\{of="groom"\} [1-9]`, `groom_journal_commit_seconds_count\{of="groom"\} [1-9]`,
		`groom_recovery_seconds 0\.`, `groom_incarnation 1`, `raft_`, `process_resident_memory_bytes `,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(text) {
			t.Errorf("no series %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// Only what this groom made, below its own directory, is ever removed: a foreign file beside it survives, and so does
// one that is reached through a link.
func TestSweepLeavesWhatIsForeign(t *testing.T) {
	local := t.TempDir()
	a := start(t, t.TempDir(), agentArgs("--local-dir", local)...)
	id := a.submit(write(t, "job.yaml", "name: brief\ntype: plain\ntasks: 1\ncommand: [\"true\"]\n"))
	a.awaitTasks(id, api.TaskSucceeded)
	a.kill9()

	groomID, err := os.ReadFile(filepath.Join(a.data, "id"))
	if err != nil {
		t.Fatal(err)
	}
	attempts := filepath.Join(local, "groom-"+strings.TrimSpace(string(groomID)), "attempts")
	stray := filepath.Join(attempts, "attempt_202001010000_0009_000000_1") // well named, and in no table
	foreign := filepath.Join(t.TempDir(), "precious")
	keep := []string{filepath.Join(local, "mine"), filepath.Join(attempts, "not-an-attempt"), foreign}
	for _, path := range append(keep, filepath.Join(stray, "work", "junk")) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Dir(foreign), filepath.Join(stray, "work", "link")); err != nil {
		t.Fatal(err)
	}
	a.launch()
	for _, path := range keep {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("gone: %v", err)
		}
	}
	if _, err := os.Lstat(stray); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", stray, err)
	}
	if _, err := os.Stat(filepath.Join(attempts, string(id.Task(0).Attempt(1)))); err != nil {
		t.Errorf("the directory of an attempt that is in the tables: %v", err)
	}
}

// With --fresh the tables are empty, after asking; what still runs is found and killed.
func TestFreshStart(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	before := a.awaitTasks(a.submit(write(t, "job.yaml", threeSleepers)), api.TaskRunning)
	a.kill9()
	if out, code := a.try(append(agentArgs("--fresh"), "--data", a.data)...); code != 1 || !strings.Contains(out, "nothing was changed") {
		t.Errorf("without an answer: exit %d: %s", code, out)
	}
	args := a.args
	a.args = agentArgs("--fresh", "--yes")
	a.launch()
	a.args = args
	var jobs []api.JobView
	if a.get("/jobs", &jobs); len(jobs) != 0 {
		t.Errorf("jobs %v after a fresh start", jobs)
	}
	for _, task := range before {
		if alive(task.Pid) {
			t.Errorf("pid %d lives", task.Pid)
		}
	}
}

// Told to end, a groom leaves its tasks running; with --stop-tasks it stops them first.
func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		left int
	}{{"tasks run on", nil, 3}, {"tasks are stopped", []string{"--stop-tasks"}, 0}} {
		t.Run(c.name, func(t *testing.T) {
			a := start(t, t.TempDir(), agentArgs(c.args...)...)
			a.awaitTasks(a.submit(write(t, "job.yaml", threeSleepers)), api.TaskRunning)
			if err := a.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			<-a.done
			if code := a.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit %d", code)
			}
			if n := len(attemptsOf(a.data)); n != c.left {
				t.Errorf("%d tasks live, want %d", n, c.left)
			}
		})
	}
}
