package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"
	"groom/supervisor/cgroup"
	"groom/supervisor/ctl"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fabricated is an attempt directory that holds the files given, and no process.
func fabricated(t *testing.T, files map[string]string) Spec {
	t.Helper()
	spec := shell(t, "")
	for name, text := range files {
		path := filepath.Join(spec.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return spec
}

// hold takes the lock of an attempt, as a shim would.
func hold(t *testing.T, spec Spec) {
	t.Helper()
	fd, err := ctl.TakeLock(spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
}

// hasty gives up on a lock that stays a riddle sooner than a groom would.
func hasty(t *testing.T) *Supervisor {
	s := newSupervisor(t)
	s.strangerAfter, s.bornWithin = 50*time.Millisecond, 50*time.Millisecond
	return s
}

func sealed(text string) string { return text + fmt.Sprintf("sum=%016x\n", ctl.Sum([]byte(text))) }

func exitRecord(lines string) string {
	return sealed("v=1\nid=" + string(testID) + "\n" + lines + "started=1000000000\nended=2000000000\nstdout=5\nstderr=0\ndropped=0\n")
}

func TestAdoptionDecidesFromFiles(t *testing.T) {
	const claim = "v=1\n"
	exited := exitRecord("pid=1\nstatus=768\n")
	lostShim := api.Outcome{Kind: api.Lost, Why: api.WhyShim}
	lostBoot := api.Outcome{Kind: api.Lost, Why: api.WhyReboot}
	unborn := api.Outcome{Kind: api.NotStarted, Why: "its shim never claimed it"}
	otherBoot := func(r *Ref) { r.BootID = "another boot" }
	otherSpace := func(r *Ref) { r.PIDNS++ }
	for _, c := range []struct {
		name  string
		files map[string]string // none: no directory
		ref   func(*Ref)
		held  bool
		kind  api.Finding
		want  api.Outcome
		words string // contained in the words
		maybe bool   // without a record of its shim nothing says which processes are older: whether it is proven depends on the host
	}{
		{name: "missing directory", kind: api.FoundUnborn, want: unborn, words: "its directory is not there, and no shim ever claimed it: not started"},
		{name: "missing directory of one that ran", ref: func(r *Ref) { r.Ran = true }, kind: api.FoundLost, want: lostShim, words: "its directory is not there, its process had been seen", maybe: true},
		{name: "missing lock", files: map[string]string{ctl.Spec: "v=1\n"}, kind: api.FoundUnborn, want: unborn, words: "its lock is not there, and no shim ever claimed it"},
		{name: "missing lock, claimed", files: map[string]string{ctl.Claim: claim}, kind: api.FoundLost, want: lostShim},
		{name: "lock free, never claimed", files: map[string]string{ctl.Lock: ""}, kind: api.FoundUnborn, want: unborn},
		{name: "identity written, never claimed", files: map[string]string{ctl.Lock: "", ctl.Shim: "v=1\npid=1\n"}, kind: api.FoundUnborn, want: unborn},
		{name: "claimed by a groom", files: map[string]string{ctl.Lock: "", ctl.Claim: "v=1\nby=groom\n"}, kind: api.FoundUnborn, want: unborn},
		{name: "claimed, no exit record", files: map[string]string{ctl.Lock: "", ctl.Claim: claim}, kind: api.FoundLost, want: lostShim, words: "its lock is free, a shim had claimed it, and no exit record can be believed: lost: its shim died"},
		{name: "claimed without its text", files: map[string]string{ctl.Lock: "", ctl.Claim: ""}, kind: api.FoundLost, want: lostShim},
		{name: "exit record not renamed", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, "ctl/exit.tmp": exited}, kind: api.FoundLost, want: lostShim},
		{name: "exit record", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: exited}, kind: api.FoundEnded, want: api.Outcome{Kind: api.Exited, Code: 3}},
		{name: "exec failed", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: exitRecord("step=exec\nerrno=8\nwhat=x\n")}, kind: api.FoundEnded, want: api.Outcome{Kind: api.ExecFailed, Errno: "ENOEXEC", Why: "cannot execute x"}},
		{name: "no process could be forked", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: exitRecord("step=exec\nerrno=11\nwhat=x\n")}, kind: api.FoundUnborn, want: api.Outcome{Kind: api.NotStarted, Why: "no process for x: EAGAIN"}},
		{name: "torn exit record, cut", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: exited[:40]}, kind: api.FoundLost, want: lostShim, words: "torn"},
		{name: "torn exit record, empty", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: ""}, kind: api.FoundLost, want: lostShim, words: "torn"},
		{name: "torn exit record, altered", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: strings.Replace(exited, "768", "000", 1)}, kind: api.FoundLost, want: lostShim, words: "torn"},
		{name: "record of a future version", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: sealed("v=9\nid=" + string(testID) + "\nmood=good\nstatus=768\n")}, kind: api.FoundEnded, want: api.Outcome{Kind: api.Exited, Code: 3}},
		{name: "future version without a status", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: sealed("v=9\nid=" + string(testID) + "\nend=fine\n")}, kind: api.FoundLost, want: lostShim, words: "tells no end"},
		{name: "torn identity", files: map[string]string{ctl.Lock: "", ctl.Shim: "v=1\npi"}, kind: api.FoundUnborn, want: unborn},
		{name: "torn identity, exit record", files: map[string]string{ctl.Lock: "", ctl.Shim: "\x00\x00", ctl.Exit: exited}, kind: api.FoundEnded, want: api.Outcome{Kind: api.Exited, Code: 3}},
		{name: "torn start", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Start: "v=1\npid=1\nsta"}, kind: api.FoundLost, want: lostShim},
		{name: "torn start, exit record", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Start: "", ctl.Exit: exited}, kind: api.FoundEnded, want: api.Outcome{Kind: api.Exited, Code: 3}},
		{name: "torn claim, zero bytes", files: map[string]string{ctl.Lock: "", ctl.Claim: "\x00\x00\x00\x00"}, kind: api.FoundLost, want: lostShim},
		{name: "torn claim, cut", files: map[string]string{ctl.Lock: "", ctl.Claim: "v="}, kind: api.FoundLost, want: lostShim},
		{name: "torn spec, never claimed", files: map[string]string{ctl.Lock: "", ctl.Spec: "v=1\nid=att"}, kind: api.FoundUnborn, want: unborn},
		{name: "torn spec, claimed", files: map[string]string{ctl.Lock: "", ctl.Spec: "\x00", ctl.Claim: claim}, kind: api.FoundLost, want: lostShim},
		{name: "spec names a group that is none", files: map[string]string{ctl.Lock: "", ctl.Spec: "v=1\ncgroup=/etc\njoin=/\n", ctl.Claim: claim}, kind: api.FoundLost, want: lostShim},
		{name: "future version, never claimed", files: map[string]string{ctl.Lock: "", ctl.Spec: "v=2\nmood=good\n", ctl.Shim: "v=2\nmood=good\npid=1\n"}, kind: api.FoundUnborn, want: unborn},
		{name: "future version, claimed by a groom", files: map[string]string{ctl.Lock: "", ctl.Claim: "v=2\nmood=good\nby=groom\n"}, kind: api.FoundUnborn, want: unborn},
		{name: "future version, claimed by a shim", files: map[string]string{ctl.Lock: "", ctl.Claim: "v=2\nby=shim\nmood=good\n", ctl.Start: "v=2\npid=1\nmood=good\n"}, kind: api.FoundLost, want: lostShim},
		{name: "record of another attempt", files: map[string]string{ctl.Lock: "", ctl.Claim: claim, ctl.Exit: sealed("v=1\nid=other\nstatus=0\n")}, kind: api.FoundLost, want: lostShim, words: "another's"},
		{name: "other boot, missing directory", ref: otherBoot, kind: api.FoundLost, want: lostBoot, words: "the host was restarted since, and no exit record can be believed"},
		{name: "other boot, exit record", files: map[string]string{ctl.Lock: "", ctl.Exit: exited}, ref: otherBoot, kind: api.FoundEnded, want: api.Outcome{Kind: api.Exited, Code: 3}},
		{name: "other boot, torn exit record", files: map[string]string{ctl.Lock: "", ctl.Exit: exited[:20]}, ref: otherBoot, kind: api.FoundLost, want: lostBoot, words: "torn"},
		// A claim is not synced: after a loss of power its absence proves nothing.
		{name: "other boot, never claimed", files: map[string]string{ctl.Lock: ""}, ref: otherBoot, kind: api.FoundLost, want: lostBoot},
		{name: "other boot, lock held by a stranger", files: map[string]string{ctl.Lock: ""}, ref: otherBoot, held: true, kind: api.FoundLost, want: lostBoot},
		{name: "other pid namespace, it has gone", files: map[string]string{ctl.Lock: "", ctl.Claim: claim}, ref: otherSpace, kind: api.FoundLost, want: lostBoot, words: "namespace has gone"},
		{name: "other pid namespace, it lives", files: map[string]string{ctl.Lock: "", ctl.Claim: claim}, ref: otherSpace, held: true, kind: api.FoundLost, want: lostShim, words: "out of reach"},
		{name: "other pid namespace, exit record", files: map[string]string{ctl.Lock: "", ctl.Exit: exited}, ref: otherSpace, kind: api.FoundEnded, want: api.Outcome{Kind: api.Exited, Code: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A shim says who it is before it claims. What is older than it, as this process, is no suspect.
			if _, ok := c.files[ctl.Claim]; ok {
				self, _ := readStat(os.Getpid())
				c.files[ctl.Shim] = fmt.Sprintf("v=1\npid=%d\nstart=%d\n", os.Getpid(), self.start)
			}
			spec := fabricated(t, c.files)
			if c.held {
				hold(t, spec)
			}
			ref := refOf(t, spec)
			if c.ref != nil {
				c.ref(&ref)
			}
			before := listing(t, spec.Dir)
			seen, err := Look(ref) // what Adopt finds, and what it would have found
			if err != nil || seen.Kind != c.kind || seen.Exit == nil || seen.Exit.Outcome != c.want || !strings.Contains(seen.Words, c.words) {
				t.Errorf("a look saw %+v, exit %+v, %v", seen, seen.Exit, err)
			}
			if diff := cmp.Diff(before, listing(t, spec.Dir)); diff != "" {
				t.Errorf("a look changed something: %s", diff)
			}
			s := newSupervisor(t)
			for range 2 { // a kill after the first, before it was journaled, and the next start
				f, err := s.Adopt(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				if f.Kind != c.kind || f.Exit == nil || f.Exit.Outcome != c.want || !strings.Contains(f.Words, c.words) {
					t.Errorf("%+v, exit %+v", f, f.Exit)
				}
				if unproven := c.held && c.want == lostShim; f.Exit != nil && f.Exit.Unproven != unproven && !c.maybe {
					t.Errorf("unproven %v", f.Exit.Unproven)
				}
			}
		})
	}
}

