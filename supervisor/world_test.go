package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"
	"groom/supervisor/cgroup"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

// otherSpace is a pid namespace of its own, with an attempt that was started in it. Its first process lives as long as
// its input is open.
type otherSpace struct {
	cmd *exec.Cmd
	in  io.Closer
	ref Ref
	e   Event
}

func startElsewhere(t *testing.T, spec Spec, groom string) *otherSpace {
	t.Helper()
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "/bin/sh", "-c", `readlink /proc/self/ns/pid && "$@" && read end`, "sh",
		binary(t, "once"), "start", groom, string(b))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &otherSpace{cmd: cmd, in: in, ref: refOf(t, spec)}
	t.Cleanup(o.end)
	lines := bufio.NewReader(out)
	link, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("no pid namespace: %v", err)
	}
	if o.ref.PIDNS, err = strconv.ParseUint(strings.Trim(link, "pid:[]\n"), 10, 64); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(lines).Decode(&o.e); err != nil || o.e.Kind != Started {
		t.Fatalf("%+v, %v", o.e, err)
	}
	return o
}

// end takes the namespace away with all that is in it.
func (o *otherSpace) end() {
	if o.in != nil {
		_ = o.in.Close()
		_ = o.cmd.Wait()
		o.in = nil
	}
}

// runs says whether anything carries the token of the attempt, in whatever namespace.
func runs(t *testing.T, spec Spec) bool {
	t.Helper()
	found, err := scan([]byte(EnvToken+"="+spec.Token), 0, 0, map[int]bool{})
	if err != nil {
		t.Fatal(err)
	}
	return len(found.marked) > 0
}

// A container was restarted, or lives beside this one: no pid of there means anything here.
func TestAdoptFromAnotherPidNamespace(t *testing.T) {
	for _, c := range []struct {
		name     string
		grouped  bool
		then     func(t *testing.T, o *otherSpace, spec Spec)
		kind     api.Finding
		want     api.Outcome
		unproven bool
		words    string
		runs     bool
	}{
		{"it lives", false, nil, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true, "out of reach", true},
		{"it lives, and the attempt has a group", true, nil, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyShim}, false, "killed through their control group", false},
		{"it has gone", false, func(_ *testing.T, o *otherSpace, _ Spec) { o.end() }, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyReboot}, false, "its pid namespace has gone", false},
		{"it has gone, and left a group", true, func(_ *testing.T, o *otherSpace, _ Spec) { o.end() }, api.FoundLost, api.Outcome{Kind: api.Lost, Why: api.WhyReboot}, false, "its pid namespace has gone", false},
		{"the attempt had ended", false, func(t *testing.T, o *otherSpace, spec Spec) {
			put(t, spec, "go")
			waitFree(t, spec)
			o.end()
		}, api.FoundEnded, api.Outcome{Kind: api.Exited, Code: 5}, false, "another pid namespace, and its shim left an exit record", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			groom, s := "", newSupervisor(t)
			if c.grouped {
				s = grouped(t)
				groom = groomOf(s)
			}
			spec := shell(t, "while [ ! -s go ]; do sleep 0.01; done; exit 5")
			o := startElsewhere(t, spec, groom)
			if c.then != nil {
				c.then(t, o, spec)
			}
			f, err := s.Adopt(t.Context(), o.ref)
			if err != nil || f.Kind != c.kind || f.Exit.Outcome != c.want || f.Exit.Unproven != c.unproven || !strings.Contains(f.Words, c.words) {
				t.Errorf("%+v, exit %+v, %v", f, f.Exit, err)
			}
			if got := runs(t, spec); got != c.runs {
				t.Errorf("runs %v", got)
			}
			if c.grouped {
				until(t, "the group to go", func() bool {
					_, err := s.Leftovers(t.Context(), nobody)
					return err == nil && s.groups.Of(string(spec.ID)).None()
				})
			}
		})
	}
}

func groomOf(s *Supervisor) string {
	return strings.TrimPrefix(filepath.Base(s.groups.Path()), "groom-")
}

