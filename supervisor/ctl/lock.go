package ctl

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The lock is an flock on ctl/lock. The groom takes it before it forks, and the shim inherits the open file: so there
// is no moment in which a shim exists without it, it needs no pid, and the kernel drops it at any death. While the
// groom forks another process, that one holds copies of all its files until it executes; a lock that is held may
// therefore come free a moment later. A lock that is free stays free, because an attempt is started only once.

// TakeLock makes the lock file and locks it. The descriptor is the caller's.
func TakeLock(dir string) (int, error) {
	fd, err := unix.Open(filepath.Join(dir, Lock), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("take lock: %w", err)
	}
	return fd, nil
}

// Held says whether a process holds the lock. It takes a shared lock to see, so that two who look do not disturb
// each other. Without a lock file the error is fs.ErrNotExist.
func Held(dir string) (bool, error) {
	fd, err := unix.Open(filepath.Join(dir, Lock), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, fmt.Errorf("open lock: %w", err)
	}
	defer unix.Close(fd)
	err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("test lock: %w", err)
	}
	return false, nil
}
