// Cut runs a groom and kills it, or the first shim that it forks, at the n-th of the system calls that change or lock
// files, make processes or signal them, right before that call is carried out. Opening a file to read and writing to a
// socket leave nothing that a next start could find, and are not counted.
//
// It counts over all threads of the process. strace's counters are those of each thread, and Go moves work from one to
// another: most calls would never be the n-th of theirs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are those that are counted, by name.
var calls = map[string]int64{
	"openat": unix.SYS_OPENAT, "write": unix.SYS_WRITE, "pwrite64": unix.SYS_PWRITE64, "ftruncate": unix.SYS_FTRUNCATE,
	"fallocate": unix.SYS_FALLOCATE, "fsync": unix.SYS_FSYNC, "fdatasync": unix.SYS_FDATASYNC,
	"renameat": unix.SYS_RENAMEAT, "renameat2": unix.SYS_RENAMEAT2, "mkdirat": unix.SYS_MKDIRAT,
	"linkat": unix.SYS_LINKAT, "unlinkat": unix.SYS_UNLINKAT, "flock": unix.SYS_FLOCK,
	"clone": unix.SYS_CLONE, "clone3": unix.SYS_CLONE3, "bind": unix.SYS_BIND, "kill": unix.SYS_KILL,
	"pidfd_send_signal": unix.SYS_PIDFD_SEND_SIGNAL,
}

type tracer struct {
	shim   bool // the target is the first shim, and not the groom
	at     int  // the count at which it is killed, 0 for never
	root   int  // the groom
	target int  // thread group that is counted, 0 before it is there
	names  map[uint64]string
	known  map[int]bool // threads that were seen
	count  int
	killed bool
	out    *os.File
}

func main() {
	who := flag.String("who", "groom", "groom or shim")
	at := flag.Int("n", 0, "the call at which it is killed; 0 only counts")
	out := flag.String("o", "", "file that tells the count, and at which call it was killed")
	flag.Parse()
	t := &tracer{shim: *who == "shim", at: *at, names: map[uint64]string{}, known: map[int]bool{}}
	for name, n := range calls {
		t.names[uint64(n)] = name
	}
	status, err := t.run(*out, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "cut:", err)
		os.Exit(1)
	}
	if status.Signaled() {
		os.Exit(128 + int(status.Signal()))
	}
	os.Exit(status.ExitStatus())
}

// run traces the command to its end. When this process dies, the kernel kills the groom, but not a shim.
func (t *tracer) run(out string, line []string) (status unix.WaitStatus, err error) {
	runtime.LockOSThread() // a tracer is a thread
	if t.out, err = os.Create(out); err != nil {
		return 0, err
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	t.root = cmd.Process.Pid
	if _, err := unix.Wait4(t.root, &status, unix.WALL, nil); err != nil {
		return 0, err
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if t.shim {
		options |= unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEEXEC
	} else {
		t.target = t.root
	}
	if err := unix.PtraceSetOptions(t.root, options); err != nil {
		return 0, err
	}
	t.known[t.root] = true
	t.resume(t.root, t.root, 0)
	for {
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case status.Stopped():
			t.stopped(pid, status)
		case pid == t.root:
			return status, nil
		default:
			delete(t.known, pid)
		}
	}
}

func (t *tracer) stopped(pid int, status unix.WaitStatus) {
	group, parent := groupOf(pid)
	first := !t.known[pid]
	t.known[pid] = true
	sig := status.StopSignal()
	switch {
	case sig == unix.SIGTRAP|0x80:
		t.call(pid)
		sig = 0
	case sig == unix.SIGTRAP && status.TrapCause() == unix.PTRACE_EVENT_EXEC:
		if t.shim && t.target == 0 && isShim(pid) {
			t.target = pid
			_ = unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEVFORK|unix.PTRACE_O_TRACEFORK)
		}
		sig = 0
	case sig == unix.SIGTRAP && status.TrapCause() > 0:
		sig = 0
	case sig == unix.SIGSTOP && first:
		sig = 0
		if group != t.target && parent == t.target && t.shim {
			_ = unix.PtraceDetach(pid) // the task, which is none of our business
			return
		}
	}
	t.resume(pid, group, sig)
}

func (t *tracer) resume(pid, group int, sig unix.Signal) {
	if group == t.target {
		_ = unix.PtraceSyscall(pid, int(sig)) // an error means that it has just died, which the next wait tells
		return
	}
	_ = unix.PtraceCont(pid, int(sig))
}

// info is the head of struct ptrace_syscall_info.
type info struct {
	op         uint8
	_          [3]uint8
	arch       uint32
	pc, sp, nr uint64
	args       [6]uint64
}

// call counts the system call that the thread is about to make, and kills its process at the one that is asked for.
func (t *tracer) call(pid int) {
	var i info
	const enter = 1
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(pid), unsafe.Sizeof(i),
		uintptr(unsafe.Pointer(&i)), 0, 0)
	name, counted := t.names[i.nr]
	if errno != 0 || i.op != enter || !counted || t.killed || !lasts(pid, name, i.args) {
		return
	}
	t.count++
	word := "before"
	if t.count == t.at {
		t.killed, word = true, "killed at"
		_ = unix.Kill(t.target, unix.SIGKILL)
	}
	_ = t.out.Truncate(0)
	_, _ = fmt.Fprintf(&at{t.out}, "%d %s %s\n", t.count, word, name)
}

// lasts says whether a call leaves anything behind.
func lasts(pid int, name string, args [6]uint64) bool {
	switch name {
	case "openat":
		return args[2]&(unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_RDWR) != 0
	case "write":
		file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(args[0])))
		return err == nil && strings.HasPrefix(file, "/") && !strings.HasSuffix(file, ".log") // what it says to its terminal
	}
	return true
}

// at writes at the beginning of a file.
type at struct{ f *os.File }

func (a *at) Write(b []byte) (int, error) { return a.f.WriteAt(b, 0) }

// groupOf is the process of a thread, and its parent.
func groupOf(tid int) (group, parent int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "Tgid: %d", &group)
		_, _ = fmt.Sscanf(line, "PPid: %d", &parent)
	}
	return group, parent
}

func isShim(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.HasPrefix(string(b), "groom-shim ")
}
