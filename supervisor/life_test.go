package supervisor

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOutcomesAreExact(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Spec)
		want api.Outcome
	}{
		{"code 0", func(s *Spec) { s.Argv[2] = "exit 0" }, api.Outcome{Kind: api.Exited}},
		{"code 7", func(s *Spec) { s.Argv[2] = "exit 7" }, api.Outcome{Kind: api.Exited, Code: 7}},
		{"code 255", func(s *Spec) { s.Argv[2] = "exit 255" }, api.Outcome{Kind: api.Exited, Code: 255}},
		{"its own TERM is not groom's", func(s *Spec) { s.Argv[2] = "kill -TERM $$" }, api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByOthers}},
		{"its own KILL is not groom's", func(s *Spec) { s.Argv[2] = "kill -KILL $$" }, api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers}},
		{"command found in its PATH", func(s *Spec) { s.Argv = []string{"true"} }, api.Outcome{Kind: api.Exited}},
		{"no such command", func(s *Spec) { s.Argv = []string{"no-such-command"} }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOENT", Why: "no command no-such-command in PATH"}},
		{"no such path", func(s *Spec) { s.Argv = []string{"/no/such/file"} }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOENT", Why: "cannot execute /no/such/file"}},
		{"relative to the working directory", func(s *Spec) { s.Argv = []string{"./script"}; script(t, s, "#!/bin/sh\nexit 3\n", 0o755) }, api.Outcome{Kind: api.Exited, Code: 3}},
		{"interpreter is missing", func(s *Spec) { s.Argv = []string{"./script"}; script(t, s, "#!/no/such/interpreter\n", 0o755) }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOENT", Why: "cannot execute interpreter of ./script"}},
		{"not executable", func(s *Spec) { s.Argv = []string{"./script"}; script(t, s, "x", 0o644) }, api.Outcome{Kind: api.ExecFailed, Errno: "EACCES", Why: "cannot execute ./script"}},
		{"not a program", func(s *Spec) { s.Argv = []string{"./script"}; script(t, s, "x", 0o755) }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOEXEC", Why: "cannot execute ./script"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, spec := newSupervisor(t), shell(t, "")
			c.edit(&spec)
			start(t, s, spec)
			e := wantEnded(t, s)
			if diff := cmp.Diff(c.want, e.Outcome); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if e.StartedAt.IsZero() || e.EndedAt.Before(e.StartedAt) || time.Since(e.EndedAt) > time.Minute {
				t.Errorf("times: %v to %v", e.StartedAt, e.EndedAt)
			}
		})
	}
}

func script(t *testing.T, s *Spec, text string, mode os.FileMode) {
	t.Helper()
	work := filepath.Join(s.Dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "script"), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestEnvironmentAndArgumentsArriveAsGiven(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `printf '%s|%s|%s|%s' "$1" "$ODD" "$GROOM_TOKEN" "$GROOM_SHIM$GOMAXPROCS$GOGC"; pwd >&2`)
	spec.Argv = append(spec.Argv, "sh", "a\nb=\\n \\\\c")
	spec.Env = append(spec.Env, "ODD=line 1\nv=9\narg=x\\", "GROOM_TOKEN=stale")
	start(t, s, spec)
	wantEnded(t, s)
	got, err := os.ReadFile(filepath.Join(spec.Dir, "log", "stdout.00000000000000000000"))
	if err != nil {
		t.Fatal(err)
	}
	want := "a\nb=\\n \\\\c|line 1\nv=9\narg=x\\|" + spec.Token + "|"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	dir, _ := os.ReadFile(filepath.Join(spec.Dir, "log", "stderr.00000000000000000000"))
	if strings.TrimSpace(string(dir)) != filepath.Join(spec.Dir, "work") {
		t.Errorf("working directory %q", dir)
	}
}

// The task must not hold the lock, or the groom's files: a dead shim would look alive.
func TestTaskInheritsNothing(t *testing.T) {
	leak, err := unix.Open("/dev/null", unix.O_RDONLY, 0) // as left open by whoever started the groom
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	signal.Ignore(unix.SIGUSR1, unix.SIGHUP)
	defer signal.Reset(unix.SIGUSR1, unix.SIGHUP)
	s, spec := newSupervisor(t), shell(t, "exec sleep 60")
	start(t, s, spec)
	pid := wantStarted(t, s).Pid
	// A program opens files of its own while it starts; one that was inherited would stay.
	until(t, "descriptors 0, 1 and 2 alone", func() bool {
		entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		var fds []string
		for _, e := range entries {
			fds = append(fds, e.Name())
		}
		name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		return string(name) == "sleep\n" && slices.Equal(fds, []string{"0", "1", "2"})
	})
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if key, set, _ := strings.Cut(line, ":"); key == "SigIgn" || key == "SigBlk" {
			if strings.Trim(strings.TrimSpace(set), "0") != "" {
				t.Errorf("inherited: %s", line)
			}
		}
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d of %d, %v", sid, pid, err)
	}
}

func TestSecondStartIsRefused(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "echo ran >> ran; exec sleep 60")
	start(t, s, spec)
	if err := s.Start(t.Context(), spec); !errors.Is(err, ErrStarted) {
		t.Errorf("while it runs: %v", err)
	}
	other := newSupervisor(t)
	if err := other.Start(t.Context(), spec); !errors.Is(err, ErrStarted) {
		t.Errorf("by another: %v", err)
	}
	wantStarted(t, s)
	if got := written(t, spec, "ran"); got != "ran" {
		t.Errorf("ran %q", got)
	}
}

