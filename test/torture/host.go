package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// host is the machine that the groom believes to run on. A crashable one has a file system of its own, whose unsynced
// data can be lost, and a boot id of its own.
type host struct {
	dir, data string
	crashable bool
	ungrouped bool // without control groups
	image     string
	mounted   string
	bootID    string // file
}

const bootIDPath = "/proc/sys/kernel/random/boot_id"

// imageSize holds both journals with their reserves, and the logs.
const imageSize = 512 << 20

// newHost makes a machine below dir. An error of a crashable one says that this host does not let a test mount one.
func newHost(dir string, crashable, ungrouped bool, r *reaper) (*host, error) {
	h := &host{dir: dir, data: filepath.Join(dir, "data"), crashable: crashable, ungrouped: ungrouped}
	if !crashable {
		return h, os.Mkdir(h.data, 0o700)
	}
	h.image, h.mounted, h.bootID = filepath.Join(dir, "disk"), filepath.Join(dir, "mnt"), filepath.Join(dir, "boot_id")
	h.data = filepath.Join(h.mounted, "data")
	if err := os.WriteFile(h.image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(h.image, imageSize); err != nil {
		return nil, err
	}
	if err := os.Mkdir(h.mounted, 0o700); err != nil {
		return nil, err
	}
	if _, err := r.run("mkfs.ext4", "-q", "-F", h.image); err != nil {
		return nil, fmt.Errorf("make file system: %w", err)
	}
	if _, err := r.run("mount", "-o", "loop", h.image, h.mounted); err != nil {
		return nil, fmt.Errorf("mount file system: %w", err)
	}
	if err := h.boot(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	err := os.Mkdir(h.data, 0o700)
	unix.Sync()
	return h, err
}

// boot gives the machine a new boot id.
func (h *host) boot() error {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	id := fmt.Sprintf("%x-%x-%x-%x-%x\n", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	return os.WriteFile(h.bootID, []byte(id), 0o644)
}

// start makes a process on this machine.
func (h *host) start(r *reaper, log *os.File, env []string, argv ...string) (*child, error) {
	if !h.crashable && !h.ungrouped {
		return r.start(log, env, nil, argv...)
	}
	own := "mount --make-rprivate /" // what follows is this process's alone
	if h.crashable {
		own += ` && mount --bind "$0" ` + bootIDPath
	}
	if h.ungrouped {
		own += " && umount -R /sys/fs/cgroup"
	}
	sh := append([]string{"sh", "-c", own + ` && exec "$@"`, h.bootID}, argv...)
	return r.start(log, env, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}, sh...)
}

// shutdown of ext4 without writing anything more: what a loss of power leaves. From here on every access fails.
const (
	ioctlShutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
	shutdownNoFlush = 2
)

// cut takes the power from the disk. The processes are to be killed right after it.
func (h *host) cut() error {
	f, err := os.Open(h.mounted)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, shutdownNoFlush); err != nil {
		return fmt.Errorf("shut file system down: %w", err)
	}
	return nil
}

// restore ends every process, and mounts what was left, as another boot.
func (h *host) restore(r *reaper, killAll func() error) error {
	deadline := time.Now().Add(patience)
	for {
		if err := errors.Join(killAll(), h.close()); err != nil {
			return err
		}
		if _, err := r.run("mount", "-o", "loop", h.image, h.mounted); err != nil {
			return fmt.Errorf("mount file system again: %w", err)
		}
		// As long as a mount namespace of a dead process is being taken down, this is the old, dead file system.
		probe := filepath.Join(h.mounted, "probe")
		if os.WriteFile(probe, nil, 0o600) == nil {
			return errors.Join(os.Remove(probe), h.boot())
		}
		if time.Now().After(deadline) {
			return errors.New("the file system does not come back")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// close unmounts. Dying processes may hold the file system for a moment.
func (h *host) close() error {
	if !h.crashable {
		return nil
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = unix.Unmount(h.mounted, 0); err == nil || errors.Is(err, unix.EINVAL) { // not mounted
			return nil
		}
	}
	return fmt.Errorf("unmount: %w", err)
}

// probe finds out whether this host lets a test mount a file system and crash it.
func probe(dir string, r *reaper) error {
	dir = filepath.Join(dir, "probe")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h, err := newHost(dir, true, false, r)
	if err != nil {
		return err
	}
	err = h.cut()
	if err == nil {
		err = h.restore(r, func() error { return nil })
	}
	return errors.Join(err, h.close())
}
