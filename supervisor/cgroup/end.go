package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Between two looks at a group that has been told to end.
const (
	firstPause = 200 * time.Microsecond
	lastPause  = 20 * time.Millisecond
)

// ErrPopulated is returned when a group still holds a process after its time.
var ErrPopulated = errors.New("control group is not empty")

// None says that the attempt has no group.
func (g Group) None() bool { return g.Unified == "" && len(g.Others) == 0 }

// End kills every process in the group and removes it, and returns nil once it is gone. A group goes only when it is
// empty, and nothing can be put into one that has gone: so nil proves that no process of it lives or ever will. Where
// there is no unified hierarchy nothing is killed, and only what is empty goes.
//
// Killed halfway it is simply done again; a group that is not there was empty when it went.
func (g Group) End(ctx context.Context, within time.Duration) error {
	deadline, d := time.Now().Add(within), firstPause
	for {
		err := g.end()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(d):
		}
		d = min(2*d, lastPause)
	}
}

func (g Group) end() error {
	if g.Unified != "" {
		if err := kill(g.Unified); err != nil {
			return err
		}
		if populated, err := Populated(g.Unified); err != nil {
			return err
		} else if populated {
			return ErrPopulated
		}
	}
	for _, dir := range append([]string{g.Unified}, g.Others...) {
		if dir == "" {
			continue
		}
		if err := remove(dir); err != nil {
			return err
		}
		// The groom's own group goes with the last attempt in it; until then the kernel refuses.
		_ = unix.Rmdir(filepath.Dir(dir))
	}
	return nil
}

// Populated says whether a process lives in a v2 group or below it. One that is not there holds none.
func Populated(dir string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask control group: %w", err)
	}
	return !strings.Contains(string(b), "populated 0"), nil
}

// kill kills a v2 group as a whole, against which no process can fork.
func kill(dir string) error {
	err := put(dir, "cgroup.kill", "1")
	if err == nil || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return killFrozen(dir) // before Linux 5.14, or the group has gone
}

// killFrozen stops the group first, so that nothing in it can fork meanwhile. A frozen process is killed all the same.
func killFrozen(dir string) error {
	if err := absent(put(dir, "cgroup.freeze", "1")); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !e.IsDir() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("walk control group: %w", err)
		}
		pids, err := members(path)
		if err != nil {
			return err
		}
		for pid := range pids {
			killMember(path, pid)
		}
		return nil
	})
}

func members(dir string) (map[int]bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list control group: %w", err)
	}
	pids := map[int]bool{}
	for line := range strings.Lines(string(b)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 { // 0: of another pid namespace
			pids[pid] = true
		}
	}
	return pids, nil
}

// killMember kills the process that is in the group while its pidfd is held: so the number was its own all the time.
func killMember(dir string, pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(fd)
	if now, err := members(dir); err == nil && now[pid] {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// remove removes a group, and the groups that a task made below it. Only directories can be removed there.
func remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	err = unix.Rmdir(dir)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, unix.EBUSY) {
		return ErrPopulated
	}
	return fmt.Errorf("remove control group: %w", err)
}
