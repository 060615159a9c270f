package shim

import (
	"syscall"
	"unsafe"
)

// processStart is the start time of a process in clock ticks since boot: field 22 of its stat, counted from the last
// parenthesis, because the name before it may hold anything.
func processStart(pid int, buf []byte) int64 { return statField(pid, 22, buf) }

func statField(pid, field int, buf []byte) int64 {
	path := append(make([]byte, 0, 32), "/proc/"...)
	path = append(appendDecimal(path, int64(pid), 1), "/stat\x00"...)
	b := readSmall(path, buf)
	i := len(b) - 1
	for i >= 0 && b[i] != ')' {
		i--
	}
	if i < 0 {
		return 0
	}
	b = b[i:]
	for n := 2; n < field && len(b) > 0; n++ {
		b = b[min(index(b, ' ')+1, len(b)):]
	}
	return number(b)
}

// readSmall reads a file of /proc by a path that ends in a zero byte.
func readSmall(path, buf []byte) []byte {
	fd, _, errno := syscall.Syscall6(syscall.SYS_OPENAT, cwd(), uintptr(unsafe.Pointer(&path[0])),
		syscall.O_RDONLY|syscall.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return nil
	}
	n, err := syscall.Read(int(fd), buf)
	_ = syscall.Close(int(fd))
	if err != nil {
		return nil
	}
	return buf[:n]
}

// eachChild visits the shim's children, dead or alive, without the one named. The numbers stay valid until the shim
// waits for them. The list may be cut by the buffer: callers look again until there is nothing left.
func (s *shim) eachChild(except int, visit func(pid int)) {
	me := syscall.Getpid()
	path := append(make([]byte, 0, 64), "/proc/self/task/"...)
	path = append(appendDecimal(path, int64(me), 1), "/children\x00"...)
	list := readSmall(path, s.buf[:])
	found := false
	for len(list) > 0 {
		end := index(list, ' ')
		if end == len(list) {
			break // cut short, or the end
		}
		if pid := int(number(list[:end])); pid != except && pid > 0 {
			found = true
			visit(pid)
		}
		list = list[end+1:]
	}
	if !found {
		s.scanChildren(me, except, visit)
	}
}

// scanChildren looks through all of /proc, for kernels that do not list children.
func (s *shim) scanChildren(me, except int, visit func(pid int)) {
	fd, err := syscall.Open("/proc", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	half := len(s.buf) / 2
	for {
		n, err := syscall.ReadDirent(fd, s.buf[:half])
		if err != nil || n <= 0 {
			return
		}
		for b := s.buf[:n]; len(b) > 19; {
			size := int(b[16]) | int(b[17])<<8 // of the entry: inode 8, offset 8, size 2, type 1, name
			if pid := int(number(b[19:size])); pid > 0 && pid != except && statField(pid, 4, s.buf[half:]) == int64(me) {
				visit(pid)
			}
			b = b[size:]
		}
	}
}

// reapOrphans waits for descendants that were left to the shim and have ended, but never for the task itself.
func (s *shim) reapOrphans() {
	for {
		var info [128]byte // siginfo_t; the pid stands at offset 16
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pAll, 0, uintptr(unsafe.Pointer(&info)),
			wExited|syscall.WNOHANG|wNoWait, 0, 0)
		pid := int(*(*int32)(unsafe.Pointer(&info[16])))
		if errno != 0 || pid == 0 || pid == s.pid {
			return
		}
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG|wAll, nil)
	}
}
