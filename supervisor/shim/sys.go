package shim

import (
	"syscall"
	"unsafe"
)

const (
	prSetPdeathsig      = 1
	prSetChildSubreaper = 36
	rlimitNoFile        = 7
	sysPidfdSendSignal  = 424
	sysPidfdOpen        = 434
	sysCloseRange       = 436
	closeRangeCloexec   = 4
	pidfsMagic          = 0x50494446
	pPID, pAll          = 1, 0
	wExited             = 4
	wNoWait             = 0x01000000
	wAll                = 0x40000000
	fGetPipeSize        = 1032
	atFDCWD             = -100
	clockRealtime       = 0
	clockMonotonic      = 1
	sigDefault          = 0
	sigIgnore           = 1
	sigSetMask          = 2
	lastSignal          = 64
	pollIn              = 1
	executable          = 1
	manyFDs             = 1024
)

type pollFD struct {
	fd              int32
	events, revents int16
}

// poll waits without end when the timeout is negative. Syscall6 tells the Go scheduler, so that its own threads can
// sleep as well.
func poll(fds []pollFD, timeout int64) syscall.Errno {
	var ts *syscall.Timespec
	if timeout >= 0 {
		t := syscall.NsecToTimespec(timeout)
		ts = &t
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)),
		uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	return errno
}

func readable(fd int) bool {
	p := [1]pollFD{{fd: int32(fd), events: pollIn}}
	return poll(p[:], 0) == 0 && p[0].revents != 0
}

func prctl(option, arg uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// keepFromTask marks every descriptor from the lock upwards close-on-exec, those included that the groom itself was
// started with.
func keepFromTask() {
	_, _, errno := syscall.RawSyscall(sysCloseRange, LockFD, uintptr(^uint32(0)), closeRangeCloexec)
	if errno == 0 {
		return
	}
	for fd := LockFD; fd < manyFDs; fd++ { // before Linux 5.11
		syscall.CloseOnExec(fd)
	}
}

type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

func action(sig syscall.Signal) uintptr {
	var old sigaction
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	return old.handler
}

func setAction(sig syscall.Signal, handler uintptr) {
	act := sigaction{handler: handler}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
}

// freshSignals undoes ignored and blocked signals that the groom was started with (under nohup, for instance), since
// the task would inherit them. It holds for the calling thread, which is the one that forks.
func freshSignals() {
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if action(sig) == sigIgnore {
			setAction(sig, sigDefault)
		}
	}
	var none uint64
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetMask, uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
}

func pidfdOpen(pid int) int {
	fd, _, errno := syscall.RawSyscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		return -1
	}
	return int(fd)
}

func pidfdKill(fd int) {
	_, _, _ = syscall.RawSyscall6(sysPidfdSendSignal, uintptr(fd), uintptr(syscall.SIGKILL), 0, 0, 0, 0)
}

// pidInode is the number that the kernel never gives to a second process of this boot, 0 on kernels without one.
func pidInode() int64 {
	fd := pidfdOpen(syscall.Getpid())
	if fd < 0 {
		return 0
	}
	defer syscall.Close(fd)
	var fs syscall.Statfs_t
	var st syscall.Stat_t
	if syscall.Fstatfs(fd, &fs) != nil || int64(fs.Type) != pidfsMagic || syscall.Fstat(fd, &st) != nil {
		return 0
	}
	return int64(st.Ino)
}

func clock(id uintptr) int64 {
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

func wall() int64 { return clock(clockRealtime) }

// steady is the clock of grace periods: it never steps, and it stands while the host sleeps.
func steady() int64 { return clock(clockMonotonic) }

// openLog and unlink take a path that ends in a zero byte, so that nothing is allocated.
func openLog(path []byte) int {
	flags := syscall.O_CREAT | syscall.O_EXCL | syscall.O_WRONLY | syscall.O_CLOEXEC | syscall.O_NOFOLLOW
	fd, _, errno := syscall.Syscall6(syscall.SYS_OPENAT, cwd(), uintptr(unsafe.Pointer(&path[0])), uintptr(flags), 0o600, 0, 0)
	if errno != 0 {
		return -1
	}
	return int(fd)
}

func unlink(path []byte) {
	_, _, _ = syscall.Syscall(syscall.SYS_UNLINKAT, cwd(), uintptr(unsafe.Pointer(&path[0])), 0)
}

// writeFile writes to a file that exists, by a path that ends in a zero byte. Its calls are raw, as those of rawPath: the
// runtime does nothing beside them.
func writeFile(path, text []byte) syscall.Errno {
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, cwd(), uintptr(unsafe.Pointer(&path[0])),
		syscall.O_WRONLY|syscall.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	_, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)))
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	return errno
}

// rawPath makes a call whose only argument is a path.
func rawPath(call uintptr, path string) syscall.Errno {
	b := append([]byte(path), 0)
	_, _, errno := syscall.RawSyscall(call, uintptr(unsafe.Pointer(&b[0])), 0, 0)
	return errno
}

// access asks as the user of the process: mode 0 for whether a file exists.
func access(path string, mode uintptr) syscall.Errno {
	b := append([]byte(path), 0)
	_, _, errno := syscall.RawSyscall(syscall.SYS_FACCESSAT, cwd(), uintptr(unsafe.Pointer(&b[0])), mode)
	return errno
}

// oomKills reads how many processes of a control group the kernel killed for want of memory.
func oomKills(file string, buf []byte) int64 {
	if file == "" {
		return 0
	}
	const key = "oom_kill "
	text := readSmall(append([]byte(file), 0), buf)
	for len(text) > 0 {
		end := index(text, '\n')
		if line := text[:end]; len(line) > len(key) && string(line[:len(key)]) == key {
			return number(line[len(key):])
		}
		text = text[min(end+1, len(text)):]
	}
	return 0
}

func cwd() uintptr {
	at := atFDCWD
	return uintptr(at)
}

func pipeSize(fd int) int {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), fGetPipeSize, 0)
	if errno != 0 {
		return 1 << 20
	}
	return int(n)
}
