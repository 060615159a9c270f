package shim

import "syscall"

// An executable that was written a moment ago may still be open for writing in some process between its fork and
// its exec. That passes.
const (
	busyTries = 20
	busyPause = 10_000_000 // ns
)

// startTask makes the task's process: in a session of its own, so that its group can be signalled as one, and with a
// parent-death signal, so that it cannot outlive a shim that was killed.
func (s *shim) startTask() {
	var work syscall.Stat_t
	err := syscall.Stat("work", &work)
	if err != nil {
		s.fail("chdir", err, "work")
		return
	}
	var out, errs [2]int
	if err := syscall.Pipe2(out[:], syscall.O_CLOEXEC); err != nil {
		s.fail("pipe", err, "")
		return
	}
	if err := syscall.Pipe2(errs[:], syscall.O_CLOEXEC); err != nil {
		s.fail("pipe", err, "")
		return
	}
	if s.spec.uid >= 0 {
		// So that it can open what /dev/stdout and /dev/stderr stand for.
		_ = syscall.Fchown(out[1], s.spec.uid, s.spec.gid)
		_ = syscall.Fchown(errs[1], s.spec.uid, s.spec.gid)
	}
	freshSignals()
	// A groom that the host spares when memory runs out does not pass that on to its tasks.
	if score() < 0 {
		_ = setScore(0)
	}
	attr := &syscall.ProcAttr{
		Files: []uintptr{0, uintptr(out[1]), uintptr(errs[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, PidFD: &s.pidfd},
	}
	group := -1
	if s.spec.born {
		if group, err = syscall.Open(s.spec.group, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0); err != nil {
			s.fail("join", err, s.spec.group)
			return
		}
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, group
	}
	if s.spec.staged() {
		s.forkStage(attr)
	} else {
		s.forkTask(attr)
	}
	_ = syscall.Close(group)
	_ = syscall.Close(out[1])
	_ = syscall.Close(errs[1])
	if s.failStep != "" {
		return
	}
	if s.pidfd < 0 {
		s.pidfd = pidfdOpen(s.pid) // the shim is the parent: the number is the task's until it is waited for
	}
	s.out = newStream("log/stdout.", out[0], &s.spec)
	s.err = newStream("log/stderr.", errs[0], &s.spec)
}

// forkTask is for a task that takes everything from the groom: it is the program from its first moment.
func (s *shim) forkTask(attr *syscall.ProcAttr) {
	path, err := s.lookup()
	if err != nil {
		s.fail("lookup", err, s.spec.argv[0])
		return
	}
	attr.Dir, attr.Env = "work", s.spec.env
	for try := 0; ; try++ {
		s.started, s.born = wall(), steady()
		s.pid, err = syscall.ForkExec(path, s.spec.argv, attr)
		if err != syscall.ETXTBSY || try == busyTries {
			break
		}
		_ = poll(s.polls[:1], busyPause) // no descriptor is set yet: this only waits
	}
	if err == nil {
		return
	}
	s.pid = 0
	if ofGroup(err) {
		s.fail("join", err, s.spec.group)
		return
	}
	s.fail("exec", err, missing(path, "work/"+path, err))
}

// ofGroup says whether a fork failed for the control group: it is gone, or closed. No program is to blame for these.
func ofGroup(err error) bool {
	return err == syscall.ENODEV || err == syscall.EBUSY || err == syscall.EOPNOTSUPP || err == syscall.ENOSYS
}

// forkStage is for a task that has something of its own: see becomeTask.
func (s *shim) forkStage(attr *syscall.ProcAttr) {
	var report [2]int
	if err := syscall.Pipe2(report[:], syscall.O_CLOEXEC); err != nil {
		s.fail("pipe", err, "")
		return
	}
	me := append([]byte(EnvTask+"="), 0)[:len(EnvTask)+1]
	attr.Env = []string{
		string(appendDecimal(me, int64(syscall.Getpid()), 1)), "GROOM_TOKEN=" + s.spec.token,
		"GOMAXPROCS=1", "GOGC=off", "GODEBUG=disablethp=1",
	}
	if armed := armedInStage(); armed != "" {
		attr.Env = append(attr.Env, EnvFault+"="+armed)
	}
	attr.Files = append(attr.Files, uintptr(report[1]))
	var err error
	s.started, s.born = wall(), steady()
	s.pid, err = syscall.ForkExec("/proc/self/exe", []string{"groom-shim-task"}, attr)
	_ = syscall.Close(report[1])
	defer syscall.Close(report[0])
	if err != nil {
		s.pid = 0
		if ofGroup(err) {
			s.fail("join", err, s.spec.group)
			return
		}
		s.fail("fork", err, "")
		return
	}
	if s.hear(report[0]) {
		return
	}
	// It has ended, or is about to: what it told is the end of this attempt, its own status is not.
	_, _ = syscall.Wait4(s.pid, nil, wAll, nil)
	_ = syscall.Close(s.pidfd)
	s.pid, s.pidfd = 0, -1
	s.fail(s.failStep, s.failNo, s.failWhat)
}

// lookup finds argv[0] in the task's own PATH when it has no slash. Relative entries of PATH are passed over.
func (s *shim) lookup() (string, error) {
	name := s.spec.argv[0]
	for i := range len(name) {
		if name[i] == '/' {
			return name, nil
		}
	}
	var path string
	for _, kv := range s.spec.env {
		if len(kv) >= 5 && kv[:5] == "PATH=" {
			path = kv[5:]
		}
	}
	denied := false
	for name != "" && path != "" {
		end := index([]byte(path), ':')
		dir := path[:end]
		path = path[min(end+1, len(path)):]
		if dir == "" || dir[0] != '/' {
			continue
		}
		file := dir + "/" + name
		if access(file, 0) != 0 || access(file+"/.", 0) != syscall.ENOTDIR { // a directory
			continue
		}
		if access(file, executable) == 0 {
			return file, nil
		}
		denied = true
	}
	if denied {
		return "", syscall.EACCES
	}
	return "", syscall.ENOENT
}

// missing names what exec did not find: a script that exists and cannot be started wants its interpreter.
func missing(path, relative string, err error) string {
	file := path
	if path[0] != '/' {
		file = relative
	}
	if err == syscall.ENOENT && access(file, 0) == 0 {
		return "interpreter of " + path
	}
	return path
}
