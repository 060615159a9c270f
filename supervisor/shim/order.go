package shim

import "syscall"

const (
	maxOrders = 8
	maxName   = 16
)

// orders are the stops that the shim was given, and what it sent for each.
type orders struct {
	list      [maxOrders]order
	n         int
	sentBy    [lastSignal + 1]int8 // 1 + the first order that sent the signal
	deadline  int64                // on the steady clock; the earliest of all orders
	current   int                  // the order that set the deadline
	killed    bool                 // SIGKILL went out to the group
	escalated bool
}

type order struct {
	name [maxName]byte
	len  int
}

// give takes a stop. An order that was given before changes nothing: its grace is not extended. Another order can
// only shorten the time that is left.
func (o *orders) give(pid int, alive bool, by []byte, sig syscall.Signal, grace int64) bool {
	if len(by) == 0 || len(by) > maxName || sig < 1 || sig > lastSignal {
		return false
	}
	for i := range o.n {
		if known := &o.list[i]; string(known.name[:known.len]) == string(by) {
			return true
		}
	}
	if !alive && o.n == 0 {
		return true // nobody asked for this end, and what is left is being killed
	}
	if o.n == maxOrders {
		return false
	}
	me := &o.list[o.n]
	me.len = copy(me.name[:], by)
	if end := steady() + grace; o.n == 0 || end < o.deadline {
		o.deadline, o.current = end, o.n
	}
	o.n++
	if !alive {
		return true
	}
	if grace == 0 {
		sig = syscall.SIGKILL
	}
	o.send(pid, sig, o.n)
	if sig != syscall.SIGKILL {
		_ = syscall.Kill(-pid, syscall.SIGCONT) // a stopped process could not answer
	}
	return true
}

func (o *orders) send(pid int, sig syscall.Signal, by int) {
	if o.sentBy[sig] == 0 {
		o.sentBy[sig] = int8(by)
	}
	if sig == syscall.SIGKILL {
		o.killed = true
	}
	_ = syscall.Kill(-pid, sig)
}

// left is the time until the grace is over, -1 when nothing is pending.
func (o *orders) left() int64 {
	if o.n == 0 || o.killed {
		return -1
	}
	return max(o.deadline-steady(), 0)
}

func (o *orders) due() bool   { return o.left() == 0 }
func (o *orders) grace() bool { return o.left() > 0 }

func (o *orders) escalate(pid int) {
	o.escalated = true
	o.send(pid, syscall.SIGKILL, o.current+1)
}

// append writes what the shim had to do with the end: the first order, and, when a signal ended the task, the order
// that first sent this signal.
func (o *orders) append(b []byte, status syscall.WaitStatus) []byte {
	if o.n == 0 {
		return b
	}
	b = o.list[0].append(b, "asked")
	if status.Signaled() {
		if by := o.sentBy[status.Signal()]; by > 0 {
			b = o.list[by-1].append(b, "by")
		}
	}
	if o.escalated {
		b = appendInt(b, "escalated", 1)
	}
	return b
}

func (o *order) append(b []byte, key string) []byte {
	b = append(append(b, key...), '=')
	return append(append(b, o.name[:o.len]...), '\n')
}
