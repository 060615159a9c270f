package faults

import (
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
	"groom/job"

	"golang.org/x/sys/unix"
)

// someone owns no process but those of one test.
const someone = 61234

// give makes the world someone's.
func (w *world) give(t *testing.T, uid int) {
	t.Helper()
	if err := os.Chown(w.dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(w.dir), 0o755); err != nil {
		t.Fatal(err)
	}
}

// threads counts what the limit of processes counts for a user.
func threads(uid int) (n int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil && int(st.Uid) == uid {
			all, _ := os.ReadDir(filepath.Join(p, "task"))
			n += len(all)
		}
	}
	return n
}

// set sets how many processes a user may have, as far as one of them is concerned: from within, as not every root may
// do that to others.
func set(t *testing.T, uid, pid int, most string) {
	t.Helper()
	cmd := exec.Command("prlimit", "--pid", fmt.Sprint(pid), "--nproc="+most+":")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("limit processes: %v: %s", err, out)
	}
}

// Where no process can be made, for the shim, for one of its first threads or for the task, the attempt is not started,
// costs the task nothing, and is tried again. A shim that needs a thread later, and gets none, is lost.
func TestForkFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.give(t, someone)
	a, err := w.begin(life{uid: someone})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.ready(); err != nil {
		t.Fatal(err)
	}
	var most unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &most); err != nil {
		t.Fatal(err)
	}
	hard := fmt.Sprint(most.Max)
	w.prime(t, a)
	words := map[string]int{}
	missing := func() (all []string) {
		for _, want := range []string{"fork shim", "never claimed", "EAGAIN"} {
			if !strings.Contains(fmt.Sprint(words), want) {
				all = append(all, want)
			}
		}
		return all
	}
	// How many threads a shim has when it makes the task is up to the runtime and to the load of the host: the limit that
	// strikes just then is met sooner or later.
	for round := 0; round < 6 && len(missing()) > 0; round++ {
		for more := range 8 {
			w.limited(t, a, round, more, hard, words)
		}
	}
	t.Log(words)
	if left := missing(); len(left) > 0 {
		t.Errorf("never so: %v", left)
	}
}

// limited runs one task that can only just be started, or not at first, and counts how its attempts ended.
func (w *world) limited(t *testing.T, a *agent, round, more int, hard string, words map[string]int) {
	t.Helper()
	spec := w.script(`say start; say end 0`)
	spec.Name = fmt.Sprintf("with-%d-more-%d", more, round)
	spec.Restart.Backoff, spec.Restart.MaxBackoff = api.Duration(300*time.Millisecond), api.Duration(300*time.Millisecond)
	set(t, someone, a.cmd.Process.Pid, fmt.Sprint(threads(someone)+more))
	id, err := a.submit(spec.Name, spec)
	if err != nil {
		t.Fatal(err)
	}
	var d api.TaskDetail
	w.must(t, a, "an attempt is over", func() bool {
		return a.get("/tasks/"+string(id.Task(0)), &d) == nil && len(d.Attempts) > 0 && d.Attempts[0].Outcome != nil
	})
	set(t, someone, a.cmd.Process.Pid, hard)
	w.must(t, a, "the job succeeds", func() bool {
		return a.get("/tasks/"+string(id.Task(0)), &d) == nil && d.State == api.TaskSucceeded
	})
	for _, at := range d.Attempts {
		words[at.Outcome.String()]++
		switch o := *at.Outcome; o {
		case api.Outcome{Kind: api.Exited}:
		case api.Outcome{Kind: api.Lost, Why: api.WhyShim}: // its shim wanted a thread more, after it had claimed
		default:
			if at.Counted || o.Kind != api.NotStarted {
				t.Errorf("%d more: %s: %s, counted %v", more, at.ID, o, at.Counted)
			}
		}
	}
}

