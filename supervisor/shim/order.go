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

	// An order may ask for a dump of the task's stacks first. Its own signal waits until then.
	dumped  bool
	waiting syscall.Signal // 0 when none waits
	until   int64          // on the steady clock
	waiter  int            // the order whose signal waits
}

type order struct {
	name [maxName]byte
	len  int
}

// give takes a stop. An order that was given before changes nothing: its grace is not extended. Another order can
// only shorten the time that is left. With a dump signal the task gets that first, and the stop's own signal after the
// wait; the grace begins then.
func (o *orders) give(pid int, alive bool, by []byte, sig syscall.Signal, grace int64, dump syscall.Signal, wait int64) bool {
	if len(by) == 0 || len(by) > maxName || sig < 1 || sig > lastSignal || dump < 0 || dump > lastSignal {
		return false
	}
	if dump == 0 || o.dumped {
		wait = 0
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
	if end := steady() + wait + grace; o.n == 0 || end < o.deadline {
		o.deadline, o.current = end, o.n
	}
	o.n++
	if !alive {
		return true
	}
	if grace == 0 {
		sig = syscall.SIGKILL
	}
	if wait > 0 {
		o.dumped = true
		o.waiting, o.until, o.waiter = sig, steady()+wait, o.n
		sig = dump
	}
	o.send(pid, sig, o.n)
	return true
}

// move takes the step that is due, if one is: the signal that waited for a dump, then the kill when the grace is over.
func (o *orders) move(pid int) {
	if sig := o.waited(); sig != 0 {
		o.send(pid, sig, o.waiter)
	}
	if o.due() {
		o.escalated = true
		point("shim.before-escalate")
		o.send(pid, syscall.SIGKILL, o.current+1)
	}
}

// pass is move for what a task left that has ended: what it gets now has no part in the task's own end.
func (o *orders) pass(pid int) {
	if sig := o.waited(); sig != 0 {
		o.killed = sig == syscall.SIGKILL
		signal(pid, sig)
	}
	if o.due() {
		o.escalated = true
	}
}

// waited is the signal that has waited long enough for a dump, or 0.
func (o *orders) waited() syscall.Signal {
	if o.waiting == 0 || o.killed || steady() < o.until {
		return 0
	}
	sig := o.waiting
	o.waiting = 0
	return sig
}

func (o *orders) send(pid int, sig syscall.Signal, by int) {
	if o.sentBy[sig] == 0 {
		o.sentBy[sig] = int8(by)
	}
	if sig == syscall.SIGKILL {
		o.killed = true
	}
	signal(pid, sig)
}

func signal(group int, sig syscall.Signal) {
	point("shim.before-signal")
	_ = syscall.Kill(-group, sig)
	if sig != syscall.SIGKILL {
		_ = syscall.Kill(-group, syscall.SIGCONT) // a stopped process could not answer
	}
}

// left is the time until the grace is over, -1 when nothing is pending.
func (o *orders) left() int64 {
	if o.n == 0 || o.killed {
		return -1
	}
	return max(o.deadline-steady(), 0)
}

// next is the time until there is something to do, -1 when there is not.
func (o *orders) next() int64 {
	left := o.left()
	if left > 0 && o.waiting != 0 {
		return min(left, max(o.until-steady(), 0))
	}
	return left
}

func (o *orders) due() bool   { return o.left() == 0 }
func (o *orders) grace() bool { return o.left() > 0 }

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
	if o.dumped {
		b = appendInt(b, "dumped", 1)
	}
	return b
}

func (o *order) append(b []byte, key string) []byte {
	b = append(append(b, key...), '=')
	return append(append(b, o.name[:o.len]...), '\n')
}
