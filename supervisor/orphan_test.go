package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"groom/api"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

func nobody(api.AttemptID) bool { return false }

func TestOrphans(t *testing.T) {
	spec, _ := detached(t, `setsid sh -c 'echo $$ > far; exec sleep 60' & exec sleep 60`)
	far, _ := strconv.Atoi(written(t, spec, "far"))
	s, above := newSupervisor(t), filepath.Dir(spec.Dir)
	// One that has ended, and a directory that is none, lie beside it.
	for _, dir := range []string{"ended/ctl", "other/ctl"} {
		if err := os.MkdirAll(filepath.Join(above, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(above, "ended", ctl.Lock), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	known := func(id api.AttemptID) bool { return id == spec.ID }
	if found, err := s.Orphans(t.Context(), above, known); err != nil || len(found) != 0 || !alive(far) {
		t.Fatalf("what the tables know: %+v, %v, alive %v", found, err, alive(far))
	}
	found, err := s.Orphans(t.Context(), above, nobody)
	if err != nil || len(found) != 1 || found[0].ID != spec.ID || !found[0].Killed || found[0].ShimPid == 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	if alive(far) {
		t.Error("its grandchild lives")
	}
	if found, err := s.Orphans(t.Context(), above, nobody); err != nil || len(found) != 0 {
		t.Errorf("a second time: %+v, %v", found, err)
	}
}

func TestOrphanOfAShimThatDoesNotAnswer(t *testing.T) {
	spec, shim := detached(t, `setsid sh -c 'echo $$ > far; exec sleep 60' & exec sleep 60`)
	far, _ := strconv.Atoi(written(t, spec, "far"))
	kill(t, shim, unix.SIGSTOP)
	found, err := newSupervisor(t).Orphans(t.Context(), filepath.Dir(spec.Dir), nobody)
	if err != nil || len(found) != 1 || !found[0].Killed {
		t.Errorf("%+v, %v", found, err)
	}
	if alive(far) || alive(shim) {
		t.Errorf("alive: grandchild %v, shim %v", alive(far), alive(shim))
	}
}

func TestOrphanThatCannotBeNamedIsTold(t *testing.T) {
	spec := fabricated(t, map[string]string{ctl.Lock: ""})
	hold(t, spec)
	found, err := newSupervisor(t).Orphans(t.Context(), filepath.Dir(spec.Dir), nobody)
	if err != nil || len(found) != 1 || found[0].Killed || found[0].Dir != spec.Dir || found[0].Words == "" {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestOrphanWithAStrangerInItsPlace(t *testing.T) {
	spec := fabricated(t, map[string]string{
		ctl.Lock: "", ctl.Spec: "v=1\nid=x\n", ctl.Shim: "v=1\npid=" + strconv.Itoa(os.Getpid()) + "\nstart=1\ninode=1\n",
	})
	hold(t, spec)
	ctx, cancel := context.WithCancel(t.Context())
	known := func(api.AttemptID) bool { cancel(); return false } // do not wait for the whole of its time
	found, err := newSupervisor(t).Orphans(ctx, filepath.Dir(spec.Dir), known)
	if err != nil && !errors.Is(err, context.Canceled) || len(found) != 1 || found[0].Killed {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestCleanUp(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := fabricated(t, map[string]string{ctl.Lock: "", ctl.Spec: "v=1\n", "log/stdout.0": "x", "work/a/b/c": "x"})
	for name, target := range map[string]string{"work/link": outside, "work/up": filepath.Dir(outside), "work/dangling": "/no/such"} {
		if err := os.Symlink(target, filepath.Join(spec.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(spec.Dir, "work/closed"), 0); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Dir(spec.Dir))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	name := filepath.Base(spec.Dir)

	fd, err := ctl.TakeLock(spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := CleanUp(root, name); !errors.Is(err, ErrAlive) {
		t.Errorf("while its lock is held: %v", err)
	}
	if _, err := os.Stat(filepath.Join(spec.Dir, "work/a/b/c")); err != nil {
		t.Errorf("a living attempt lost a file: %v", err)
	}
	_ = unix.Close(fd)
	if err := CleanUp(root, name); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(spec.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	if err := CleanUp(root, name); err != nil {
		t.Errorf("what has gone already: %v", err)
	}
	for _, name := range []string{"..", "/etc", "../" + filepath.Base(root.Name())} {
		if err := CleanUp(root, name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(root.Name(), "link")); err != nil {
		t.Fatal(err)
	}
	if err := CleanUp(root, "link"); err == nil {
		t.Error("a link was taken for an attempt")
	}
}
