package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"groom/api"
	"groom/supervisor/cgroup"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

// groomID is the id of a groom of its own. Whatever group it leaves is an error, and removed.
func groomID(t testing.TB) string {
	t.Helper()
	id := fmt.Sprintf("test%016x", rand.Uint64())
	t.Cleanup(func() {
		s := New(Options{Groom: id})
		defer s.Close()
		gone, err := s.Leftovers(context.Background(), nobody)
		if err != nil || len(gone) > 0 {
			t.Errorf("control groups left behind: %v, %v", gone, err)
		}
	})
	return id
}

// grouped is a supervisor whose attempts have control groups.
func grouped(t testing.TB) *Supervisor {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes control groups: run it as root")
	}
	s := New(Options{Groom: groomID(t)})
	t.Cleanup(func() { _ = s.Close() })
	if f := s.Facilities(); f.Unified == "" {
		t.Fatalf("this test wants a unified hierarchy: %s", strings.Join(f.Words(), "; "))
	}
	return s
}

// groups is what /proc tells of the groups of a process: unified and by controller.
func groups(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantGone(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
}

func TestTaskIsBornInItsGroup(t *testing.T) {
	for _, c := range []struct {
		name  string
		own   Own
		moved bool // as where processes cannot be born in a group
	}{
		{name: "born inside"},
		{name: "born inside, with a last stage", own: Own{Umask: ptr(uint32(0o022))}},
		{name: "moved before it is executed", moved: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, spec := grouped(t), shell(t, `cat /proc/self/cgroup > first; echo ready > ready; sleep 60 & setsid sleep 60 & exec sleep 60`)
			spec.Own = c.own
			s.groups.Born = s.groups.Born && !c.moved
			start(t, s, spec)
			e := wantStarted(t, s)
			written(t, spec, "ready")
			r, err := ctl.Read(spec.Dir, ctl.Spec)
			if err != nil {
				t.Fatal(err)
			}
			dir := r.Get("cgroup")
			at := "/" + filepath.Base(filepath.Dir(dir)) + "/" + string(spec.ID) + "\n"
			if first, _ := os.ReadFile(filepath.Join(spec.Dir, "work", "first")); !strings.Contains(string(first), at) {
				t.Errorf("its first act was in %s, want %s", first, at)
			}
			if strings.Contains(groups(t, e.ShimPid), string(spec.ID)) {
				t.Error("the shim is in the task's group")
			}
			if len(e.Unenforced) > 0 {
				t.Errorf("unenforced: %v", e.Unenforced)
			}
			if err := s.Stop(spec.ID, Order{By: api.ByKill, Signal: "SIGKILL"}); err != nil {
				t.Fatal(err)
			}
			if x := wantEnded(t, s); x.Outcome.By != api.ByKill {
				t.Errorf("exit %+v", x)
			}
			wantGone(t, dir, filepath.Dir(dir))
		})
	}
}

