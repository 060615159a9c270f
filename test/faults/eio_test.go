package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"groom/api"
	"groom/supervisor/ctl"
)

// injection is a strace that has system calls of a process fail or take their time.
type injection struct {
	cmd  *exec.Cmd
	out  string
	done chan struct{}
}

// inject attaches to a process and all of its threads.
func inject(t *testing.T, pid int, args ...string) *injection {
	t.Helper()
	in := &injection{out: filepath.Join(t.TempDir(), "strace"), done: make(chan struct{})}
	in.cmd = exec.Command("strace", append([]string{"-f", "-o", in.out, "-p", fmt.Sprint(pid)}, args...)...)
	said := new(bytes.Buffer)
	in.cmd.Stdout, in.cmd.Stderr = said, said
	if err := in.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = in.cmd.Wait()
		close(in.done)
	}()
	t.Cleanup(in.release)
	for deadline := time.Now().Add(patience); !traced(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("strace does not attach: %s", said)
		}
	}
	return in
}

// release lets go of the process.
func (in *injection) release() {
	_ = in.cmd.Process.Signal(syscall.SIGTERM) // it detaches
	in.lost()
}

// lost waits until strace has ended. Now and then it waits for ever for a thread of a process that has exited, and keeps
// the process from being reaped; killed, it has the kernel let go.
func (in *injection) lost() {
	select {
	case <-in.done:
	case <-time.After(30 * time.Second):
		_ = in.cmd.Process.Kill()
		<-in.done
	}
}

// made is how many calls were tampered with.
func (in *injection) made() int {
	b, _ := os.ReadFile(in.out)
	return bytes.Count(b, []byte("INJECTED"))
}

// traced says whether every thread of a process has a tracer.
func traced(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range threads {
		if b, _ := os.ReadFile(path); strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(threads) > 0
}

// running takes a world to a living task, and returns its groom and the task.
func running(t *testing.T, w *world, l life) (*agent, api.TaskDetail) {
	t.Helper()
	a, err := w.begin(l)
	if err != nil {
		t.Fatal(err)
	}
	var d api.TaskDetail
	w.must(t, a, "the task runs", func() bool {
		if _, err := w.handIn(a); err != nil {
			return false
		}
		d, err = w.task(a)
		return err == nil && d.State == api.TaskRunning
	})
	return a, d
}

func (w *world) must(t *testing.T, a *agent, what string, ok func() bool) {
	t.Helper()
	if err := a.await(what, ok); err != nil {
		t.Fatal(err)
	}
}

// conclude takes the world to the end of its job with a life of its own, and tells every violation.
func (w *world) conclude(t *testing.T, sc scenario) *agent {
	t.Helper()
	if err := w.finish(sc); err != nil {
		t.Error(err)
	}
	w.tell(t)
	return w.lives[len(w.lives)-1]
}

func (w *world) tell(t *testing.T) {
	t.Helper()
	for _, v := range w.sum {
		t.Error(v)
	}
}

// After a write to the journal of which nobody knows what became, the groom ends at once: exit status 70. The task lives
// on, the next start adopts it, and what was acknowledged is there.
func TestJournalCannotBeWritten(t *testing.T) {
	for _, c := range []struct{ name, call, errno string }{
		{"the sync fails", "fdatasync", "EIO"},
		{"the sync finds the disk full", "fdatasync", "ENOSPC"},
		{"the write fails", "pwrite64", "EIO"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, sc := newWorld(t), scenarios["adopted"]
			w.spec = sc.spec(w)
			a, before := running(t, w, life{})
			// The stop is to be the first write that fails, not the news that the master has the report of the start.
			w.must(t, a, "an empty outbox", func() bool {
				text, _ := a.page("/metrics")
				return strings.Contains(text, "\ngroom_outbox_reports 0\n")
			})
			in := inject(t, a.cmd.Process.Pid, "-P", filepath.Join(w.data, "groom", "raft.db"),
				"-e", "trace="+c.call, "-e", "inject="+c.call+":error="+c.errno)
			// The groom writes only what its master has journaled. The process may end before the answer is out.
			err := a.post("/jobs/"+string(w.job)+"/stop", api.ActRequest{Version: api.Version, Verb: api.VerbStop}, nil)
			if err != nil {
				t.Logf("the order to stop: %v", err)
			}
			in.lost() // it ends with what it traces
			if err := a.await("its end", func() bool { return false }); !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			if code := a.cmd.ProcessState.ExitCode(); code != 70 {
				t.Errorf("exit status %d, want 70", code)
			}
			if b, err := os.ReadFile(filepath.Join(w.data, "groom", "fatal")); err != nil || !strings.Contains(string(b), "write journal") {
				t.Errorf("the marker says %q (%v)", b, err)
			}
			if !alive(before.Pid) {
				t.Error("the task did not live on")
			}
			// The stop is in the master's journal, and the next start carries it out.
			after := w.conclude(t, scenario{step: stop})
			d, err := w.task(after)
			if err != nil || len(d.Attempts) != 1 || d.Attempts[0].Outcome == nil || d.Attempts[0].Outcome.By != api.ByStop {
				t.Errorf("%+v, %v", d.Attempts, err)
			}
			if b, _ := os.ReadFile(after.log); !strings.Contains(string(b), "the last process ended because of its journal") {
				t.Error("the next start does not say why the last one ended")
			}
		})
	}
}

