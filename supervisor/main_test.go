package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"groom/api"
	"groom/fault"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(binaryDir)
		os.Exit(code)
	}))
}

// binaries are the programs of testdata as they would be shipped: static, and without the race detector, so that their
// start is quick and their memory is real.
var (
	binaries = sync.OnceValue(func() error {
		dir, err := os.MkdirTemp("", "groom-supervisor-")
		if err != nil {
			return err
		}
		binaryDir = dir
		if err := os.Chmod(dir, 0o755); err != nil { // tests run them as other users
			return err
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir, "./testdata/agent", "./testdata/hung", "./testdata/once")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w: %s", err, out)
		}
		return nil
	})
	binaryDir string
)

func binary(t testing.TB, name string) string {
	t.Helper()
	if err := binaries(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binaryDir, name)
}

// onceOptions is how testdata/once is run: as who, with which point armed, and from which copy of the program.
type onceOptions struct {
	point, groom, bin string
	user              int
}

// runOnce runs testdata/once, and says whether it was killed.
func runOnce(t testing.TB, verb string, spec Spec, answer any, how func(*onceOptions)) (killed bool) {
	t.Helper()
	cmd, out, err := tryOnce(t, verb, spec, how)
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == unix.SIGKILL {
		return true
	}
	if err != nil {
		t.Fatalf("once %s: %v", verb, err)
	}
	if answer != nil {
		if err := json.Unmarshal(out, answer); err != nil {
			t.Fatalf("once %s: %v: %s", verb, err, out)
		}
	}
	return false
}

// runOnceFails is for what must not succeed. The text is what it said of it.
func runOnceFails(t testing.TB, verb string, spec Spec, how func(*onceOptions)) (code int, text string) {
	t.Helper()
	cmd, out, err := tryOnce(t, verb, spec, how)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatalf("once %s: %v: %s", verb, err, out)
	}
	return cmd.ProcessState.ExitCode(), string(exit.Stderr)
}

func tryOnce(t testing.TB, verb string, spec Spec, how func(*onceOptions)) (*exec.Cmd, []byte, error) {
	t.Helper()
	o := onceOptions{bin: binary(t, "once")}
	how(&o)
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), o.bin, verb, o.groom, string(b))
	cmd.Env = append(os.Environ(), fault.Env+"="+o.point)
	if o.user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.user), Gid: uint32(o.user)}}
	}
	out, err := cmd.Output()
	return cmd, out, err
}

// once is runOnce with a point armed, when one is given.
func once(t testing.TB, point, verb string, spec Spec, answer any) (killed bool) {
	t.Helper()
	return runOnce(t, verb, spec, answer, func(o *onceOptions) { o.point = point })
}

// eventually bounds every wait for another process. It is long, because a wait that is over early costs nothing.
const eventually = 20 * time.Second

const testID = api.AttemptID("attempt_202611240915_0001_000002_1")

func newSupervisor(t testing.TB) *Supervisor {
	t.Helper()
	s := New(Options{})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// shell is the spec of an attempt that runs a script.
func shell(t testing.TB, script string) Spec {
	t.Helper()
	return Spec{
		ID: testID, Dir: filepath.Join(t.TempDir(), "attempt"), Token: fmt.Sprintf("token-%s-%d", t.Name(), time.Now().UnixNano()),
		Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
	}
}

func refOf(t testing.TB, spec Spec) Ref {
	t.Helper()
	boot, pidns, err := Host()
	if err != nil {
		t.Fatal(err)
	}
	return Ref{ID: spec.ID, Dir: spec.Dir, Token: spec.Token, BootID: boot, PIDNS: pidns}
}

// start starts an attempt and sees to it that nothing of it outlives the test.
func start(t testing.TB, s *Supervisor, spec Spec) {
	t.Helper()
	if err := s.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	cleanUpAfter(t, spec)
}

func cleanUpAfter(t testing.TB, spec Spec) {
	t.Cleanup(func() {
		other := New(Options{})
		defer other.Close()
		_, err := other.Orphans(context.Background(), spec.Dir, func(api.AttemptID) bool { return false })
		if err != nil {
			t.Error(err)
		}
	})
}

func next(t testing.TB, s *Supervisor) Event {
	t.Helper()
	select {
	case e, ok := <-s.Events():
		if !ok {
			t.Fatal("events are closed")
		}
		return e
	case <-time.After(eventually):
		t.Fatal("no event")
	}
	return Event{}
}

func wantStarted(t testing.TB, s *Supervisor) Event {
	t.Helper()
	e := next(t, s)
	if e.Kind != Started {
		t.Fatalf("got %+v (exit %+v), want Started", e, e.Exit)
	}
	return e
}

func wantEnded(t testing.TB, s *Supervisor) *Exit {
	t.Helper()
	e := next(t, s)
	if e.Kind == Started {
		e = next(t, s)
	}
	if e.Kind != Ended || e.Exit == nil {
		t.Fatalf("got %+v, want Ended", e)
	}
	return e.Exit
}

// until polls across processes.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(eventually); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// written waits for a task to write a file below work/, and returns its text.
func written(t testing.TB, spec Spec, name string) string {
	t.Helper()
	var text string
	until(t, name, func() bool {
		b, _ := os.ReadFile(filepath.Join(spec.Dir, "work", name))
		text = strings.TrimSpace(string(b))
		return strings.HasSuffix(string(b), "\n")
	})
	return text
}

// alive says whether the process runs; a zombie does not.
func alive(pid int) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	st, ok := readStat(pid)
	return ok && st.runs()
}

func kill(t testing.TB, pid int, sig unix.Signal) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("refuse to signal %d", pid)
	}
	if err := unix.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
