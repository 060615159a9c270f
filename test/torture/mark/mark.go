// Package mark is what executions of tasks leave on disk, outside of every directory of groom: one file each, locked
// for as long as its process lives, with a beat, a start and an end. Two executions that overlap in time see each
// other by the locks; the beats show it afterwards.
//
//	<dir>/<task>/<attempt>.<kind>.<pid>
//
// The first line is the newest beat, by CLOCK_BOOTTIME in nanoseconds, overwritten in place. Then come lines
// "start BOOT", "saw NAME" for each other living execution of the task, and "end BOOT CODE".
package mark

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The kinds of execution.
const (
	Main  = "main"  // the process that the attempt was started for
	Child = "child" // one that it made
)

const (
	beatWidth = 20 // digits
	beatEvery = 20 * time.Millisecond
	// lockFD is where the descriptor of a mark goes: beyond what a task that closes its descriptors has.
	lockFD = 300
)

// Mark is the living mark of this process.
type Mark struct {
	fd  int
	end int64 // of the file
}

// Boot is CLOCK_BOOTTIME in nanoseconds.
func Boot() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// Begin makes the mark of this process, and beats. The lock comes before the look at the others: of two that begin at
// the same time, at least one sees the other.
func Begin(dir, task, attempt, kind string) (*Mark, error) {
	dir = filepath.Join(dir, task)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	own := fmt.Sprintf("%s.%s.%d", attempt, kind, os.Getpid())
	low, err := unix.Open(filepath.Join(dir, own), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make mark: %w", err)
	}
	fd, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, lockFD)
	if err != nil {
		return nil, fmt.Errorf("move mark: %w", err)
	}
	_ = unix.Close(low)
	for err = unix.EINTR; err == unix.EINTR; { // a reader may be testing the lock
		err = unix.Flock(fd, unix.LOCK_EX)
	}
	if err != nil {
		return nil, fmt.Errorf("lock mark: %w", err)
	}
	m := &Mark{fd: fd}
	m.beat()
	m.end = beatWidth + 1
	m.line("start %d", Boot())
	if kind == Main {
		m.look(dir, own)
	}
	return m, nil
}

func (m *Mark) look(dir, own string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Name() != own && Held(filepath.Join(dir, e.Name())) {
			m.line("saw %s", e.Name())
		}
	}
}

// Held says whether the process of a mark lives.
func Held(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

func (m *Mark) beat() { _, _ = unix.Pwrite(m.fd, fmt.Appendf(nil, "%0*d\n", beatWidth, Boot()), 0) }

func (m *Mark) line(format string, args ...any) {
	n, _ := unix.Pwrite(m.fd, fmt.Appendf(nil, format+"\n", args...), m.end)
	m.end += int64(n)
}

// Live beats for a while.
func (m *Mark) Live(d time.Duration) {
	for end := time.Now().Add(d); ; {
		m.beat()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, beatEvery))
	}
}

// Exit marks the end, and ends the process.
func (m *Mark) Exit(code int) {
	m.beat()
	m.line("end %d %d", Boot(), code)
	os.Exit(code)
}

// Hand lets the lock go on to the image that this process executes, or to a process that it makes.
func (m *Mark) Hand() int {
	_, _ = unix.FcntlInt(uintptr(m.fd), unix.F_SETFD, 0)
	return m.fd
}

// Take goes on with a mark that was handed over. It beats, and has no end of its own.
func Take(fd int) *Mark { return &Mark{fd: fd, end: 1 << 20} }