// What sheds its token and its session is still in the group: killed, and proven.
func TestLostShimIsProvenByTheGroup(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(t *testing.T, s *Supervisor, spec Spec)
	}{
		{"watched", nil},
		{"adopted", func(t *testing.T, s *Supervisor, spec Spec) { _ = s.Close() }},
		{"adopted, spec torn", func(t *testing.T, s *Supervisor, spec Spec) {
			_ = s.Close()
			if err := os.Truncate(filepath.Join(spec.Dir, ctl.Spec), 3); err != nil {
				t.Fatal(err)
			}
		}},
		{"adopted, directory gone", func(t *testing.T, s *Supervisor, spec Spec) {
			_ = s.Close()
			if err := os.RemoveAll(spec.Dir); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := grouped(t)
			spec := shell(t, `env -i setsid /bin/sh -c 'echo $$ > bare; exec sleep 60' & echo $$ > leader; exec sleep 60`)
			start(t, s, spec)
			e := wantStarted(t, s)
			bare, _ := strconv.Atoi(written(t, spec, "bare"))
			written(t, spec, "leader")
			if c.then != nil {
				c.then(t, s, spec)
			}
			killWhole(t, e.ShimPid)
			var x *Exit
			if c.then == nil {
				x = wantEnded(t, s)
			} else {
				f, err := successor(t, s).Adopt(t.Context(), refOf(t, spec))
				if err != nil || f.Kind != api.FoundLost {
					t.Fatalf("%+v, %v", f, err)
				}
				x = f.Exit
			}
			if x.Outcome != (api.Outcome{Kind: api.Lost, Why: api.WhyShim}) || x.Unproven || !strings.Contains(x.Words, "is empty") {
				t.Errorf("exit %+v", x)
			}
			if alive(bare) || alive(e.Pid) {
				t.Errorf("alive: grandchild %v, task %v", alive(bare), alive(e.Pid))
			}
			if g := s.groups.Of(string(spec.ID)); !g.None() {
				t.Errorf("left: %+v", g)
			}
		})
	}
}

// killWhole kills a process and waits until the last of its threads has gone, which may hold its files longer than the
// first.
func killWhole(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	kill(t, pid, unix.SIGKILL)
	if !pidfdWait(fd, eventually) {
		t.Fatalf("process %d does not end", pid)
	}
}

// successor is the next start of the same groom.
func successor(t *testing.T, s *Supervisor) *Supervisor {
	t.Helper()
	next := newSupervisor(t)
	next.groups = s.groups
	return next
}

func TestKilledWhileAGroupIsEnded(t *testing.T) {
	for _, point := range []string{"supervisor.before-group-kill", "supervisor.after-group-end"} {
		t.Run(point, func(t *testing.T) { killedWhileAGroupIsEnded(t, point) })
	}
}

func killedWhileAGroupIsEnded(t *testing.T, point string) {
	s := grouped(t)
	spec := shell(t, "echo $$ > leader; exec sleep 60")
	start(t, s, spec)
	e := wantStarted(t, s)
	written(t, spec, "leader")
	groom := groomOf(s)
	_ = s.Close()
	kill(t, e.ShimPid, unix.SIGKILL)
	waitFree(t, spec)
	if !runOnce(t, "adopt", spec, nil, func(o *onceOptions) { o.groom, o.point = groom, point }) {
		t.Fatal("was not killed")
	}
	var f Finding
	runOnce(t, "adopt", spec, &f, func(o *onceOptions) { o.groom = groom })
	if f.Kind != api.FoundLost || f.Exit.Unproven || !s.groups.Of(string(spec.ID)).None() {
		t.Errorf("next start: %+v, exit %+v", f, f.Exit)
	}
}

func TestKilledBetweenTwoLeftovers(t *testing.T) {
	s, spec := grouped(t), shell(t, "")
	for _, name := range []string{"attempt_202611240915_0001_000001_1", "attempt_202611240915_0001_000002_1"} {
		if g, _ := s.groups.Make(name, cgroup.Limits{Pids: 5}); g.None() {
			t.Fatal("no group was made")
		}
	}
	if !runOnce(t, "leftovers", spec, nil, func(o *onceOptions) { o.groom, o.point = groomOf(s), "supervisor.before-leftover#2" }) {
		t.Fatal("was not killed")
	}
	if left := s.groups.Leftovers(); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	var gone []api.AttemptID
	runOnce(t, "leftovers", spec, &gone, func(o *onceOptions) { o.groom = groomOf(s) })
	if len(gone) != 1 || len(s.groups.Leftovers()) != 0 {
		t.Errorf("next start: %v", gone)
	}
}

