package shim

import (
	"syscall"
	"unsafe"
)

// The last stage before a task's program. Where a task has a user, limits or control groups of its own, the shim forks
// this binary once more, and that process takes them upon itself before it executes the task. They cannot be put on the
// shim around its fork: a Go program that may not map memory or make threads dies, and a hard limit that was lowered
// stays so. A process that is already traced or stopped in the task's program would be too late for some of them, such
// as the size of the stack.
//
// The process is the task's own: same pid, session and group. It tells the shim of its way through a pipe that closes
// when the program is executed: "ready", and then nothing, is a task that runs.

const (
	reportFD  = 3
	readyLine = "ready=1\n"
	endStage  = 127
)

// becomeTask never returns. From the moment when it joins a group that may be full, or has its limits, the runtime must
// neither make a thread nor map memory: only raw calls and small allocations follow.
func becomeTask(parent int) {
	syscall.CloseOnExec(reportFD)
	s := &shim{rec: make([]byte, 0, recordSize)}
	if err := s.spec.read(); err != nil {
		s.giveUp("spec", err, "ctl/spec")
	}
	// Killed from here on: the shim sees a process that ended before it was the task.
	point("shim.before-limits")
	s.rec = s.rec[:0]
	if s.spec.scored {
		if errno := setScore(s.spec.score); errno != 0 {
			s.refused("oom score", errno)
		}
	}
	if s.spec.umask >= 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_UMASK, uintptr(s.spec.umask), 0, 0)
	}
	if s.spec.group != "" && !s.spec.born {
		s.join(s.spec.group)
	}
	for _, dir := range s.spec.others {
		s.join(dir)
	}
	s.limit()
	s.become()
	// A change of user clears the signal, so it is set again; a shim that died before that is seen by the pid.
	_ = prctl(prSetPdeathsig, uintptr(syscall.SIGKILL))
	if pid, _, _ := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0); int(pid) != parent {
		s.giveUp("parent", syscall.ESRCH, "")
	}
	// As the task's user, who must be able to reach it.
	if errno := rawPath(syscall.SYS_CHDIR, "work"); errno != 0 {
		s.giveUp("chdir", errno, "work")
	}
	path, err := s.lookup()
	if err != nil {
		s.giveUp("lookup", err, s.spec.argv[0])
	}
	s.rec = append(s.rec, readyLine...)
	s.tell()
	for try := 0; ; try++ {
		err = syscall.Exec(path, s.spec.argv, s.spec.env)
		if err != syscall.ETXTBSY || try == busyTries {
			break
		}
		rest := syscall.NsecToTimespec(busyPause)
		_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&rest)), 0, 0)
	}
	s.giveUp("exec", err, missing(path, path, err))
}

// join moves this process into a group, while it still may.
func (s *shim) join(dir string) {
	if errno := writeFile(append([]byte(dir+"/cgroup.procs"), 0), []byte{'0'}); errno != 0 {
		s.giveUp("join", errno, dir)
	}
}

// limit sets what can be set. A limit that this user may not raise is told, and the task runs with the one it has.
func (s *shim) limit() {
	for _, l := range s.spec.limits {
		lim := syscall.Rlimit{Cur: l.soft, Max: l.hard}
		var errno syscall.Errno
		if l.resource == rlimitNoFile {
			// The library keeps the limit that the process was started with, and would put it back at the end.
			err := syscall.Setrlimit(rlimitNoFile, &lim)
			errno, _ = err.(syscall.Errno)
		} else {
			_, _, errno = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, uintptr(l.resource), uintptr(unsafe.Pointer(&lim)), 0, 0, 0)
		}
		if errno != 0 {
			s.refused(limitName(l.resource)+" limit", errno)
		}
	}
}

func limitName(resource int) string {
	names := [...]string{
		"cpu", "fsize", "data", "stack", "core", "", "nproc", "nofile", "memlock", "as",
	}
	if resource < len(names) {
		return names[resource]
	}
	return "resource"
}

// become takes on the task's user: on this thread alone, which is the one that executes.
func (s *shim) become() {
	if s.spec.uid < 0 {
		return
	}
	var first uintptr
	if len(s.spec.groups) > 0 {
		first = uintptr(unsafe.Pointer(&s.spec.groups[0]))
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(s.spec.groups)), first, 0)
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(syscall.SYS_SETGID, uintptr(s.spec.gid), 0, 0)
	}
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(syscall.SYS_SETUID, uintptr(s.spec.uid), 0, 0)
	}
	if errno != 0 {
		s.giveUp("user", errno, "")
	}
}

func (s *shim) refused(what string, errno syscall.Errno) {
	s.rec = appendText(s.rec, "unenforced", what+": "+errno.Error())
}

// tell writes what there is to tell. The pipe is empty and holds far more.
func (s *shim) tell() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, reportFD, uintptr(unsafe.Pointer(&s.rec[0])), uintptr(len(s.rec)))
	s.rec = s.rec[:0]
}

func (s *shim) giveUp(step string, err error, what string) {
	errno, _ := err.(syscall.Errno)
	s.rec = appendText(s.rec, "step", step)
	s.rec = appendInt(s.rec, "errno", int64(errno))
	s.rec = appendText(s.rec, "what", what)
	s.tell()
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, endStage, 0, 0)
	}
}

// hear reads what the last stage tells until it is the task, or has failed. It says whether the task runs.
func (s *shim) hear(pipe int) bool {
	got := 0
	for got < len(s.buf) {
		n, err := syscall.Read(pipe, s.buf[got:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			break
		}
		got += n
	}
	ready, failed := false, false
	eachLine(s.buf[:got], func(key, value []byte) {
		switch string(key) {
		case "ready":
			ready = true
		case "unenforced":
			s.unenforced = append(append(append(s.unenforced, "unenforced="...), value...), '\n')
		case "step":
			failed = true
			s.failStep = unescape(value)
		case "errno":
			s.failNo = syscall.Errno(number(value))
		case "what":
			s.failWhat = unescape(value)
		}
	})
	if ready && !failed {
		return true
	}
	if !failed {
		s.failStep, s.failNo, s.failWhat = "stage", syscall.ECHILD, "" // killed on its way
	}
	return false
}