// prime has the groom make more threads than it will need, by many questions at a time that take their time: without a
// thread that it needs, a Go program ends.
func (w *world) prime(t *testing.T, a *agent) {
	t.Helper()
	in := inject(t, a.cmd.Process.Pid, "-e", "trace=openat", "-e", "inject=openat:delay_enter=100000")
	defer in.release()
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() { _, _ = a.page("/") })
	}
	all.Wait()
}

// A groom that cannot have a thread ends, as every Go program does. Its task runs on, and the next start has it.
func TestNoThreadForTheGroom(t *testing.T) {
	t.Parallel()
	const alone = someone + 1
	w, sc := newWorld(t), scenarios["adopted"]
	w.give(t, alone)
	w.spec = sc.spec(w)
	a, before := running(t, w, life{uid: alone})
	set(t, alone, a.cmd.Process.Pid, "0")
	in := inject(t, a.cmd.Process.Pid, "-e", "trace=openat", "-e", "inject=openat:delay_enter=100000")
	for range 100 {
		go a.page("/")
	}
	<-a.done
	in.release()
	if b, _ := os.ReadFile(a.log); !strings.Contains(string(b), "failed to create new OS thread") || a.cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("it ended by %v", a.cmd.ProcessState)
	}
	if !alive(before.Pid) {
		t.Error("the task did not live on")
	}
	a, err := w.begin(life{uid: alone})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.drive(a, sc); err != nil {
		t.Error(err)
	}
	w.check(a)
	w.tell(t)
}

// A program that cannot be started is a failure with its own errno, and never one of another kind.
func TestExecFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(w.dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, err := w.live()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.ready(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, command, errno, why string }{
		{"no such file", filepath.Join(w.dir, "nowhere"), "ENOENT", "nowhere"},
		{"not in the path", "no-such-program-anywhere", "ENOENT", "no-such-program-anywhere"},
		{"not executable", put("plain", "#!/bin/sh\n", 0o644), "EACCES", "plain"},
		{"a directory", w.dir, "EACCES", w.dir},
		{"no such interpreter", put("lost", "#!/no/such/interpreter\n", 0o755), "ENOENT", "interpreter"},
		{"no program at all", put("noise", "\x00\x01\x02\x03", 0o755), "ENOEXEC", "noise"},
	} {
		spec := w.script("")
		spec.Name, spec.Command, spec.Restart.Limit = strings.ReplaceAll(c.name, " ", "-"), []string{c.command}, 2
		id, err := a.submit(c.name, spec)
		if err != nil {
			t.Fatal(err)
		}
		var d api.TaskDetail
		w.must(t, a, "the task fails", func() bool {
			return a.get("/tasks/"+string(id.Task(0)), &d) == nil && d.State == api.TaskFailed
		})
		if len(d.Attempts) != 2 || d.Failures != 2 {
			t.Errorf("%s: %d attempts, %d failures", c.name, len(d.Attempts), d.Failures)
		}
		for _, at := range d.Attempts {
			if o := at.Outcome; o.Kind != api.ExecFailed || o.Errno != c.errno || !strings.Contains(o.Why, c.why) || !at.Counted {
				t.Errorf("%s: %s, counted %v", c.name, o, at.Counted)
			}
		}
	}
}

// A program that is open for writing is tried again for a moment, and then has failed.
func TestTextBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	program := filepath.Join(w.dir, "program")
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	w.spec = w.script("")
	w.spec.Command, w.spec.Restart.Limit = []string{program}, 100
	a, err := w.live()
	if err != nil {
		t.Fatal(err)
	}
	var d api.TaskDetail
	w.must(t, a, "an attempt has failed", func() bool {
		_, err := w.handIn(a)
		if err == nil {
			d, err = w.task(a)
		}
		return err == nil && len(d.Attempts) > 1
	})
	if o := d.Attempts[0].Outcome; o.Kind != api.ExecFailed || o.Errno != "ETXTBSY" || !d.Attempts[0].Counted {
		t.Errorf("%s", o)
	}
	f.Close()
	done := until(api.JobSucceeded)
	w.must(t, a, "the job succeeds", func() bool { ok, _ := done(w, a); return ok })
}