// A lock is held and ctl/shim names a process that is not the shim: its number was given to another.
func TestStrangersAreNeverTouched(t *testing.T) {
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	pid := stranger.Process.Pid
	st, _ := readStat(pid)
	thread := make(chan int)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		<-done
	}()
	t.Run("group", func(t *testing.T) {
		for name, record := range map[string]string{
			"reused pid, other start":     fmt.Sprintf("v=1\npid=%d\nstart=%d\ninode=0\n", pid, st.start+1),
			"reused pid, other inode":     fmt.Sprintf("v=1\npid=%d\nstart=%d\ninode=1\n", pid, st.start),
			"reused pid, now of a thread": fmt.Sprintf("v=1\npid=%d\nstart=1\ninode=1\n", <-thread),
			"pid that is gone":            "v=1\npid=4194303\nstart=1\ninode=1\n",
			"no pid":                      "v=1\n",
			"negative pid":                "v=1\npid=-1\nstart=1\ninode=1\n",
			"identity is no record":       "\x00\x00",
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				spec := fabricated(t, map[string]string{ctl.Lock: "", ctl.Claim: "v=1\n", ctl.Shim: record})
				hold(t, spec)
				f, err := hasty(t).Adopt(t.Context(), refOf(t, spec))
				if err != nil || f.Kind != api.FoundLost || !f.Exit.Unproven {
					t.Errorf("%+v, exit %+v, %v", f, f.Exit, err)
				}
			})
		}
	})
	t.Run("lock is free", func(t *testing.T) {
		spec := fabricated(t, map[string]string{
			ctl.Lock: "", ctl.Claim: "v=1\n",
			ctl.Shim:  fmt.Sprintf("v=1\npid=%d\nstart=%d\ninode=0\n", pid, st.start),
			ctl.Start: fmt.Sprintf("v=1\npid=%d\nstart=%d\nat=1\n", pid, st.start),
		})
		f, err := newSupervisor(t).Adopt(t.Context(), refOf(t, spec))
		if err != nil || f.Kind != api.FoundLost {
			t.Errorf("%+v, exit %+v, %v", f, f.Exit, err)
		}
	})
	if !alive(pid) {
		t.Error("the stranger was killed")
	}
}

