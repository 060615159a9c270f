// Package supervisor runs attempts as processes that outlive the groom: it starts each one exactly once, under a shim
// of its own, finds them again after a crash, ends them, and tells how they ended.
//
// Any binary that imports this package can be the shim: it starts itself again (see package shim).
package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"groom/api"
	"groom/supervisor/cgroup"
)

var (
	// ErrStarted is returned when an attempt is started a second time.
	ErrStarted = errors.New("attempt already started")
	// ErrUnknown is returned when an attempt is not, or no longer, watched.
	ErrUnknown = errors.New("attempt not running")
	// ErrOrder is returned when a stop order cannot be understood.
	ErrOrder = errors.New("bad stop order")
	// ErrSpec is returned when a spec cannot be carried out.
	ErrSpec = errors.New("bad attempt spec")
	// ErrIdentity is returned when a task cannot run as the user and group that its spec names: its user can mend that,
	// and the attempt has failed as one does whose program cannot be executed. Nothing was forked.
	ErrIdentity = errors.New("cannot run as that user")
	// ErrAlive is returned when a directory belongs to a living attempt.
	ErrAlive = errors.New("attempt is alive")
	// ErrForeign is returned when a directory holds another device.
	ErrForeign = errors.New("another device inside")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("supervisor closed")
)

// Spec is everything needed to run one attempt; it becomes ctl/spec (0600).
type Spec struct {
	ID    api.AttemptID
	Dir   string   // the attempt directory, absolute; ctl/, log/ and work/ are made below it
	Token string   // goes into the task's environment as GROOM_TOKEN, and identifies orphans
	Argv  []string // argv[0] is looked up in the PATH of Env when it has no slash
	Env   []string // complete but for GROOM_TOKEN
	Logs  api.Logs // zero values take the defaults
	Own   Own
}

// Ref finds an attempt again after a restart.
type Ref struct {
	ID     api.AttemptID
	Dir    string
	BootID string // when the intent was journaled
	PIDNS  uint64 // inode of the pid namespace then
	Token  string
	// Ran says that the attempt's process is known to have existed: then it is never taken for one that was not
	// started, whatever became of its files.
	Ran bool
}

// EventKind says what an event tells.
type EventKind int

// The kinds of event.
const (
	Started EventKind = iota // the task's process exists (when exec failed, Ended comes without it)
	Ended                    // the exit record is synced, or the attempt is proven dead
)

// Event is what the supervisor has to tell. It is delivered on one channel, in order for each attempt.
type Event struct {
	Kind    EventKind
	ID      api.AttemptID
	Pid     int
	ShimPid int
	At      time.Time
	Exit    *Exit // of Ended
	// Unenforced says, of Started, what was asked for and the host does not give, each with the reason.
	Unenforced []string
}

// Exit is the exit record of an attempt, or what is known without one. A time that is not known is zero.
type Exit struct {
	Outcome   api.Outcome
	Status    int    // raw wait status, -1 when unknown
	Asked     string // the first order that was given before the end: "stop", "kill", "silence", "rollback" or ""
	StartedAt time.Time
	EndedAt   time.Time
	Ran       time.Duration // of the task, on a clock that never steps; 0 when unknown
	MaxRSS    int64         // bytes
	User, Sys time.Duration
	StdoutLen int64
	StderrLen int64
	Dropped   int64 // bytes that could not be written to the logs
	Escalated bool  // the grace was over: killed
	Dumped    bool  // a dump of its stacks was asked for before
	OOMKills  int   // processes of it that the kernel killed for want of memory
	Unproven  bool  // the shim is lost, and that nothing of the attempt lives could not be proven
	Words     string
}

// Finding is what Adopt saw.
type Finding struct {
	Kind    api.Finding // FoundAlive, FoundEnded, FoundLost or FoundUnborn
	Pid     int         // 0 when the shim had not yet started the task: then Started follows
	ShimPid int
	Exit    *Exit // unless FoundAlive
	Words   string
	// Unenforced is as in the event Started, of one that was started before.
	Unenforced []string
}

// Options is what a supervisor is made with.
type Options struct {
	Log *slog.Logger // what happens in the background and is no event; nil discards it
	// Groom is the id of the groom, which names its attempts' control groups. Without one there are none.
	Groom string
}

// Supervisor watches attempts. Its methods may be called from several goroutines.
type Supervisor struct {
	log    *slog.Logger
	groups *cgroup.Parent
	events chan Event
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	strangerAfter, bornWithin time.Duration // shorter in tests

	mu       sync.Mutex
	attempts map[api.AttemptID]*attempt
	closed   bool
}

// New makes a supervisor that watches nothing yet. Someone must read its events.
func New(o Options) *Supervisor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Supervisor{
		log: o.Log, groups: cgroup.New(o.Groom), events: make(chan Event, 64), ctx: ctx, cancel: cancel,
		attempts: map[api.AttemptID]*attempt{}, strangerAfter: strangerAfter, bornWithin: bornWithin,
	}
}

// Events is closed by Close.
func (s *Supervisor) Events() <-chan Event { return s.events }

// Facilities says what control groups can do for attempts on this host.
func (s *Supervisor) Facilities() cgroup.Facilities { return s.groups.Facilities }

// Close stops watching. The attempts run on; another supervisor can adopt them.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	close(s.events)
	return nil
}

// attempt is one that is being started or watched.
type attempt struct {
	Ref
	shim    *process
	started bool               // Started needs no telling any more
	ctx     context.Context    // done when the attempt has ended
	cancel  context.CancelFunc // of ctx
	orders  map[string]bool    // by whom a stop was ordered; guarded by Supervisor.mu
}

// enter reserves the attempt, so that two calls cannot both start or watch it.
func (s *Supervisor) enter(ref Ref) (*attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.attempts[ref.ID] != nil {
		return nil, ErrStarted
	}
	a := &attempt{Ref: ref, orders: map[string]bool{}}
	a.ctx, a.cancel = context.WithCancel(s.ctx)
	s.attempts[ref.ID] = a
	return a, nil
}

func (s *Supervisor) leave(a *attempt) {
	a.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attempts, a.ID)
}

// spawn runs f in the background, unless the supervisor is closed.
func (s *Supervisor) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

func (s *Supervisor) emit(e Event) bool {
	select {
	case s.events <- e:
		return true
	case <-s.ctx.Done():
		return false
	}
}