// A groom is upgraded in place: the file that the shims of the old one run from is gone, and another stands there.
func TestBinaryReplacedWhileShimsLive(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "once")
	old, err := os.ReadFile(binary(t, "once"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, old, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := shell(t, "trap 'echo heard >> heard; exit 5' TERM; echo ready > ready; while :; do sleep 0.01; done")
	spec.Own.Umask = ptr(uint32(0o022)) // its last stage is of the old file, too
	var e Event
	runOnce(t, "start", spec, &e, func(o *onceOptions) { o.bin = file })
	cleanUpAfter(t, spec)
	written(t, spec, "ready")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags=-X main.build=another", "-o", file, "./testdata/once")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", e.ShimPid)); err != nil || !strings.HasSuffix(link, "(deleted)") {
		t.Errorf("the shim runs %s, %v", link, err)
	}
	var end Event
	runOnce(t, "stop", spec, &end, func(o *onceOptions) { o.bin = file })
	if end.Exit == nil || end.Exit.Outcome != (api.Outcome{Kind: api.Exited, Code: 5}) || end.ShimPid != e.ShimPid {
		t.Errorf("%+v, exit %+v", end, end.Exit)
	}
}

// The file of a groom that runs is replaced by something that cannot run: what it starts from then on is still itself.
func TestGroomWhoseFileIsGoneStartsItself(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "agent")
	b, err := os.ReadFile(binary(t, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	cmd := exec.CommandContext(t.Context(), file, root, "40", groomID(t))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the first task", func() bool { b, _ := os.ReadFile(filepath.Join(root, "journal")); return len(b) > 0 })
	if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte("not a program"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "ALLDONE") {
		t.Fatalf("%v: %s", err, &out)
	}
	readHistory(t, root).check(t, root, 40)
}

// An executable that stays open for writing is given up after a while, by either way to the task.
func TestBusyExecutableIsGivenUp(t *testing.T) {
	for name, own := range map[string]Own{"born": {}, "staged": {Umask: ptr(uint32(0o022))}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, spec := newSupervisor(t), shell(t, "")
			spec.Argv, spec.Own = []string{"./script"}, own
			script(t, &spec, "#!/bin/sh\n", 0o755)
			f, err := os.OpenFile(filepath.Join(spec.Dir, "work", "script"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			start(t, s, spec)
			want := api.Outcome{Kind: api.ExecFailed, Errno: "ETXTBSY", Why: "cannot execute ./script"}
			if e := wantEnded(t, s); e.Outcome != want {
				t.Errorf("exit %+v", e)
			}
		})
	}
}

// The attempt's directory cannot be made: nothing is forked, and nothing ever will be.
func TestDirectoryThatCannotBeMade(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, spec *Spec)
		want error
	}{
		{"read-only file system", func(t *testing.T, spec *Spec) {
			above := filepath.Dir(spec.Dir)
			smallDisk(t, above, 64<<10)
			if err := unix.Mount("", above, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		}, unix.EROFS},
		{"turns read-only after it was made", func(t *testing.T, spec *Spec) {
			smallDisk(t, spec.Dir, 64<<10)
			for _, dir := range []string{ctl.Work, ctl.Log} {
				if err := os.Mkdir(filepath.Join(spec.Dir, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Mount("", spec.Dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		}, unix.EROFS},
		{"a file above", func(t *testing.T, spec *Spec) {
			if err := os.WriteFile(spec.Dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			spec.Dir = filepath.Join(spec.Dir, "attempt")
		}, unix.ENOTDIR},
		{"a name that is too long", func(_ *testing.T, spec *Spec) {
			spec.Dir = filepath.Join(spec.Dir, strings.Repeat("x", 300))
		}, unix.ENAMETOOLONG},
		{"no room for the spec", func(t *testing.T, spec *Spec) {
			fill, _ := smallDisk(t, spec.Dir, 64<<10)
			fill()
		}, unix.ENOSPC},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, spec := newSupervisor(t), shell(t, "echo ran > ran")
			c.make(t, &spec)
			if err := s.Start(t.Context(), spec); !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
			f, err := s.Adopt(t.Context(), refOf(t, spec))
			if c.want == unix.ENOTDIR || c.want == unix.ENAMETOOLONG {
				return // what cannot be looked at decides nothing
			}
			if err != nil || f.Kind != api.FoundUnborn {
				t.Errorf("next start: %+v, %v", f, err)
			}
		})
	}
}

// A disk with room for ever more files: the attempt fails at every file that is made for it, one after the other. It
// never runs twice, and its end, once there is room, is exact.
func TestRoomForEverMoreFiles(t *testing.T) {
	for inodes, succeeded := 2, false; !succeeded; inodes++ {
		t.Run(strconv.Itoa(inodes), func(t *testing.T) {
			s, spec := newSupervisor(t), shell(t, "echo ran; exit 3")
			smallDisk(t, spec.Dir, 256<<10)
			resize := func(n int) {
				if err := unix.Mount("", spec.Dir, "", unix.MS_REMOUNT, fmt.Sprintf("nr_inodes=%d", n)); err != nil {
					t.Fatal(err)
				}
			}
			resize(inodes)
			if err := s.Start(t.Context(), spec); err != nil {
				if !errors.Is(err, unix.ENOSPC) {
					t.Errorf("got %v", err)
				}
				if f, err := s.Adopt(t.Context(), refOf(t, spec)); err != nil || f.Kind != api.FoundUnborn {
					t.Errorf("next start: %+v, %v", f, err)
				}
				return
			}
			cleanUpAfter(t, spec)
			select {
			case e := <-s.Events():
				if e.Kind == Ended {
					if e.Exit.Outcome.Kind != api.NotStarted {
						t.Errorf("exit %+v", e.Exit)
					}
					return
				}
			case <-time.After(300 * time.Millisecond): // it waits for room to say how it ended
			}
			resize(100)
			e := wantEnded(t, s)
			switch e.Outcome.Kind {
			case api.NotStarted:
			case api.Exited:
				succeeded = e.Outcome.Code == 3 && e.Dropped == 0
				if e.Outcome.Code != 3 {
					t.Errorf("exit %+v", e)
				}
			default:
				t.Errorf("exit %+v", e)
			}
		})
		if inodes > 40 {
			t.Fatal("it never succeeded")
		}
	}
}

// A host with room for ever more processes: whatever cannot be forked, the end is one of those that are true of it.
func TestRoomForEverMoreProcesses(t *testing.T) {
	p := cgroup.New(groomID(t))
	forked, refused := false, false
	// Where a shim is refused lies between the threads that the starter has by chance and one more: it is hit by one
	// ramp in most cases, and by one of ten as good as always.
	for n, ramps := 4, 1; !forked || !refused && ramps < 10; n++ {
		if n > 60 {
			t.Fatal("it never succeeded")
		}
		if forked {
			n, forked = 4, false
			ramps++
		}
		g, unenforced := p.Make("processes", cgroup.Limits{Pids: int64(n)})
		if len(unenforced) > 0 {
			t.Fatal(unenforced)
		}
		spec := shell(t, "exit 3")
		b, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		enter := "exec \"$@\""
		for _, dir := range append(g.Others, g.Unified) {
			enter = "echo 0 > " + dir + "/cgroup.procs && " + enter
		}
		ctx, cancel := context.WithTimeout(t.Context(), eventually)
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", enter, "sh", binary(t, "once"), "start", "", string(b))
		out, err := cmd.CombinedOutput()
		cancel()
		text := string(out)
		if strings.Contains(text, "fork shim: resource temporarily unavailable") {
			refused = true
		}
		waitFreeOrNone(t, spec)
		f, adoptErr := newSupervisor(t).Adopt(t.Context(), refOf(t, spec))
		if adoptErr != nil {
			t.Fatal(adoptErr)
		}
		switch o := f.Exit.Outcome; {
		case o.Kind == api.NotStarted: // forked by nobody, or not by the shim
		case o.Kind == api.Lost && o.Why == api.WhyShim && !f.Exit.Unproven: // the shim itself had no room for a thread
		case o.Kind == api.Exited && o.Code == 3:
			forked = err == nil
		case o.Kind == api.Exited && o.Code == 2 && n < 60: // the shell could not fork: its own word
		default:
			t.Errorf("room for %d: %+v after %v: %s", n, f.Exit, err, text)
		}
		if err := g.End(t.Context(), killWait); err != nil {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Error("no shim was ever refused")
	}
}

func waitFreeOrNone(t *testing.T, spec Spec) {
	t.Helper()
	until(t, "the lock to come free", func() bool {
		held, err := ctl.Held(spec.Dir)
		return err != nil || !held
	})
}