func TestLockHeldAndNobodySaysWhoItIs(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		kind  api.Finding
	}{
		{"never claimed: it may not start any more", map[string]string{ctl.Lock: ""}, api.FoundUnborn},
		{"claimed: it comes to an end all the same", map[string]string{ctl.Lock: "", ctl.Claim: "v=1\n"}, api.FoundLost},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			spec := fabricated(t, c.files)
			hold(t, spec)
			f, err := hasty(t).Adopt(t.Context(), refOf(t, spec))
			if err != nil || f.Kind != c.kind || f.Exit.Unproven != (c.kind == api.FoundLost) {
				t.Errorf("%+v, exit %+v, %v", f, f.Exit, err)
			}
		})
	}
}

// runShim is the fork of Start alone, on a directory that was made to measure. It waits for the shim's end.
func runShim(t *testing.T, spec Spec) (code int) {
	t.Helper()
	lock, err := os.Create(filepath.Join(spec.Dir, ctl.Lock))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.ExtraFiles = shimEnv(spec.Dir), []*os.File{lock}
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode()
}

// A shim that was frozen before it could claim wakes up after the groom gave the attempt up.
func TestForbiddenShimRunsNothing(t *testing.T) {
	spec := shell(t, "echo ran > ran")
	for _, dir := range []string{ctl.Dir, ctl.Log, ctl.Work} {
		if err := os.MkdirAll(filepath.Join(spec.Dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(spec.Dir, ctl.Spec), spec.record(nil, cgroup.Group{}, nil).Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if ours, err := ctl.Forbid(spec.Dir); err != nil || !ours {
		t.Fatal(ours, err)
	}
	if code := runShim(t, spec); code != 93 {
		t.Errorf("the shim ended with %d", code)
	}
	if _, err := os.Stat(filepath.Join(spec.Dir, ctl.Work, "ran")); err == nil {
		t.Error("the task ran")
	}
	// The other way round a shim was faster: it must not be taken for one that never ran.
	spec = fabricated(t, map[string]string{ctl.Claim: "v=1\n"})
	if ours, err := ctl.Forbid(spec.Dir); err != nil || ours {
		t.Error(ours, err)
	}
}

func TestAdoptWhatTheGroomLeft(t *testing.T) {
	for _, c := range []struct {
		name   string
		script string
		then   func(t *testing.T, spec Spec, shim, pid int)
		kind   api.Finding
		want   api.Outcome
	}{
		{"ended while the groom was away", "while [ ! -s go ]; do sleep 0.01; done; exit 8", func(t *testing.T, spec Spec, _, _ int) {
			put(t, spec, "go")
			waitFree(t, spec)
		}, api.FoundEnded, api.Outcome{Kind: api.Exited, Code: 8}},
		{"task killed while the groom was away", "exec sleep 60", func(t *testing.T, spec Spec, _, pid int) {
			kill(t, pid, unix.SIGKILL)
			waitFree(t, spec)
		}, api.FoundEnded, api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers}},
		{"shim killed", "exec sleep 60", func(t *testing.T, spec Spec, shim, _ int) {
			kill(t, shim, unix.SIGKILL)
			waitFree(t, spec)
		}, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyShim}},
		{"shim and task killed", "exec sleep 60", func(t *testing.T, spec Spec, shim, pid int) {
			kill(t, shim, unix.SIGSTOP)
			kill(t, pid, unix.SIGKILL)
			kill(t, shim, unix.SIGKILL)
			waitFree(t, spec)
		}, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyShim}},
		{"shim stopped is alive", "exec sleep 60", func(t *testing.T, _ Spec, shim, _ int) {
			kill(t, shim, unix.SIGSTOP)
			t.Cleanup(func() { kill(t, shim, unix.SIGCONT) })
		}, api.FoundAlive, api.Outcome{}},
		{"alive", "exec sleep 60", func(*testing.T, Spec, int, int) {}, api.FoundAlive, api.Outcome{}},
		{"alive, records of a future version", "exec sleep 60", func(t *testing.T, spec Spec, _, _ int) {
			for _, name := range []string{ctl.Shim, ctl.Start, ctl.Claim, ctl.Spec} {
				b, err := os.ReadFile(filepath.Join(spec.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				text := strings.Replace(string(b), "v=1\n", "v=2\nmood=good\n", 1) + "later=5\n"
				if err := os.WriteFile(filepath.Join(spec.Dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, api.FoundAlive, api.Outcome{}},
		{"alive, spec and claim torn", "exec sleep 60", func(t *testing.T, spec Spec, _, _ int) {
			whole, err := os.ReadFile(filepath.Join(spec.Dir, ctl.Spec))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{ctl.Spec, ctl.Claim} {
				if err := os.Truncate(filepath.Join(spec.Dir, name), 2); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() { // whoever ends it wants to know whose it is
				if err := os.WriteFile(filepath.Join(spec.Dir, ctl.Spec), whole, 0o600); err != nil {
					t.Error(err)
				}
			})
		}, api.FoundAlive, api.Outcome{}},
		{"directory removed under a living attempt", "exec sleep 60", func(t *testing.T, spec Spec, _, _ int) {
			if err := os.RemoveAll(spec.Dir); err != nil {
				t.Fatal(err)
			}
		}, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyShim}},
		{"control files removed under a living attempt", "exec sleep 60", func(t *testing.T, spec Spec, _, _ int) {
			if err := os.RemoveAll(filepath.Join(spec.Dir, ctl.Dir)); err != nil {
				t.Fatal(err)
			}
		}, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyShim}},
	} {
		for _, how := range []string{"by its token", "by its group"} {
			t.Run(c.name+", "+how, func(t *testing.T) {
				s, spec := newSupervisor(t), shell(t, c.script)
				if how == "by its group" {
					s = grouped(t)
				}
				start(t, s, spec)
				e := wantStarted(t, s)
				_ = s.Close()
				c.then(t, spec, e.ShimPid, e.Pid)
				f, err := successor(t, s).Adopt(t.Context(), refOf(t, spec))
				if err != nil || f.Kind != c.kind {
					t.Fatalf("%+v, %v", f, err)
				}
				if c.kind == api.FoundAlive {
					if f.Pid != e.Pid || f.ShimPid != e.ShimPid {
						t.Errorf("adopted %d under %d, want %d under %d", f.Pid, f.ShimPid, e.Pid, e.ShimPid)
					}
					return
				}
				// With its records gone as well, only the group can prove it on every host.
				_, err = os.Stat(filepath.Join(spec.Dir, ctl.Shim))
				if f.Exit.Outcome != c.want || f.Exit.Unproven && (err == nil || how == "by its group") {
					t.Errorf("exit %+v", f.Exit)
				}
				if alive(e.Pid) {
					t.Error("the task lives")
				}
			})
		}
	}
}

func put(t *testing.T, spec Spec, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(spec.Dir, "work", name), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What shed its token cannot be proven to be the attempt's: it is told, and left alone.
func TestLostWithoutItsTokenIsUnproven(t *testing.T) {
	spec, shim := detached(t, `env -i /bin/sh -c 'echo $$ > bare; exec sleep 60' & echo $$ > leader; exec sleep 60`)
	bare, _ := strconv.Atoi(written(t, spec, "bare"))
	t.Cleanup(func() { kill(t, bare, unix.SIGKILL) })
	written(t, spec, "leader")
	kill(t, shim, unix.SIGKILL)
	waitFree(t, spec)
	f, err := newSupervisor(t).Adopt(t.Context(), refOf(t, spec))
	if err != nil || f.Kind != api.FoundLost || !f.Exit.Unproven || !strings.Contains(f.Words, strconv.Itoa(bare)) {
		t.Errorf("%+v, exit %+v, %v", f, f.Exit, err)
	}
	if !alive(bare) {
		t.Error("it was killed without proof")
	}
}
