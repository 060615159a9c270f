package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"groom/api"

	"golang.org/x/sys/unix"
)

// asRoot fails a test that changes users on a machine where it cannot: it is not passed over.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test changes users: run it as root")
	}
}

// open lets every user pass through the directories above an attempt, as a groom's local directory does.
func open(t *testing.T, spec Spec) {
	t.Helper()
	for dir := filepath.Dir(spec.Dir); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
}

// said is the output of an attempt that ended with code 0.
func said(t *testing.T, s *Supervisor, spec Spec) string {
	t.Helper()
	start(t, s, spec)
	e := wantEnded(t, s)
	out, gap := stream(t, spec, "stdout")
	errs, _ := stream(t, spec, "stderr")
	if e.Outcome != (api.Outcome{Kind: api.Exited}) || gap != 0 {
		t.Fatalf("exit %+v: %s%s", e, out, errs)
	}
	return string(out)
}

// lowered is what comes of an oom score below zero: some sandboxes do not let even root have one.
func lowered(t *testing.T, score int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	probe := exec.Command("/bin/sh", "-c", "echo -1 > /proc/self/oom_score_adj")
	if probe.Run() != nil {
		return own
	}
	return score
}

func ptr[T any](v T) *T { return &v }

const nobodyID = 65534 // user and group nobody, nogroup

