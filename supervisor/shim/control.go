package shim

import (
	"syscall"
	"unsafe"
)

const maxConns = 4

// listen binds by a relative name: the whole path may be longer than a socket address can hold.
func listen() (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: "ctl/sock"})
	if err == nil {
		err = syscall.Chmod("ctl/sock", 0o600)
	}
	if err == nil {
		err = syscall.Listen(fd, 16)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *shim) serve() {
	for i := range s.conns {
		if s.polls[pollConns+i].revents != 0 {
			s.talk(i)
		}
	}
	if s.polls[pollListen].revents != 0 {
		s.accept()
	}
}

// accept lets in the groom's own user and root. A full table drops the oldest connection: its owner asks again.
func (s *shim) accept() {
	fd, _, errno := syscall.Syscall6(syscall.SYS_ACCEPT4, uintptr(s.listen), 0, 0,
		syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0, 0)
	if errno != 0 {
		return
	}
	if uid, ok := peer(int(fd)); !ok || uid != 0 && int(uid) != syscall.Geteuid() {
		_ = syscall.Close(int(fd))
		return
	}
	for i := range s.conns {
		if s.conns[i] < 0 {
			s.conns[i] = int32(fd)
			return
		}
	}
	_ = syscall.Close(int(s.conns[0]))
	copy(s.conns[:], s.conns[1:])
	s.conns[maxConns-1] = int32(fd)
}

func peer(fd int) (uint32, bool) {
	var cred syscall.Ucred
	size := uint32(syscall.SizeofUcred)
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED,
		uintptr(unsafe.Pointer(&cred)), uintptr(unsafe.Pointer(&size)), 0)
	return cred.Uid, errno == 0
}

// talk answers the messages of one connection. One packet is one message in lines of key=value.
func (s *shim) talk(i int) {
	fd := int(s.conns[i])
	for {
		n, err := syscall.Read(fd, s.buf[:1024])
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			return
		}
		if err != nil || n == 0 {
			_ = syscall.Close(fd)
			s.conns[i] = -1
			return
		}
		_, _ = syscall.Write(fd, s.answer(s.buf[:n]))
	}
}

func (s *shim) answer(message []byte) []byte {
	var cmd, by []byte
	var sig, grace, dump, wait int64
	eachLine(message, func(key, value []byte) {
		switch string(key) {
		case "cmd":
			cmd = value
		case "by":
			by = value
		case "signal":
			sig = number(value)
		case "grace":
			grace = number(value)
		case "dump":
			dump = number(value)
		case "wait":
			wait = number(value)
		}
	})
	b := header(s.rec)
	switch string(cmd) {
	case "ping":
		b = append(b, "ok=1\n"...)
		b = appendInt(b, "pid", int64(s.pid))
		b = appendInt(b, "at", s.started)
		b = appendInt(b, "stdout", s.out.offset)
		b = appendInt(b, "stderr", s.err.offset)
		b = appendInt(b, "dropped", s.out.dropped+s.err.dropped)
		if s.orders.n > 0 {
			b = s.orders.list[0].append(b, "asked")
		}
		return b
	case "stop":
		// A signal to a task that has ended already would claim its end.
		alive := s.phase == running && !readable(s.pidfd)
		if s.orders.give(s.pid, alive, by, syscall.Signal(sig), grace, syscall.Signal(dump), wait) {
			return append(b, "ok=1\n"...)
		}
	}
	return append(b, "ok=0\n"...)
}