func TestBadSpecs(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Spec)
	}{
		{"no id", func(s *Spec) { s.ID = "" }},
		{"no command", func(s *Spec) { s.Argv = nil }},
		{"no token", func(s *Spec) { s.Token = "" }},
		{"relative directory", func(s *Spec) { s.Dir = "attempt" }},
		{"zero byte", func(s *Spec) { s.Env = []string{"A=\x00"} }},
		{"too many log files", func(s *Spec) { s.Logs.MaxFiles = maxLogFiles + 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, spec := newSupervisor(t), shell(t, "")
			c.edit(&spec)
			if err := s.Start(t.Context(), spec); !errors.Is(err, ErrSpec) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestGrandchildrenDoNotOutliveTheirTask(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `setsid sh -c 'echo $$ > far; exec sleep 60' & sh -c 'echo $$ > near; exec sleep 60' & while [ ! -s far ] || [ ! -s near ]; do :; done; exit 4`)
	start(t, s, spec)
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.Exited, Code: 4}); e.Outcome != want {
		t.Errorf("outcome %v", e.Outcome)
	}
	for _, name := range []string{"far", "near"} {
		pid, _ := strconv.Atoi(written(t, spec, name))
		if alive(pid) {
			t.Errorf("%s grandchild %d lives", name, pid)
		}
	}
}

// Orphans that end while the task runs are waited for, or a long task would fill the table of processes.
func TestOrphansAreReaped(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `sh -c 'setsid sh -c "echo \$\$ > orphan" &'; exec sleep 60`)
	start(t, s, spec)
	wantStarted(t, s)
	pid, _ := strconv.Atoi(written(t, spec, "orphan"))
	until(t, "the orphan to be reaped", func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) })
}

// A shim whose directory was removed under it ends with its task: a record that nobody can find is not waited for.
func TestRemovedDirectoryLeavesNoShim(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "echo $$ > leader; exec sleep 60")
	start(t, s, spec)
	shim := wantStarted(t, s).ShimPid
	leader, _ := strconv.Atoi(written(t, spec, "leader"))
	if err := os.RemoveAll(spec.Dir); err != nil {
		t.Fatal(err)
	}
	kill(t, leader, unix.SIGKILL)
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.Lost, Why: api.WhyShim}); e.Outcome != want {
		t.Errorf("outcome %v", e.Outcome)
	}
	if alive(shim) {
		t.Errorf("shim %d lives", shim)
	}
}

func TestEndOfShimIsLost(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `setsid sh -c 'echo $$ > far; exec sleep 60' & echo $$ > leader; exec sleep 60`)
	start(t, s, spec)
	shim := wantStarted(t, s).ShimPid
	far, _ := strconv.Atoi(written(t, spec, "far"))
	leader, _ := strconv.Atoi(written(t, spec, "leader"))
	kill(t, shim, unix.SIGKILL)
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.Lost, Why: api.WhyShim}); e.Outcome != want || e.Unproven || e.Status != -1 {
		t.Errorf("exit %+v", e)
	}
	if alive(far) || alive(leader) {
		t.Errorf("alive: grandchild %v, task %v", alive(far), alive(leader))
	}
}

// An executable that is still open for writing is tried again for a while.
func TestBusyExecutableIsTriedAgain(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "")
	spec.Argv = []string{"./program"}
	work := filepath.Join(spec.Dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(work, "program")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	start(t, s, spec)
	// The shim has come as far as the task when it listens.
	until(t, "the shim to listen", func() bool { _, err := os.Stat(filepath.Join(spec.Dir, "ctl/sock")); return err == nil })
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if e := wantEnded(t, s); e.Outcome != (api.Outcome{Kind: api.Exited}) {
		t.Errorf("exit %+v", e)
	}
}

// Go raises the limit of open files for itself; a program that uses select would not stand it.
func TestLimitOfOpenFilesIsTheGroomsOwn(t *testing.T) {
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Sn").Output() // what this process was started with
	if err != nil {
		t.Fatal(err)
	}
	s, spec := newSupervisor(t), shell(t, "ulimit -Sn > limit")
	start(t, s, spec)
	wantEnded(t, s)
	if got, want := written(t, spec, "limit"), strings.TrimSpace(string(out)); got != want {
		t.Errorf("limit %s, want %s", got, want)
	}
}

// When the host runs out of memory, the shim is to go after the task.
func TestShimOutlivesItsTaskWhenMemoryEnds(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "exec sleep 60")
	start(t, s, spec)
	e := wantStarted(t, s)
	until(t, "an answer", func() bool { _, err := s.Ping(spec.ID); return err == nil })
	score := func(pid int) int {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	task, shim := score(e.Pid), score(e.ShimPid)
	if own := score(os.Getpid()); task != max(own, 0) {
		t.Errorf("score of the task %d, of the groom %d", task, own)
	}
	// Whether this user may lower a score at all is tried on the task.
	may := os.WriteFile("/proc/"+strconv.Itoa(e.Pid)+"/oom_score_adj", []byte("-1"), 0) == nil
	if may && shim != -900 || !may && shim > max(task, 0) {
		t.Errorf("score of the shim %d; it may be lowered: %v", shim, may)
	}
}