// A log that cannot be written never holds the task up. What is lost is counted, and the rest stands where it belongs.
func TestLogCannotBeWritten(t *testing.T) {
	for _, errno := range []string{"EIO", "ENOSPC", "EDQUOT"} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			const lines = 20000
			w := newWorld(t)
			w.spec = w.script(fmt.Sprintf(`say start; until [ -e "$GATE" ]; do sleep 0.01; done
				i=0; while [ $i -lt %d ]; do echo "line $i"; i=$((i+1)); done; say wrote
				sleep 1.1; echo the last line; say end 0`, lines))
			a, d := running(t, w, life{})
			shims, _ := w.processes()
			if len(shims) != 1 {
				t.Fatalf("shims %v", shims)
			}
			w.must(t, a, "start", func() bool { return w.said("start") })
			dir := d.Attempts[0].Dir
			inject(t, shims[0], "-P", filepath.Join(dir, "log", "stdout.00000000000000000000"),
				"-e", "trace=write", "-e", "inject=write:error="+errno)
			if err := w.open(); err != nil {
				t.Fatal(err)
			}
			done := until(api.JobSucceeded)
			w.must(t, a, "the job succeeds", func() bool { ok, _ := done(w, a); return ok })
			exit, err := ctl.ReadExit(dir)
			if err != nil {
				t.Fatal(err)
			}
			var kept int64
			files, _ := filepath.Glob(filepath.Join(dir, "log", "stdout.*"))
			var text []byte
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				kept += int64(len(b))
				text = append(text, b...)
			}
			if exit.Int("dropped") == 0 || kept+exit.Int("dropped") != exit.Int("stdout") {
				t.Errorf("kept %d, dropped %d, of %d bytes", kept, exit.Int("dropped"), exit.Int("stdout"))
			}
			if !strings.HasSuffix(string(text), "the last line\n") {
				t.Errorf("after the trouble: %q", last(text, 40))
			}
			w.check(a)
			w.tell(t)
		})
	}
}

// An exit record that cannot be written is tried again until it can: the end is late, and exact.
func TestExitRecordCannotBeWritten(t *testing.T) {
	for _, c := range []struct{ call, errno string }{{"fsync", "EIO"}, {"openat", "EROFS"}, {"renameat", "EIO"}} {
		t.Run(c.call, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.spec = w.script(`say start; until [ -e "$GATE" ]; do sleep 0.01; done; say end 9; exit 9`)
			w.spec.Restart.Limit = 1
			a, d := running(t, w, life{})
			shims, _ := w.processes()
			in := inject(t, shims[0], "-e", "trace="+c.call, "-e", "inject="+c.call+":error="+c.errno)
			if err := w.open(); err != nil {
				t.Fatal(err)
			}
			w.must(t, a, "the task ends", func() bool { return !alive(d.Pid) })
			w.must(t, a, "the record is tried again", func() bool { return in.made() > 2 })
			if d, err := w.task(a); err != nil || d.State != api.TaskRunning {
				t.Errorf("without a record it is %s (%v)", d.State, err)
			}
			in.release()
			done := until(api.JobFailed)
			w.must(t, a, "the job fails", func() bool { ok, _ := done(w, a); return ok })
			if d, err := w.task(a); err != nil || *d.Attempts[0].Outcome != (api.Outcome{Kind: api.Exited, Code: 9}) {
				t.Errorf("%+v, %v", d.Attempts, err)
			}
			w.check(a)
			w.tell(t)
		})
	}
}

// An attempt whose directory cannot be made is not started, costs the task nothing, and is tried again.
func TestAttemptDirectoryCannotBeMade(t *testing.T) {
	for _, errno := range []string{"EIO", "ENOSPC", "EROFS"} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.spec = w.script(`say start; say end 0`)
			w.spec.Restart.Backoff, w.spec.Restart.MaxBackoff = api.Duration(200*time.Millisecond), api.Duration(200*time.Millisecond)
			a, err := w.live()
			if err != nil {
				t.Fatal(err)
			}
			if err := a.ready(); err != nil {
				t.Fatal(err)
			}
			in := inject(t, a.cmd.Process.Pid, "-e", "trace=mkdirat", "-e", "inject=mkdirat:error="+errno)
			var d api.TaskDetail
			w.must(t, a, "two attempts are over", func() bool {
				_, err := w.handIn(a)
				if err == nil {
					d, err = w.task(a)
				}
				return err == nil && len(d.Attempts) > 2
			})
			in.release()
			for _, at := range d.Attempts[:2] {
				if at.Counted || at.Outcome == nil || at.Outcome.Kind != api.NotStarted || !strings.Contains(at.Outcome.Why, "director") {
					t.Errorf("%s: %v, counted %v", at.ID, at.Outcome, at.Counted)
				}
			}
			done := until(api.JobSucceeded)
			w.must(t, a, "the job succeeds", func() bool { ok, _ := done(w, a); return ok })
			w.check(a)
			w.tell(t)
		})
	}
}