// A group that the tables know of nobody is ended with all that is in it; one that they know is left.
func TestLeftovers(t *testing.T) {
	s, known, other := grouped(t), shell(t, "exec sleep 60"), shell(t, "exec sleep 60")
	other.ID = api.AttemptID("attempt_202611240915_0001_000003_1")
	start(t, s, known)
	k := wantStarted(t, s)
	start(t, s, other)
	o := wantStarted(t, s)
	gone, err := s.Leftovers(t.Context(), func(id api.AttemptID) bool { return id == known.ID })
	if err != nil || len(gone) != 1 || gone[0] != other.ID {
		t.Errorf("%v, %v", gone, err)
	}
	if alive(o.Pid) || !alive(k.Pid) {
		t.Errorf("alive: unknown %v, known %v", alive(o.Pid), alive(k.Pid))
	}
	if x := wantEnded(t, s); x.Outcome != (api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers}) {
		t.Errorf("exit %+v", x)
	}
	if err := s.Stop(known.ID, Order{By: api.ByKill}); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, s)
}

func TestLimitsOfAnAttempt(t *testing.T) {
	const hog = `exec awk 'BEGIN { s = "x"; while (1) s = s s }'`
	oom := api.Outcome{Kind: api.OOM}
	for _, c := range []struct {
		name   string
		own    Own
		script string
		want   api.Outcome
		words  string
	}{
		{"memory: the task is killed by the kernel", Own{Memory: 64 << 20}, hog, oom, "out of memory"},
		{"memory: a child is killed, the task's own code stands", Own{Memory: 64 << 20}, "sh -c \"" + strings.ReplaceAll(strings.TrimPrefix(hog, "exec "), `"`, `\"`) + "\"; exit 6", api.Outcome{Kind: api.Exited, Code: 6}, "1 of its processes were killed by the kernel"},
		{"memory: enough of it", Own{Memory: 64 << 20}, "exit 0", api.Outcome{Kind: api.Exited}, ""},
		{"memory: killed by another is not for want of it", Own{Memory: 64 << 20}, "kill -KILL $$", api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers}, ""},
		{"pids: no further process", Own{Pids: 1}, "(exit 0) && exit 1; exit 7", api.Outcome{Kind: api.Exited, Code: 2}, ""},
		{"pids: as many as it needs", Own{Pids: 5}, "(exit 0) && exit 7", api.Outcome{Kind: api.Exited, Code: 7}, ""},
		{"cpu and all, as another user", Own{User: "nobody", CPU: 0.5, Pids: 9, Memory: 64 << 20}, "exit 7", api.Outcome{Kind: api.Exited, Code: 7}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, spec := grouped(t), shell(t, c.script)
			open(t, spec)
			spec.Own = c.own
			start(t, s, spec)
			started := wantStarted(t, s)
			if len(started.Unenforced) > 0 {
				t.Fatalf("not enforced: %v", started.Unenforced)
			}
			e := wantEnded(t, s)
			if e.Outcome != c.want || !strings.Contains(e.Words, c.words) {
				errs, _ := stream(t, spec, "stderr")
				t.Errorf("exit %+v\n%s", e, errs)
			}
			if g := s.groups.Of(string(spec.ID)); !g.None() {
				t.Errorf("left: %+v", g)
			}
		})
	}
}

// Killed by groom's own order is groom's, even when the kernel had killed another process of the attempt before.
func TestKillByOrderIsNotOOM(t *testing.T) {
	s, spec := grouped(t), shell(t, `sh -c 'awk "BEGIN { s = \"x\"; while (1) s = s s }"'; echo ready > ready; exec sleep 60`)
	spec.Own.Memory = 64 << 20
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	if err := s.Stop(spec.ID, Order{By: api.ByKill}); err != nil {
		t.Fatal(err)
	}
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByKill}); e.Outcome != want || e.OOMKills != 1 {
		t.Errorf("exit %+v", e)
	}
}

