package shim

import "syscall"

// spec is ctl/spec as the groom wrote it before the fork.
type spec struct {
	id       string
	argv     []string
	env      []string
	maxSize  int64
	maxFiles int
}

func (s *spec) read() error {
	fd, err := syscall.Open("ctl/spec", syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	b := make([]byte, st.Size)
	for got := 0; got < len(b); {
		n, err := syscall.Read(fd, b[got:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return syscall.EIO // shorter than it says
		}
		got += n
	}
	eachLine(b, func(key, value []byte) {
		switch string(key) {
		case "id":
			s.id = unescape(value)
		case "arg":
			s.argv = append(s.argv, unescape(value))
		case "env":
			s.env = append(s.env, unescape(value))
		case "logsize":
			s.maxSize = number(value)
		case "logfiles":
			s.maxFiles = int(number(value))
		}
	})
	if len(s.argv) == 0 || s.maxSize < 1 || s.maxFiles < 1 {
		return syscall.EINVAL
	}
	return nil
}

func eachLine(b []byte, do func(key, value []byte)) {
	for len(b) > 0 {
		end := index(b, '\n')
		line := b[:end]
		b = b[min(end+1, len(b)):]
		if eq := index(line, '='); eq < len(line) {
			do(line[:eq], line[eq+1:])
		}
	}
}

// index is where c stands first, or the length.
func index(b []byte, c byte) int {
	for i := range b {
		if b[i] == c {
			return i
		}
	}
	return len(b)
}

func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+1 < len(b) {
			i++
			if c = b[i]; c == 'n' {
				c = '\n'
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// number reads decimal digits; anything else ends it.
func number(b []byte) int64 {
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