func TestTaskHasSettingsOfItsOwn(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name   string
		own    Own
		script string
		want   string
	}{
		{"user by name", Own{User: "nobody"}, `echo $(id -u) $(id -g) $(id -G)`, "65534 65534 65534"},
		{"user by number", Own{User: "65534"}, `echo $(id -u) $(id -g)`, "65534 65534"},
		{"user and group", Own{User: "nobody", Group: "daemon"}, `echo $(id -u) $(id -g)`, "65534 1"},
		{"user without an entry", Own{User: "54321", Group: "54322"}, `echo $(id -u) $(id -g) $(id -G)`, "54321 54322 54322"},
		{"group alone", Own{Group: "daemon"}, `echo $(id -u) $(id -g)`, "0 1"},
		{"the groom's own user", Own{User: "root"}, `echo $(id -u) $(id -g)`, "0 0"},
		{"working directory is the user's", Own{User: "nobody"}, `echo x > new; stat -c %u:%g:%a . new`, "65534:65534:700\n65534:65534:644"},
		{"standard streams can be opened by name", Own{User: "nobody"}, `echo x > /dev/stderr; echo y > /dev/stdout`, "y"},
		{"umask", Own{Umask: ptr(uint32(0o027))}, `umask; : > new; stat -c %a new`, "0027\n640"},
		{"umask of nothing", Own{Umask: ptr(uint32(0))}, `umask`, "0000"},
		{"nofile", Own{Rlimits: map[string]Rlimit{"nofile": {40, 50}}}, `ulimit -Sn; ulimit -Hn`, "40\n50"},
		{"core, cpu, stack", Own{Rlimits: map[string]Rlimit{"core": {0, 0}, "cpu": {100, 200}, "stack": {4 << 20, Unlimited}}}, `ulimit -c; ulimit -St; ulimit -Ht; ulimit -Ss; ulimit -Hs`, "0\n100\n200\n4096\nunlimited"},
		{"address space and data below what a Go program needs", Own{Rlimits: map[string]Rlimit{"as": {64 << 20, 64 << 20}, "data": {32 << 20, 32 << 20}}}, `ulimit -v; ulimit -d`, "65536\n32768"},
		{"fsize, memlock", Own{Rlimits: map[string]Rlimit{"fsize": {1 << 20, 1 << 20}, "memlock": {64 << 10, 64 << 10}}}, `ulimit -f; ulimit -l`, "2048\n64"},
		{"nproc of a user of its own", Own{User: "54321", Group: "54321", Rlimits: map[string]Rlimit{"nproc": {7, 9}}}, `grep processes /proc/self/limits | tr -s ' '`, "Max processes 7 9 processes"},
		{"oom score", Own{OOMScore: ptr(321)}, `cat /proc/self/oom_score_adj`, "321"},
		{"oom score below zero, where root may", Own{OOMScore: ptr(-5)}, `cat /proc/self/oom_score_adj`, strconv.Itoa(lowered(t, -5))},
		{"all at once", Own{User: "nobody", Umask: ptr(uint32(0o077)), OOMScore: ptr(7), Rlimits: map[string]Rlimit{"nofile": {64, 64}}}, `id -u; umask; cat /proc/self/oom_score_adj; ulimit -n; echo $GROOM_SHIM_TASK$GOGC`, "65534\n0077\n7\n64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, spec := newSupervisor(t), shell(t, c.script)
			open(t, spec)
			spec.Own = c.own
			if got := strings.TrimSpace(said(t, s, spec)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The shim keeps what the groom has: a Go program that may not map memory dies.
func TestShimTakesNoneOfIt(t *testing.T) {
	asRoot(t)
	s, spec := newSupervisor(t), shell(t, "echo ready > ready; exec sleep 60")
	open(t, spec)
	spec.Own = Own{User: "nobody", Umask: ptr(uint32(0o777)), OOMScore: ptr(500), Rlimits: map[string]Rlimit{"as": {64 << 20, 64 << 20}, "nproc": {5, 5}}}
	start(t, s, spec)
	e := wantStarted(t, s)
	until(t, "an answer", func() bool { _, err := s.Ping(spec.ID); return err == nil })
	var as unix.Rlimit
	if err := unix.Prlimit(e.ShimPid, unix.RLIMIT_AS, nil, &as); err != nil || as.Cur == 64<<20 {
		t.Errorf("limit of the shim %+v, %v", as, err)
	}
	for pid, want := range map[int]int{e.ShimPid: lowered(t, -900), e.Pid: 500} {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); err != nil || strings.TrimSpace(string(b)) != strconv.Itoa(want) {
			t.Errorf("oom score of %d: %s, %v", pid, b, err)
		}
	}
	var owner unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", e.ShimPid), &owner); err != nil || owner.Uid != 0 {
		t.Errorf("user of the shim %d, %v", owner.Uid, err)
	}
	// The parent-death signal stands, although the user was changed since it was set.
	kill(t, e.ShimPid, unix.SIGKILL)
	if x := wantEnded(t, s); x.Outcome != (api.Outcome{Kind: api.Lost, Why: api.WhyShim}) || alive(e.Pid) {
		t.Errorf("exit %+v, task alive %v", x, alive(e.Pid))
	}
}

// A task of another user reaches its own directory by its name, and nothing that is the groom's or another attempt's.
func TestTaskOfAnotherUserIsShutOut(t *testing.T) {
	asRoot(t)
	s, other := newSupervisor(t), shell(t, "echo secret > secret; exec sleep 60")
	open(t, other)
	start(t, s, other)
	wantStarted(t, s)
	written(t, other, "secret")
	spec := shell(t, "")
	spec.ID = api.AttemptID("attempt_202611240915_0001_000003_1")
	open(t, spec)
	spec.Own = Own{User: "nobody"}
	spec.Argv[2] = fmt.Sprintf(`cd %s/work && echo own
		for f in %s/ctl/spec %s/ctl %s/log %s/ctl/spec %s/work %s/work/secret; do
			if ls $f >/dev/null 2>&1 || cat $f >/dev/null 2>&1; then echo reached $f; fi
		done; echo x > ../work/../forged || true`, spec.Dir, spec.Dir, spec.Dir, spec.Dir, other.Dir, other.Dir, other.Dir)
	if got := said(t, s, spec); got != "own\n" {
		t.Errorf("said %q", got)
	}
	if _, err := os.Stat(filepath.Join(spec.Dir, "forged")); err == nil {
		t.Error("the task wrote into the attempt's directory")
	}
}

// What the caller put into the working directory is the task's to change.
func TestArtifactsAreHandedOver(t *testing.T) {
	asRoot(t)
	s, spec := newSupervisor(t), shell(t, "echo more >> script && cat script; stat -c %u outside")
	open(t, spec)
	spec.Own = Own{User: "nobody"}
	script(t, &spec, "text\n", 0o644)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(spec.Dir, "work", "outside")); err != nil {
		t.Fatal(err)
	}
	if got := said(t, s, spec); got != "text\nmore\n65534\n" { // of the link, not of what it points to
		t.Errorf("said %q", got)
	}
	var st unix.Stat_t
	if err := unix.Stat(outside, &st); err != nil || st.Uid == nobodyID {
		t.Errorf("a file outside was given away: user %d, %v", st.Uid, err)
	}
}

func TestWhoCannotBeRunAs(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name  string
		own   Own
		close bool // a directory above
		words string
	}{
		{"unknown user", Own{User: "no-such-user"}, false, "no user no-such-user"},
		{"unknown group", Own{User: "nobody", Group: "no-such-group"}, false, "no group no-such-group"},
		{"unknown group of the groom's own user", Own{Group: "no-such-group"}, false, "no group no-such-group"},
		{"number without an entry and without a group", Own{User: "54321"}, false, "its group must be given"},
		{"number that is none", Own{User: "4294967295", Group: "0"}, false, "no user 4294967295"},
		{"negative number", Own{User: "-1", Group: "0"}, false, "no user -1"},
		{"directory above is closed", Own{User: "nobody"}, true, "may not pass through"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, spec := newSupervisor(t), shell(t, "echo ran > ran")
			open(t, spec)
			spec.Own = c.own
			if c.close {
				if err := os.Chmod(filepath.Dir(spec.Dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Start(t.Context(), spec)
			if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v", err)
			}
			if o := OutcomeOf(err); o.Kind != api.ExecFailed || !o.Counted() || !strings.Contains(o.String(), c.words) {
				t.Errorf("outcome %v", o)
			}
			if f, err := s.Adopt(t.Context(), refOf(t, spec)); err != nil || f.Kind != api.FoundUnborn {
				t.Errorf("next start: %+v, %v", f, err)
			}
		})
	}
}

