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
	if err := syscall.Stat("work", &work); err != nil {
		s.fail("chdir", err, "work")
		return
	}
	path, err := s.lookup()
	if err != nil {
		s.fail("lookup", err, s.spec.argv[0])
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
	freshSignals()
	// A groom that the host spares when memory runs out does not pass that on to its tasks.
	if score() < 0 {
		setScore(0)
	}
	attr := &syscall.ProcAttr{
		Dir:   "work",
		Env:   s.spec.env,
		Files: []uintptr{0, uintptr(out[1]), uintptr(errs[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, PidFD: &s.pidfd},
	}
	for try := 0; ; try++ {
		s.started = wall()
		s.pid, err = syscall.ForkExec(path, s.spec.argv, attr)
		if err != syscall.ETXTBSY || try == busyTries {
			break
		}
		_ = poll(s.polls[:1], busyPause) // no descriptor is set yet: this only waits
	}
	_ = syscall.Close(out[1])
	_ = syscall.Close(errs[1])
	if err != nil {
		s.fail("exec", err, s.missing(path, err))
		return
	}
	if s.pidfd < 0 {
		s.pidfd = pidfdOpen(s.pid) // the shim is the parent: the number is the task's until it is waited for
	}
	s.out = newStream("log/stdout.", out[0], &s.spec)
	s.err = newStream("log/stderr.", errs[0], &s.spec)
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
		var st syscall.Stat_t
		if syscall.Stat(file, &st) != nil || st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			continue
		}
		if syscall.Access(file, executable) == nil {
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
func (s *shim) missing(path string, err error) string {
	if err != syscall.ENOENT {
		return path
	}
	file := path
	if path[0] != '/' {
		file = "work/" + path
	}
	var st syscall.Stat_t
	if syscall.Stat(file, &st) == nil {
		return "interpreter of " + path
	}
	return path
}
