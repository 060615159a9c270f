package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

const (
	pidfsMagic   = 0x50494446
	kernelThread = 0x00200000 // of the flags in a process's stat
)

// process is a process held by a pidfd, which never comes to mean another one. It sits in the netpoller: waiting for
// it costs a goroutine and no thread.
type process struct {
	pid  int
	file *os.File
}

func newProcess(pid, pidfd int) *process {
	_ = unix.SetNonblock(pidfd, true) // before NewFile, which then hands it to the poller
	return &process{pid: pid, file: os.NewFile(uintptr(pidfd), "pidfd")}
}

// wait returns nil once the process has ended, and an error when it was closed before.
func (p *process) wait() error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for process: %w", err)
	}
	return conn.Read(func(fd uintptr) bool {
		if !pidfdEnded(int(fd)) {
			return false
		}
		// A shim that is the groom's child is a zombie until it is waited for; one that was adopted is not ours.
		_ = unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED|unix.WNOHANG, nil)
		return true
	})
}

func (p *process) ended() bool {
	over := true
	conn, err := p.file.SyscallConn()
	if err == nil {
		_ = conn.Control(func(fd uintptr) { over = pidfdEnded(int(fd)) })
	}
	return over
}

func (p *process) kill() {
	if conn, err := p.file.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	}
}

func (p *process) close() { _ = p.file.Close() }

func pidfdEnded(fd int) bool { return pidfdWait(fd, 0) }

// pidfdWait says whether the process ended within the time.
func pidfdWait(fd int, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(d)
	for {
		// Never below zero, which would be to wait without end.
		left := max(time.Until(deadline).Round(time.Millisecond), 0)
		n, err := unix.Poll(fds, int(left/time.Millisecond))
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// openShim opens the process that ctl/shim names, and nil when that process is not the shim: when its number was given
// to another since. It compares what the shim wrote of itself; that the lock is still held must be tested afterwards.
func openShim(dir string) (*process, error) {
	r, err := ctl.Read(dir, ctl.Shim)
	if err != nil {
		return nil, err
	}
	pid := int(r.Int("pid"))
	if pid <= 0 {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH || err == unix.EINVAL || err == unix.ENOENT {
		return nil, nil // gone, or now the number of a thread
	}
	if err != nil {
		return nil, fmt.Errorf("open pidfd: %w", err)
	}
	if !isShim(r, pid, fd) {
		_ = unix.Close(fd)
		return nil, nil
	}
	return newProcess(pid, fd), nil
}

// isShim prefers the inode, which is given once in a boot. The start time counts in ticks of 10 ms, and differs
// between time namespaces.
func isShim(r ctl.Record, pid, fd int) bool {
	if wrote, is := r.Int("inode"), pidInode(fd); wrote != 0 && is != 0 {
		return wrote == is
	}
	st, ok := readStat(pid)
	return ok && st.start == r.Int("start")
}

// pidInode is the number that the kernel gives to one process of a boot only, 0 on kernels without it.
func pidInode(fd int) int64 {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || int64(fs.Type) != pidfsMagic || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return int64(st.Ino)
}

// stat is what /proc/<pid>/stat tells to everyone.
type stat struct {
	state   byte
	session int
	start   int64 // clock ticks since boot
	kernel  bool  // a thread of the kernel
}

// runs says whether it can still do anything; a zombie cannot.
func (s stat) runs() bool { return s.state != 'Z' && s.state != 'X' }

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	// The name before the last parenthesis may hold anything.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 20 {
		return stat{}, false
	}
	session, _ := strconv.Atoi(f[3])
	start, _ := strconv.ParseInt(f[19], 10, 64)
	flags, _ := strconv.ParseUint(f[6], 10, 64)
	return stat{state: f[0][0], session: session, start: start, kernel: flags&kernelThread != 0}, true
}
