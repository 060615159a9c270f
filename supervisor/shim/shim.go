// Package shim is the parent process of one attempt. It keeps the task's exit status and its output while the groom
// is away, and it ends whatever the task leaves behind.
//
// A binary that links this package turns into a shim when its environment names an attempt directory: init takes
// over before the rest of the program is initialised, and never returns. For the sake of memory the package imports
// syscall and unsafe only, and allocates nothing while the task runs.
package shim

import "syscall"

const (
	// Env names the attempt directory of a process that is to be a shim.
	Env = "GROOM_SHIM"
	// EnvFault arms a point at which the shim dies by SIGKILL, for tests of crash windows.
	EnvFault = "GROOM_FAILPOINT"
	// EnvTask makes a process the last stage before a task's program. It names the shim's pid.
	EnvTask = "GROOM_SHIM_TASK"
	// LockFD is the descriptor at which a shim inherits the locked lock file of its attempt.
	LockFD = 3
)

// Ends of a shim that leave no exit record, because no task can have been started.
const (
	endNoDir      = 91
	endNoIdentity = 92
	endNoClaim    = 93
)

func init() {
	if dir, ok := syscall.Getenv(Env); ok {
		run(dir)
	}
	if parent, ok := syscall.Getenv(EnvTask); ok {
		becomeTask(int(number([]byte(parent))))
	}
}

// shim is all the state of the process. It is allocated once.
type shim struct {
	spec spec

	listen int             // control socket
	conns  [maxConns]int32 // connections, -1 when unused
	polls  [pollFDs]pollFD

	phase    phase
	pid      int // of the task, which leads its session and its group
	pidfd    int
	child    int // pidfd of one living descendant, while the shim waits for it
	status   syscall.WaitStatus
	usage    syscall.Rusage
	started  int64 // wall clock, ns
	born     int64 // the same moment on the steady clock
	ran      int64 // from there to the end of the task, ns on the steady clock
	ended    int64
	pause    int64 // before the next try to write the exit record, ns
	failStep string
	failNo   syscall.Errno
	failWhat string
	// Lines of what the host refused, while the task runs all the same.
	unenforced []byte

	out, err stream
	orders   orders

	buf [32 << 10]byte
	rec []byte
}

func run(dir string) {
	s := &shim{listen: -1, pidfd: -1, child: -1, rec: make([]byte, 0, recordSize)}
	for i := range s.conns {
		s.conns[i] = -1
	}
	for i := range s.polls {
		s.polls[i].fd = -1
	}
	// The lock must end with this process: a task that inherited it would make a dead shim look alive.
	keepFromTask()
	if !LockFirst {
		_ = syscall.Flock(LockFD, syscall.LOCK_EX)
	}
	if syscall.Chdir(dir) != nil {
		syscall.Exit(endNoDir)
	}
	// Killed from here up to the claim: the next start knows that nothing ran.
	point("shim.before-shim")
	// Before the claim, so that a full disk here leaves an attempt that never started, and so that whoever holds the
	// claim can be found.
	if s.writeIdentity() != nil {
		syscall.Exit(endNoIdentity)
	}
	point("shim.before-claim")
	if !claim() {
		syscall.Exit(endNoClaim)
	}
	// Killed from here on until the exit record stands: the attempt may have run. Its code is lost.
	point("shim.before-spec")
	s.birth()
	// From here the shim ends only by way of an exit record.
	s.loop()
	point("shim.before-end")
	syscall.Exit(0)
}

// birth makes everything that the task needs, then the task. What fails is kept for the exit record.
func (s *shim) birth() {
	var err error
	if err = s.spec.read(); err != nil {
		s.fail("spec", err, "ctl/spec")
		return
	}
	point("shim.before-listen")
	// The socket stands before the task, so that a stop given early waits in its queue.
	if s.listen, err = listen(); err != nil {
		s.fail("listen", err, "ctl/sock")
		return
	}
	_ = prctl(prSetChildSubreaper, 1)
	point("shim.before-task")
	s.startTask()
	if s.failStep != "" {
		return
	}
	// A kill here ends the task as well (parent-death signal), before anyone was told that it started.
	point("shim.before-start")
	s.rec = header(s.rec)
	s.rec = appendInt(s.rec, "pid", int64(s.pid))
	s.rec = appendInt(s.rec, "start", processStart(s.pid, s.buf[:]))
	s.rec = appendInt(s.rec, "at", s.started)
	s.rec = append(s.rec, s.unenforced...)
	_ = put("ctl/start", s.rec, false) // when the disk is full the socket tells the same now, the exit record later
	point("shim.before-polite")
	// After the fork, since ignored signals are inherited. SIGXFSZ is what a limit of file sizes sends: a log that may
	// not grow is a full disk like another.
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGPIPE, syscall.SIGXFSZ,
	} {
		setAction(sig, sigIgnore)
	}
	_ = setScore(shimScore)
}

// writeIdentity says which process the shim is, so that a later groom can open a pidfd and know that it is the one.
func (s *shim) writeIdentity() error {
	s.rec = header(s.rec)
	s.rec = appendInt(s.rec, "pid", int64(syscall.Getpid()))
	s.rec = appendInt(s.rec, "start", processStart(syscall.Getpid(), s.buf[:]))
	s.rec = appendInt(s.rec, "inode", pidInode())
	return put("ctl/shim", s.rec, false)
}

func (s *shim) fail(step string, err error, what string) {
	s.failStep, s.failWhat = step, what
	s.failNo, _ = err.(syscall.Errno)
	s.started, s.ended = wall(), wall()
	s.phase = recording
}

// point dies when it is the one that is armed: in every shim, or with "#2" after it in that of a second attempt only.
func point(name string) {
	if armed, ok := syscall.Getenv(EnvFault); ok && (armed == name || armedFor(armed, name)) {
		_, _ = syscall.Open("ctl/fault", syscall.O_CREAT|syscall.O_WRONLY|syscall.O_CLOEXEC, 0o600) // shows that it was reached
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		for {
			_ = syscall.Pause()
		}
	}
}

func armedFor(armed, name string) bool {
	n := len(name)
	return len(armed) > n && armed[:n] == name && armed[n] == '#' && ofAttempt(armed[n+1:])
}

// ofAttempt says whether the attempt has this serial number.
func ofAttempt(n string) bool {
	dir, _ := syscall.Getenv(Env)
	at := len(dir) - len(n) - 1
	return n != "" && at >= 0 && dir[at] == '_' && dir[at+1:] == n
}

// armedInStage is the point that is armed in the last stage, which does not know its attempt's number.
func armedInStage() string {
	armed, _ := syscall.Getenv(EnvFault)
	for i := range len(armed) {
		if armed[i] != '#' {
			continue
		}
		if !ofAttempt(armed[i+1:]) {
			return ""
		}
		return armed[:i]
	}
	return armed
}
