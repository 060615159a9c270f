package shim

import "syscall"

// spec is ctl/spec as the groom wrote it before the fork.
type spec struct {
	id       string
	argv     []string
	env      []string
	maxSize  int64
	maxFiles int

	// What the task has of its own; a number below zero leaves what the groom has.
	uid, gid int
	groups   []uint32
	umask    int
	score    int64
	scored   bool
	limits   []limit

	group  string   // v2 control group, "" without
	born   bool     // the task can be born inside
	others []string // v1 control groups
	oom    string   // counts the kills for want of memory
	token  string
}

// limit is one resource limit, by the kernel's number for it.
type limit struct {
	resource   int
	soft, hard uint64
}

// staged says that there is something to do between the fork and the task's program that a fork alone cannot do.
func (s *spec) staged() bool {
	return s.uid >= 0 || s.umask >= 0 || s.scored || len(s.limits) > 0 || len(s.others) > 0 || s.group != "" && !s.born
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
	s.uid, s.gid, s.umask = -1, -1, -1
	eachLine(b, func(key, value []byte) {
		switch string(key) {
		case "id":
			s.id = unescape(value)
		case "token":
			s.token = unescape(value)
		case "uid":
			s.uid = int(number(value))
		case "gid":
			s.gid = int(number(value))
		case "group":
			s.groups = append(s.groups, uint32(number(value)))
		case "umask":
			s.umask = int(number(value))
		case "score":
			s.score, s.scored = signed(value), true
		case "rlimit":
			s.limits = append(s.limits, parseLimit(value))
		case "cgroup":
			s.group = unescape(value)
		case "born":
			s.born = true
		case "join":
			s.others = append(s.others, unescape(value))
		case "oom":
			s.oom = unescape(value)
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

// parseLimit reads "resource soft hard".
func parseLimit(b []byte) limit {
	var l limit
	at := index(b, ' ')
	l.resource = int(number(b[:at]))
	b = b[min(at+1, len(b)):]
	at = index(b, ' ')
	l.soft, l.hard = uint64(number(b[:at])), uint64(number(b[min(at+1, len(b)):]))
	return l
}

func signed(b []byte) int64 {
	if len(b) > 0 && b[0] == '-' {
		return -number(b[1:])
	}
	return number(b)
}

// number reads decimal digits; anything else ends it. Digits beyond 63 bits wrap, so that the largest number of 64 bits
// comes out whole as an unsigned one.
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