// The groom's file is replaced while it runs and has tasks. It starts more of them from its own old image; the new one
// adopts them all, and ends them through shims of the old one.
func TestBinaryReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	exe := filepath.Join(w.dir, "groom")
	install := func(name string) {
		b, err := os.ReadFile(filepath.Join(bin, name))
		if err == nil {
			err = os.WriteFile(exe+".new", b, 0o755)
		}
		if err == nil {
			err = os.Rename(exe+".new", exe)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install("groom")
	w.spec = waits(w)
	a, before := running(t, w, life{exe: exe})
	install("groom.next")
	later := w.script(`trap 'say end 3; exit 3' TERM; say start; while :; do sleep 0.01; done`)
	later.Name = "later"
	id, err := a.submit("another", later)
	if err != nil {
		t.Fatal(err)
	}
	var other api.TaskDetail
	w.must(t, a, "a task is started from the old image", func() bool {
		return a.get("/tasks/"+string(id.Task(0)), &other) == nil && other.State == api.TaskRunning && len(w.marked()) == 2
	})
	a.kill9()
	a, err = w.begin(life{exe: exe})
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the new build has adopted both", func() bool {
		self, _, _ := a.status()
		return self.Build == "second" && len(self.Attempts) == 2
	})
	if d, err := w.task(a); err != nil || d.Pid != before.Pid || len(d.Attempts) != 1 {
		t.Errorf("the first task was %d and is %d (%v)", before.Pid, d.Pid, err)
	}
	if err := a.post("/jobs/"+string(id)+"/stop", api.ActRequest{Version: api.Version, Verb: api.VerbStop}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	done := until(api.JobSucceeded)
	w.must(t, a, "both have ended", func() bool {
		ok, _ := done(w, a)
		return ok && a.get("/tasks/"+string(id.Task(0)), &other) == nil && other.State == api.TaskStopped
	})
	if o := other.Attempts[0].Outcome; len(other.Attempts) != 1 || *o != (api.Outcome{Kind: api.Exited, Code: 3}) {
		t.Errorf("the task of the old image: %s", o)
	}
}

// rounds is a BSP job of two peers that goes on until the gate is there.
func rounds(w *world) api.JobSpec {
	s := w.script("")
	s.Name, s.Type, s.Tasks, s.Command = "rounds", api.BSP, 2, []string{filepath.Join(bin, "rounds")}
	job.Defaults(&s)
	return s
}

// stepping waits until a BSP job has gone through some more supersteps.
func (w *world) stepping(t *testing.T, a *agent) {
	t.Helper()
	from := -1
	w.must(t, a, "supersteps", func() bool {
		var d api.JobDetail
		if a.get("/jobs/"+string(w.job), &d) != nil || d.Step < 0 {
			return false
		}
		if from < 0 {
			from = d.Step
		}
		return d.Step > from+5
	})
}

// unharmed opens the gate and holds that no attempt of the job was ever ended.
func (w *world) unharmed(t *testing.T, a *agent) {
	t.Helper()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	done := until(api.JobSucceeded)
	w.must(t, a, "the job succeeds", func() bool { ok, _ := done(w, a); return ok })
	for i := range w.spec.Tasks {
		var d api.TaskDetail
		if err := a.get("/tasks/"+string(w.job.Task(i)), &d); err != nil || len(d.Attempts) != 1 || d.Epoch > 1 {
			t.Errorf("task %d: %d attempts, epoch %d (%v)", i, len(d.Attempts), d.Epoch, err)
		}
	}
	w.tell(t)
}

