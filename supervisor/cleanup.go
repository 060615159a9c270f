package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"groom/api"
	"groom/fault"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

// CleanUp removes the attempt directory that name stands for below root. It refuses one whose lock is held. It never
// follows a link, and never enters another device.
//
// ctl/ goes last: killed halfway, the rest is still known for an attempt's directory, and is removed the next time.
func CleanUp(root *os.Root, name string) error {
	if err := cleanUp(root, name); err != nil {
		return fmt.Errorf("clean up %s: %w", name, err)
	}
	return nil
}

func cleanUp(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: not a directory", fs.ErrInvalid)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	device, err := deviceOf(dir, ".")
	if err != nil {
		return err
	}
	if above, err := deviceOf(root, "."); err != nil || above != device {
		return errors.Join(ErrForeign, err)
	}
	lock, err := dir.OpenFile(ctl.Lock, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err == nil {
		defer lock.Close()
		// The lock is kept until the directory has gone, so that it cannot be taken for a living attempt's in between.
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return ErrAlive
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The group that ctl/spec names goes before the file that names it.
	if b, err := dir.ReadFile(ctl.Spec); err == nil {
		if spec, err := ctl.Parse(b); err == nil {
			if err := groupIn(spec, api.AttemptID(spec.Get("id"))).End(context.Background(), killWait); err != nil {
				return err
			}
		}
	}
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == ctl.Dir {
			continue
		}
		fault.Point("supervisor.before-remove")
		if err := removeTree(dir, e.Name(), device); err != nil {
			return err
		}
	}
	fault.Point("supervisor.before-remove-ctl")
	if err := removeTree(dir, ctl.Dir, device); err != nil {
		return err
	}
	return root.Remove(name)
}

func removeTree(root *os.Root, name string, device uint64) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return root.Remove(name) // a link is removed, not what it points to
	}
	if d, err := deviceOf(root, name); err != nil || d != device {
		return errors.Join(ErrForeign, err)
	}
	if info.Mode().Perm()&0o700 != 0o700 {
		// A task may have closed its own directory. Without the right to it the removal below says so.
		_ = root.Chmod(name, 0o700)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := removeTree(dir, e.Name(), device); err != nil {
			return err
		}
	}
	return root.Remove(name)
}

func deviceOf(root *os.Root, name string) (uint64, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return uint64(st.Dev), nil
}
