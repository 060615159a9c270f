package shim

import "syscall"

// recordSize bounds every record, the path of a missing program included.
const recordSize = 12 << 10

// Records are lines of key=value, the first v=1. A reader skips keys that it does not know.

func header(b []byte) []byte { return append(b[:0], "v=1\n"...) }

func appendInt(b []byte, key string, n int64) []byte {
	b = append(append(b, key...), '=')
	return append(appendDecimal(b, n, 1), '\n')
}

func appendText(b []byte, key, value string) []byte {
	b = append(append(b, key...), '=')
	for i := range len(value) {
		switch c := value[i]; c {
		case '\n':
			b = append(b, '\\', 'n')
		case '\\':
			b = append(b, '\\', '\\')
		default:
			b = append(b, c)
		}
	}
	return append(b, '\n')
}

// appendDecimal writes at least width digits.
func appendDecimal(b []byte, n int64, width int) []byte {
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	var d [20]byte
	i := len(d)
	for n > 0 || len(d)-i < width {
		i--
		d[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, d[i:]...)
}

// appendSum closes a record with the FNV-1a hash of all before it, so that a torn record is seen.
func appendSum(b []byte) []byte {
	h := uint64(0xcbf29ce484222325)
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	b = append(b, "sum="...)
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[h>>shift&15])
	}
	return append(b, '\n')
}

// put makes the file appear whole or not at all. A kill before the rename leaves a .tmp that nobody reads.
func put(name string, b []byte, sync bool) error {
	tmp := name + ".tmp"
	fd, err := syscall.Open(tmp, syscall.O_CREAT|syscall.O_TRUNC|syscall.O_WRONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = writeAll(fd, b)
	if err == nil && sync {
		point("shim.before-sync")
		err = syscall.Fsync(fd)
	}
	if e := syscall.Close(fd); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if sync {
		point("shim.before-rename")
	}
	if err := syscall.Rename(tmp, name); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	point("shim.after-rename")
	dir, err := syscall.Open("ctl", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(dir)
	return syscall.Fsync(dir)
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := syscall.Write(fd, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// exitRecord is everything known of the end, in raw form: what it means is the groom's business.
func (s *shim) exitRecord() []byte {
	b := appendText(header(s.rec), "id", s.spec.id)
	if s.failStep != "" {
		b = appendText(b, "step", s.failStep)
		b = appendInt(b, "errno", int64(s.failNo))
		b = appendText(b, "what", s.failWhat)
	} else {
		b = appendInt(b, "pid", int64(s.pid))
		b = appendInt(b, "status", int64(s.status))
		b = s.orders.append(b, s.status)
		if n := oomKills(s.spec.oom, s.buf[:]); n > 0 {
			b = appendInt(b, "oom", n)
		}
		b = appendInt(b, "ran", s.ran)
		b = appendInt(b, "maxrss", s.usage.Maxrss*1024)
		b = appendInt(b, "user", s.usage.Utime.Nano())
		b = appendInt(b, "system", s.usage.Stime.Nano())
	}
	b = appendInt(b, "started", s.started)
	b = appendInt(b, "ended", s.ended)
	b = appendInt(b, "stdout", s.out.offset)
	b = appendInt(b, "stderr", s.err.offset)
	b = appendInt(b, "dropped", s.out.dropped+s.err.dropped)
	return appendSum(b)
}
