package shim

import "syscall"

// phase is how far the attempt has come. It only ever goes forward.
type phase int

const (
	running   phase = iota // the task is alive
	lingering              // it has ended; what it left behind still has the grace of a stop
	sweeping               // what is left is killed, until nothing is
	draining               // no process can write any more; the pipes hold the rest
	recording              // the exit record is being written
	finished
)

// Slots of the descriptors that the loop waits for. A slot with a negative descriptor is passed over.
const (
	pollTask = iota
	pollChild
	pollOut
	pollErr
	pollListen
	pollConns
	pollFDs = pollConns + maxConns
)

const (
	firstPause = 50_000_000    // ns between tries to write the exit record
	lastPause  = 5_000_000_000 // ns
	sweepPause = 100_000_000   // ns after which a sweep looks again in any case
)

// loop is the one place where the shim waits. With an idle task and no order it sleeps without end.
func (s *shim) loop() {
	for {
		for s.advance() {
		}
		if s.phase == finished {
			return
		}
		s.arm()
		errno := poll(s.polls[:], s.timeout())
		if errno != 0 {
			for i := range s.polls {
				s.polls[i].revents = 0
			}
		}
		if errno == syscall.EINTR && s.phase == running {
			s.reapOrphans() // SIGCHLD is what interrupts
		}
		if s.polls[pollOut].revents != 0 {
			s.out.pump(s.buf[:], 4*len(s.buf))
		}
		if s.polls[pollErr].revents != 0 {
			s.err.pump(s.buf[:], 4*len(s.buf))
		}
		s.serve()
	}
}

func (s *shim) arm() {
	fds := [pollConns]int32{pollTask: -1, pollChild: int32(s.child), pollOut: -1, pollErr: -1, pollListen: int32(s.listen)}
	if s.phase == running {
		fds[pollTask] = int32(s.pidfd)
	}
	if s.phase < draining {
		fds[pollOut], fds[pollErr] = s.out.pipe, s.err.pipe
	}
	for i, fd := range fds {
		s.polls[i] = pollFD{fd: fd, events: pollIn}
	}
	for i, fd := range s.conns {
		s.polls[pollConns+i] = pollFD{fd: fd, events: pollIn}
	}
}

func (s *shim) timeout() int64 {
	switch s.phase {
	case running, lingering:
		return s.orders.next()
	case sweeping:
		return sweepPause
	case recording:
		return s.pause
	}
	return 0
}

// advance takes one step when there is one to take, and says whether it did.
func (s *shim) advance() bool {
	switch s.phase {
	case running:
		return s.run()
	case lingering:
		return s.linger()
	case sweeping:
		return s.sweep()
	case draining:
		point("shim.before-drain")
		// Every writer is dead, so what they wrote fits the pipe. The bound holds against a stranger that was
		// handed the pipe and goes on writing.
		s.out.pump(s.buf[:], pipeSize(int(s.out.pipe)))
		s.err.pump(s.buf[:], pipeSize(int(s.err.pipe)))
		s.out.close()
		s.err.close()
		s.phase = recording
		return true
	case recording:
		return s.record()
	}
	return false
}

func (s *shim) run() bool {
	if s.polls[pollTask].revents == 0 {
		s.orders.move(s.pid)
		return false
	}
	s.ended, s.ran = wall(), steady()-s.born
	s.phase = sweeping
	if s.orders.grace() {
		s.phase = lingering
	}
	s.killGroup()
	return true
}

// killGroup is safe as long as the task's zombie holds its number, which is also the number of its group.
func (s *shim) killGroup() {
	if s.phase != sweeping {
		return
	}
	point("shim.before-kill-group")
	_ = syscall.Kill(-s.pid, syscall.SIGKILL)
	if s.spec.group != "" {
		// All that is in its control group at once, against which nothing can fork.
		_ = writeFile(append([]byte(s.spec.group+"/cgroup.kill"), 0), []byte{'1'})
	}
	for {
		_, err := syscall.Wait4(s.pid, &s.status, 0, &s.usage)
		if err != syscall.EINTR {
			return
		}
	}
}

// linger leaves what the task left behind its share of the grace: it was sent the signal as well.
func (s *shim) linger() bool {
	s.closeChild()
	s.orders.pass(s.pid)
	if s.orders.grace() {
		s.eachChild(s.pid, func(pid int) {
			// A child that was waited for has given its number away.
			if gone, _ := syscall.Wait4(pid, nil, syscall.WNOHANG|wAll, nil); gone == 0 && s.child < 0 {
				s.child = pidfdOpen(pid)
			}
		})
		if s.child >= 0 {
			return false
		}
	}
	s.phase = sweeping
	s.killGroup()
	return true
}

// sweep kills every process that was left to the shim, through a pidfd. Their own children are left to the shim in
// turn. "No child" is the kernel's word that nothing is left.
func (s *shim) sweep() bool {
	s.closeChild()
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG|wAll, nil)
		if err == syscall.ECHILD {
			s.phase = draining
			return true
		}
		if pid == 0 {
			break
		}
	}
	s.eachChild(0, func(pid int) {
		fd := pidfdOpen(pid)
		if fd < 0 {
			return
		}
		point("shim.before-sweep-kill")
		pidfdKill(fd)
		if s.child < 0 {
			s.child = fd
			return
		}
		_ = syscall.Close(fd)
	})
	return false
}

func (s *shim) closeChild() {
	if s.child >= 0 {
		_ = syscall.Close(s.child)
		s.child = -1
	}
}

// record writes the exit record, and tries again for as long as the disk refuses it: a shim that ended without it
// would lose what it is there to keep. A kill before the rename is lost(shim); after it the attempt has ended. When
// somebody removed the attempt's directory there is no place for a record and nobody who could read one.
func (s *shim) record() bool {
	point("shim.before-exit")
	if err := put("ctl/exit", s.exitRecord(), syncExit); err == nil || err == syscall.ENOENT {
		s.phase = finished
		return true
	}
	s.pause = min(max(2*s.pause, firstPause), lastPause)
	return false
}
