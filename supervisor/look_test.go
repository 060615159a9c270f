package supervisor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

// listing is every file below dir with its size and when it was changed.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime().UnixNano()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLookAtTheLiving(t *testing.T) {
	s := newSupervisor(t)
	spec := shell(t, "sleep 600")
	start(t, s, spec)
	e := wantStarted(t, s)
	f, err := Look(refOf(t, spec))
	if err != nil || f.Kind != api.FoundAlive || f.Pid != e.Pid || f.ShimPid != e.ShimPid {
		t.Errorf("%+v, %v; it is %+v", f, err, e)
	}
	if !alive(e.Pid) || !alive(e.ShimPid) {
		t.Error("the look ended it")
	}
}

// The shim was killed and something of the task lives on: Adopt would kill it, a look only tells.
func TestLookKillsNothing(t *testing.T) {
	s := newSupervisor(t)
	spec := shell(t, "setsid sleep 600 & echo $! > other; sleep 600")
	start(t, s, spec)
	e := wantStarted(t, s)
	var other int
	if _, err := fmt.Sscan(written(t, spec, "other"), &other); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // as after a kill of the groom: nobody settles what is found
		t.Fatal(err)
	}
	kill(t, e.ShimPid, unix.SIGKILL)
	until(t, "the lock to come free", func() bool {
		held, err := ctl.Held(spec.Dir)
		return err == nil && !held
	})
	f, err := Look(refOf(t, spec))
	if err != nil || f.Kind != api.FoundLost || !strings.Contains(f.Words, "processes are left") {
		t.Errorf("%+v, exit %+v, %v", f, f.Exit, err)
	}
	if !alive(other) {
		t.Error("the look killed what was left")
	}
	if f, err = newSupervisor(t).Adopt(t.Context(), refOf(t, spec)); err != nil || f.Kind != api.FoundLost || alive(other) {
		t.Errorf("%+v, %v", f, err)
	}
}

// Where Adopt would wait, claim or give up, a look says only what it sees.
func TestLookDoesNotWait(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"being born":   {ctl.Lock: ""},
		"a reused pid": {ctl.Lock: "", ctl.Shim: "v=1\npid=4194303\nstart=1\ninode=1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := fabricated(t, files)
			hold(t, spec)
			before := len(listing(t, spec.Dir))
			f, err := Look(refOf(t, spec))
			if err != nil || f.Kind != api.FoundUnknown || f.Exit != nil {
				t.Errorf("%+v, %v", f, err)
			}
			if n := len(listing(t, spec.Dir)); n != before {
				t.Errorf("%d files, were %d", n, before)
			}
		})
	}
}
