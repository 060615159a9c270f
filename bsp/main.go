package bsp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"groom/api"
)

// Exit codes of Main.
const (
	exitFailed     = 1
	exitRolledBack = 69 // the epoch is over, or the groom out of reach: Hama's code
)

// These errors end a peer that did nothing wrong.
var (
	// ErrRolledBack is returned when the epoch has ended; what the peer holds is void.
	ErrRolledBack = errors.New("rolled back")
	// ErrSilence is returned when a job spans grooms and the peer's own has fallen silent.
	ErrSilence = errors.New("the groom is silent")
)

// Main runs a program as one peer of its job, and ends the process: with 0 once the groom has recorded that the peer
// is done, with 69 when the epoch is over, with 1 on any other error, after telling the groom of it.
func Main(program func(*Peer) error) {
	err := Run(os.Getenv, program)
	switch {
	case err == nil:
		os.Exit(0)
	case errors.Is(err, ErrRolledBack), errors.Is(err, ErrSilence):
		fmt.Fprintln(os.Stderr, "bsp:", err)
		os.Exit(exitRolledBack)
	default:
		fmt.Fprintln(os.Stderr, "bsp: error:", err)
		os.Exit(exitFailed)
	}
}

// Run is Main without the end of the process, for tests. env says where the groom is, as os.Getenv does for Main. When
// the epoch ends while the program computes, Run does not wait for it.
func Run(env func(string) string, program func(*Peer) error) error {
	a, err := newAgent(env)
	if err != nil {
		return err
	}
	defer a.close()
	info, err := a.task(context.Background())
	if err != nil {
		return err
	}
	p := newPeer(a, info)
	defer p.close()
	if err = p.open(env(api.EnvData)); err != nil {
		return tell(a, err, "")
	}
	returned := make(chan outcome, 1)
	go func() { returned <- call(p, program) }()
	select {
	case <-p.alive.Done():
		err = p.cause()
	case end := <-returned:
		if err = end.err; err == nil {
			if err = p.finish(); err == nil {
				return nil
			}
		}
		select {
		case <-p.alive.Done(): // what the program says follows from this
			err = p.cause()
		default:
			return tell(a, err, end.stack)
		}
	}
	if errors.Is(err, ErrRolledBack) || errors.Is(err, ErrSilence) {
		return err // nobody is to blame, and nobody asks
	}
	return tell(a, err, "")
}

func tell(a *agent, cause error, stack string) error {
	if stack != "" {
		fmt.Fprintln(os.Stderr, stack)
	}
	return errors.Join(cause, a.fail(cause, stack))
}

// outcome is how a program ended.
type outcome struct {
	err   error
	stack string
}

// call runs the program. A panic is an error with a stack.
func call(p *Peer, program func(*Peer) error) (end outcome) {
	finished := false
	defer func() {
		if finished {
			return
		}
		switch r := recover().(type) {
		case nil:
			end.err = errors.New("the program ended its own goroutine")
		case badConfig:
			end.err = r
		case error:
			end = outcome{err: fmt.Errorf("panic: %w", r), stack: string(debug.Stack())}
		default:
			end = outcome{err: fmt.Errorf("panic: %v", r), stack: string(debug.Stack())}
		}
	}()
	err := program(p)
	finished = true
	return outcome{err: err}
}

// open makes the peer reachable, and starts what works beside the program.
func (p *Peer) open(host string) error {
	if host == "" {
		host = "127.0.0.1"
	}
	// An abstract name, so that no kill leaves a file behind.
	near, err := p.listen("unix", "@groom-"+string(p.info.Attempt)+"-"+rand.Text())
	if err != nil {
		return err
	}
	far, err := p.listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	p.ctl = newControl(p, api.Hello{
		Version: api.Version, Epoch: p.info.Epoch, Index: p.info.Index,
		Unix: near.Addr().String(), TCP: far.Addr().String(),
	})
	for _, r := range p.routes {
		if r.queue != nil {
			p.work.Go(r.write)
		}
	}
	p.work.Go(p.ctl.run)
	p.work.Go(p.ping)
	return nil
}

// lingering is how long a peer that is done waits, after its groom came back, for others that it cannot hear of.
const lingering = 10 * time.Second

// finish ends a peer whose program returned. The peer takes part in barriers until all others have ended theirs too;
// then the groom records that it is done; then one more barrier says that every peer knows the end.
//
// A kill of this process before the groom recorded it fails the attempt, and with it the epoch. A kill of the groom
// after it can keep others from their last release only if this peer leaves too soon, since it has to say its
// arrivals again: hence the last barrier. When that release itself is lost because others have left after it, nobody
// needs this peer either, and it leaves after a while.
func (p *Peer) finish() error {
	for !p.halted {
		if _, err := p.sync(Halt); err != nil {
			return err
		}
		if n := p.in.unread(); n > 0 {
			p.Log.Warn("messages for a program that has ended", "messages", n)
		}
	}
	if err := p.agent.done(p.alive); err != nil {
		return err
	}
	p.ctl.arrive(p.arrival(Halt, nil))
	for {
		select {
		case <-p.ctl.released:
			return nil
		case <-p.alive.Done():
			return nil // it is recorded as done: whoever ended the epoch ends this process too
		case <-time.After(lingering / 10):
			if p.ctl.open() > lingering {
				return nil
			}
		}
	}
}

func newLog(info api.TaskInfo) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("peer", info.Index, "epoch", info.Epoch)
}
