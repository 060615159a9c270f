// Package fault kills the process at a named point, so that tests can show what the next start makes of it.
package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Env arms one point: "journal.before-store" kills at the first pass, "journal.before-store#3" at the third.
const Env = "GROOM_FAILPOINT"

type point struct {
	name string
	pass int64
	seen atomic.Int64
}

var armed = parse(os.Getenv(Env))

func parse(s string) *point {
	if s == "" {
		return nil
	}
	name, pass, _ := strings.Cut(s, "#")
	n, err := strconv.ParseInt(pass, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	return &point{name: name, pass: n}
}

// Point dies by SIGKILL when it is the one that is armed. Names are "<package>.<what comes next>".
func Point(name string) {
	if armed == nil || armed.name != name || armed.seen.Add(1) != armed.pass {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way; nothing after the point may run
}