// Half a processor is half a processor: a task that burns both its time and the clock's shows it.
func TestHalfAProcessor(t *testing.T) {
	s, spec := grouped(t), shell(t, `exec sh -c 'while :; do :; done'`)
	spec.Own.CPU = 0.25
	start(t, s, spec)
	wantStarted(t, s)
	dir := ""
	for _, d := range append(s.groups.Of(string(spec.ID)).Others, s.groups.Of(string(spec.ID)).Unified) {
		if _, err := os.Stat(filepath.Join(d, "cpu.stat")); err == nil && strings.Contains(read(t, d, "cpu.stat"), "nr_throttled") {
			dir = d
		}
	}
	until(t, "the kernel to hold it back", func() bool {
		for line := range strings.Lines(read(t, dir, "cpu.stat")) {
			if n, ok := strings.CutPrefix(line, "nr_throttled "); ok && strings.TrimSpace(n) != "0" {
				return true
			}
		}
		return false
	})
	if err := s.Stop(spec.ID, Order{By: api.ByKill}); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, s)
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A host without control groups runs the attempt, and says per limit why it is not enforced.
func TestWithoutGroupsEveryLimitIsTold(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "exit 0")
	spec.Own = Own{Memory: 1 << 20, CPU: 1.5, Pids: 3}
	start(t, s, spec)
	e := wantStarted(t, s)
	if len(e.Unenforced) != 3 || !strings.HasPrefix(e.Unenforced[0], "memory limit of 1048576 bytes: ") ||
		!strings.HasPrefix(e.Unenforced[1], "cpu limit of 1.5 processors: ") || !strings.HasPrefix(e.Unenforced[2], "pids limit of 3 processes: ") {
		t.Errorf("told %q", e.Unenforced)
	}
	if x := wantEnded(t, s); x.Outcome != (api.Outcome{Kind: api.Exited}) {
		t.Errorf("exit %+v", x)
	}
}

// A group that is gone when the task is to be born leaves an attempt that was not started.
func TestGroupThatWentIsNotStarted(t *testing.T) {
	for name, own := range map[string]Own{"born": {}, "staged": {Umask: ptr(uint32(0o022))}, "moved": {}} {
		t.Run(name, func(t *testing.T) {
			s, spec := grouped(t), shell(t, "echo ran > ran")
			spec.Own = own
			s.groups.Born = name != "moved"
			for _, dir := range []string{ctl.Dir, ctl.Log, ctl.Work} {
				if err := os.MkdirAll(filepath.Join(spec.Dir, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			group, _ := s.groups.Make(string(spec.ID), cgroup.Limits{})
			if err := group.End(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			b := spec.record(nil, group, nil).Bytes()
			if err := os.WriteFile(filepath.Join(spec.Dir, ctl.Spec), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if code := runShim(t, spec); code != 0 {
				t.Errorf("the shim ended with %d", code)
			}
			f, err := s.Adopt(t.Context(), refOf(t, spec))
			want := api.Outcome{Kind: api.NotStarted, Why: "its control group did not take it: ENOENT"}
			if err != nil || f.Kind != api.FoundUnborn || f.Exit.Outcome != want {
				t.Errorf("%+v, exit %+v, %v", f, f.Exit, err)
			}
		})
	}
}

// What a record names is killed, so a record that names another group is not believed.
func TestForeignGroupsAreNotBelieved(t *testing.T) {
	s := grouped(t)
	top := s.Facilities().Unified
	id := string(testID)
	for _, dir := range []string{top, "/", "/tmp/groom-x/" + id, filepath.Join(top, id), filepath.Join(top, "system.slice", id), top + "/groom-x/../" + id, top + "/groom-x/other"} {
		if g := groupIn(ctl.Record{}.Add("cgroup", dir).Add("join", dir), testID); !g.None() {
			t.Errorf("%s was believed", dir)
		}
	}
	if g := groupIn(ctl.Record{}.Add("cgroup", filepath.Join(top, "groom-x", id)), testID); g.None() {
		t.Error("its own group was not believed")
	}
}