// A groom that does not run for half a minute, as when its host sleeps, holds that against nobody.
func TestGroomStandsStill(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  func(*world) api.JobSpec
		still time.Duration
	}{
		{"a BSP job, pings every second", rounds, 30 * time.Second},
		{"a BSP job, pings five times a second", func(w *world) api.JobSpec {
			s := rounds(w)
			s.Ping.Period = api.Duration(200 * time.Millisecond)
			return s
		}, 8 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.spec = c.spec(w)
			a, _ := running(t, w, life{})
			w.stepping(t, a)
			pid := a.cmd.Process.Pid
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.still) // this is what the test is about
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			w.stepping(t, a)
			// Every window has gone by once more, with the groom awake.
			awake := time.Now()
			w.must(t, a, "more time", func() bool { return time.Since(awake) > 8*time.Duration(w.spec.Ping.Period) })
			w.stepping(t, a)
			w.unharmed(t, a)
		})
	}
}

// On a host where each sync and each open takes a second or so, everything is late and nothing is wrong.
func TestHostIsSlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.spec = rounds(w)
	a, _ := running(t, w, life{})
	w.stepping(t, a)
	in := inject(t, a.cmd.Process.Pid, "-e", "trace=fsync,fdatasync,openat",
		"-e", "inject=fsync,fdatasync:delay_enter=1000000", "-e", "inject=openat:delay_enter=200000")
	later := w.script(`say start; say end 0`)
	later.Name = "later"
	id, err := a.submit("another", later)
	if err != nil {
		t.Logf("the submission: %v", err) // the answer may be too late; the request is the same when it is made again
		if id, err = a.submit("another", later); err != nil {
			t.Fatal(err)
		}
	}
	var d api.TaskDetail
	w.must(t, a, "another job succeeds", func() bool {
		return a.get("/tasks/"+string(id.Task(0)), &d) == nil && d.State == api.TaskSucceeded
	})
	if len(d.Attempts) != 1 {
		t.Errorf("%d attempts", len(d.Attempts))
	}
	self, _, state := a.status()
	if self.Health != api.HealthOK || state != "ready" {
		t.Errorf("the groom is %s, %s: %v", self.Health, state, self.Reasons)
	}
	in.release()
	w.unharmed(t, a)
}

// ahead starts a life whose clock of the boot runs so much ahead of that of the host.
func ahead(by time.Duration) life {
	return life{wrap: []string{"unshare", "--time", "--boottime", fmt.Sprint(int(by.Seconds())), "--fork", "--kill-child", "--"}}
}

// Between two starts the clock of the boot steps by two hours, which no host does: living tasks are adopted either way,
// and a pause that is over is over.
func TestBootClockSteps(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, later life
	}{
		{"ahead", life{}, ahead(2 * time.Hour)},
		{"back", ahead(2 * time.Hour), life{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.spec = rounds(w)
			a, before := running(t, w, c.first)
			a.kill9()
			a, err := w.begin(c.later)
			if err != nil {
				t.Fatal(err)
			}
			w.stepping(t, a)
			if d, err := w.task(a); err != nil || d.Pid != before.Pid {
				t.Errorf("the task was %d and is %d (%v)", before.Pid, d.Pid, err)
			}
			awake := time.Now()
			w.must(t, a, "every window goes by", func() bool { return time.Since(awake) > 8*time.Duration(w.spec.Ping.Period) })
			w.unharmed(t, a)
		})
	}
	t.Run("ahead, over a pause", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.spec = w.script(`say start; [ -e "$GATE" ] && { say end 0; exit 0; }; say end 1; exit 1`)
		w.spec.Restart.Limit, w.spec.Restart.Backoff, w.spec.Restart.MaxBackoff = 4, api.Duration(time.Hour), api.Duration(time.Hour)
		a, err := w.live()
		if err != nil {
			t.Fatal(err)
		}
		w.must(t, a, "the pause", func() bool {
			if _, err := w.handIn(a); err != nil {
				return false
			}
			d, err := w.task(a)
			return err == nil && d.State == api.TaskBackoff && len(d.Attempts) == 2
		})
		a.kill9()
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		if a, err = w.begin(ahead(2 * time.Hour)); err != nil {
			t.Fatal(err)
		}
		done := until(api.JobSucceeded)
		w.must(t, a, "the pause is over", func() bool { ok, _ := done(w, a); return ok })
		w.check(a)
		w.tell(t)
	})
}