// The last stage fails as its user: what it tells is exact.
func TestStageTellsWhatFailed(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name string
		edit func(*Spec)
		want api.Outcome
	}{
		{"no such command", func(s *Spec) { s.Argv = []string{"no-such-command"} }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOENT", Why: "no command no-such-command in PATH"}},
		{"no such path", func(s *Spec) { s.Argv = []string{"/no/such/file"} }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOENT", Why: "cannot execute /no/such/file"}},
		{"relative to the working directory", func(s *Spec) { s.Argv = []string{"./script"}; script(t, s, "#!/bin/sh\nexit 3\n", 0o755) }, api.Outcome{Kind: api.Exited, Code: 3}},
		{"interpreter is missing", func(s *Spec) { s.Argv = []string{"./script"}; script(t, s, "#!/no/such/interpreter\n", 0o755) }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOENT", Why: "cannot execute interpreter of ./script"}},
		{"not a program", func(s *Spec) { s.Argv = []string{"./script"}; script(t, s, "x", 0o755) }, api.Outcome{Kind: api.ExecFailed, Errno: "ENOEXEC", Why: "cannot execute ./script"}},
		{"executable for root alone", func(s *Spec) {
			dir := filepath.Join(filepath.Dir(s.Dir), "bin")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "program"), []byte("#!/bin/sh\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			s.Argv, s.Env = []string{"program"}, []string{"PATH=" + dir}
		}, api.Outcome{Kind: api.ExecFailed, Errno: "EACCES", Why: "no command program in PATH"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, spec := newSupervisor(t), shell(t, "exit 0")
			open(t, spec)
			spec.Own = Own{User: "nobody"}
			c.edit(&spec)
			start(t, s, spec)
			if e := wantEnded(t, s); e.Outcome != c.want {
				t.Errorf("exit %+v", e)
			}
		})
	}
}

// The user has a process already, and may not have another.
func TestNoProcessForItsUserIsNotStarted(t *testing.T) {
	asRoot(t)
	s, first, spec := newSupervisor(t), shell(t, "exec sleep 60"), shell(t, "echo ran > ran")
	first.ID = api.AttemptID("attempt_202611240915_0001_000003_1")
	for _, spec := range []*Spec{&first, &spec} {
		open(t, *spec)
		spec.Own = Own{User: "54399", Group: "54399"}
	}
	start(t, s, first)
	wantStarted(t, s)
	spec.Own.Rlimits = map[string]Rlimit{"nproc": {0, 0}}
	start(t, s, spec)
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.NotStarted, Why: "no process for /bin/sh: EAGAIN"}); e.Outcome != want {
		t.Errorf("exit %+v", e)
	}
}

// A groom that is not root runs the task all the same, and says what it could not give.
func TestWhatAUserMayNotRaiseIsTold(t *testing.T) {
	asRoot(t)
	spec := shell(t, "ulimit -Hn; cat /proc/self/oom_score_adj; exec sleep 60")
	open(t, spec)
	dir := filepath.Dir(spec.Dir)
	if err := os.Chown(dir, nobodyID, nobodyID); err != nil {
		t.Fatal(err)
	}
	spec.Own = Own{
		User: "nobody", Group: "nogroup", OOMScore: ptr(-500), Memory: 1 << 30,
		Rlimits: map[string]Rlimit{"nofile": {1 << 19, 1 << 30}, "core": {0, 0}},
	}
	var e Event
	runOnce(t, "start", spec, &e, func(o *onceOptions) { o.user = nobodyID; o.groom = "unprivileged" })
	cleanUpAfter(t, spec)
	words := strings.Join(e.Unenforced, "\n")
	for _, want := range []string{"nofile limit: operation not permitted", "oom score: permission denied", "memory limit of 1073741824 bytes: "} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not told in:\n%s", want, words)
		}
	}
	if strings.Contains(words, "core limit") || len(e.Unenforced) < 3 {
		t.Errorf("told:\n%s", words)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(e.Pid), &st); err != nil || st.Uid != nobodyID {
		t.Errorf("user %d, %v", st.Uid, err)
	}
	// Another user it refuses.
	spec.Dir, spec.Own = filepath.Join(dir, "second"), Own{User: "daemon"}
	if _, text := runOnceFails(t, "start", spec, func(o *onceOptions) { o.user = nobodyID }); !strings.Contains(text, "does not run as root") {
		t.Errorf("said %q", text)
	}
}
