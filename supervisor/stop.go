package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"groom/api"
	"groom/fault"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

const (
	askTimeout   = 2 * time.Second
	resendFirst  = time.Millisecond
	resendLast   = time.Second
	answerLength = 1024
)

// Order asks for the end of an attempt. Sending it again changes nothing (the grace is not extended). Another order
// can only bring the end nearer.
type Order struct {
	By     string        // api.ByStop, api.ByKill, BySilence or ByRollback
	Signal string        // first signal, such as SIGTERM
	Grace  time.Duration // then SIGKILL of the group and of every descendant; 0 kills at once
	// Dump is sent before all that, so that the task writes its stacks to stderr, which Go and the JVM do for SIGQUIT.
	// "" asks for none. Then the task has DumpWait before Signal comes, and the grace runs from there.
	Dump     string
	DumpWait time.Duration
}

// Stop has the order delivered to the shim, which carries it out alone from there. It returns at once; while the shim
// does not answer, because it is still being born, the order is sent again until the attempt has ended.
//
// Nothing of the order is kept across a crash of the groom: the journal holds it, and the next start gives it again.
func (s *Supervisor) Stop(id api.AttemptID, o Order) error {
	sig := unix.SignalNum(o.Signal)
	if sig == 0 && o.Grace > 0 || o.Grace < 0 || o.By == "" {
		return fmt.Errorf("stop %s: %w: by %q, signal %q, grace %s", id, ErrOrder, o.By, o.Signal, o.Grace)
	}
	if o.Dump != "" && unix.SignalNum(o.Dump) == 0 || o.DumpWait < 0 {
		return fmt.Errorf("stop %s: %w: dump %q, wait %s", id, ErrOrder, o.Dump, o.DumpWait)
	}
	if o.Grace == 0 {
		sig = unix.SIGKILL
	}
	s.mu.Lock()
	a := s.attempts[id]
	if a == nil || s.closed {
		s.mu.Unlock()
		return fmt.Errorf("stop %s: %w", id, ErrUnknown)
	}
	if a.orders[o.By] {
		s.mu.Unlock()
		return nil
	}
	a.orders[o.By] = true
	s.wg.Go(func() { s.deliver(a, o, sig) })
	s.mu.Unlock()
	return nil
}

// deliver sends until the shim has confirmed. Killed after the shim took the order and before it was confirmed: the
// next start sends it again, and the shim knows it already.
func (s *Supervisor) deliver(a *attempt, o Order, sig unix.Signal) {
	// The grace runs from now, not from the moment when the shim could be reached.
	deadline := time.Now().Add(o.Grace)
	warned := false
	for d := resendFirst; ; {
		fault.Point("supervisor.before-order")
		left := max(time.Until(deadline), 0)
		if left == 0 {
			sig = unix.SIGKILL
		}
		message := ctl.Record{}.
			Add("cmd", "stop").
			Add("by", o.By).
			Add("signal", strconv.Itoa(int(sig))).
			Add("grace", strconv.FormatInt(int64(left), 10))
		if o.Dump != "" && o.DumpWait > 0 {
			// A shim of an older groom passes over these two, and stops without a dump.
			message = message.
				Add("dump", strconv.Itoa(int(unix.SignalNum(o.Dump)))).
				Add("wait", strconv.FormatInt(int64(o.DumpWait), 10))
		}
		answer, err := ask(a.Dir, message)
		fault.Point("supervisor.after-order")
		if err == nil && answer.Get("ok") == "1" {
			return
		}
		if d == resendLast && !warned {
			warned = true
			s.log.Warn("stop not confirmed", "attempt", a.ID, "by", o.By, "error", err)
		}
		if !pause(a.ctx, &d, resendLast) {
			return
		}
	}
}

// Pulse is what a shim says of its attempt.
type Pulse struct {
	Pid       int
	StdoutLen int64
	StderrLen int64
	Dropped   int64
	Asked     string // the first order that it was given, as in Exit
}

// Ping asks the shim. That it answers says nothing of the task's own health.
func (s *Supervisor) Ping(id api.AttemptID) (Pulse, error) {
	s.mu.Lock()
	a := s.attempts[id]
	s.mu.Unlock()
	if a == nil {
		return Pulse{}, fmt.Errorf("ping %s: %w", id, ErrUnknown)
	}
	r, err := ask(a.Dir, ctl.Record{}.Add("cmd", "ping"))
	if err != nil {
		return Pulse{}, fmt.Errorf("ping %s: %w", id, err)
	}
	return Pulse{
		Pid: int(r.Int("pid")), StdoutLen: r.Int("stdout"), StderrLen: r.Int("stderr"),
		Dropped: r.Int("dropped"), Asked: r.Get("asked"),
	}, nil
}

// ask sends one message to the shim of the attempt in dir. The socket is reached by way of a descriptor of its
// directory, because the path may be longer than an address can hold.
func ask(dir string, message ctl.Record) (ctl.Record, error) {
	fd, err := unix.Open(filepath.Join(dir, ctl.Dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open ctl: %w", err)
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unixpacket", fmt.Sprintf("/proc/self/fd/%d/%s", fd, ctl.Sock))
	if err != nil {
		return nil, fmt.Errorf("reach shim: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, fmt.Errorf("reach shim: %w", err)
	}
	if _, err := conn.Write(message.Bytes()); err != nil {
		return nil, fmt.Errorf("ask shim: %w", err)
	}
	b := make([]byte, answerLength)
	n, err := conn.Read(b)
	if err != nil {
		return nil, fmt.Errorf("hear shim: %w", err)
	}
	if n == 0 {
		return nil, errors.New("hear shim: it hung up")
	}
	return ctl.Parse(b[:n])
}
