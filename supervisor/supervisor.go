package supervisor

// (contract for the authors; to be replaced by the real thing)

import (
	"context"
	"time"

	"groom/api"
)

// Spec is everything needed to run one attempt; it becomes ctl/spec (0600).
type Spec struct {
	ID     api.AttemptID
	Dir    string   // the attempt directory, absolute; ctl/ and work/ are made below it
	Token  string   // goes into the task's environment as GROOM_TOKEN, and identifies orphans
	Argv   []string // argv[0] is looked up in PATH of Env when it has no slash
	Env    []string // complete
	Logs   api.Logs
	Stop   api.Stop // default order of a stop, used by the shim when told to stop without one
	// DieWithGroom (groom run): reserved for later; not needed now
}

// Ref finds an attempt again after a restart.
type Ref struct {
	ID     api.AttemptID
	Dir    string
	BootID string // when the intent was journaled
	PIDNS  uint64 // inode of the pid namespace then
	Token  string
}

type EventKind int

const (
	Started EventKind = iota // the task's process exists (or exec failed: then Ended follows at once, without Started)
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
}

// Exit is the exit record of an attempt, or what is known without one.
type Exit struct {
	Outcome   api.Outcome // By: "stop"/"kill" when the shim's own signal by that order ended it, else "others"
	Status    int         // raw wait status, -1 when unknown
	StartedAt time.Time
	EndedAt   time.Time
	MaxRSS    int64 // bytes
	User, Sys time.Duration
	StdoutLen, StderrLen int64
	Dropped   int64 // bytes that could not be written to the logs
	Escalated bool  // the grace was over: killed
	Unproven  bool  // shim lost and emptiness could not be proven
	Words     string
}

// Finding is what Adopt saw.
type Finding struct {
	Kind    api.Finding // FoundAlive, FoundEnded, FoundLost, FoundUnborn
	Pid     int
	ShimPid int
	Exit    *Exit // unless FoundAlive
	Words   string
}

// Order asks for the end of an attempt. Sending it again changes nothing (the grace is not extended).
type Order struct {
	By     string // api.ByStop, api.ByKill, "silence" or "rollback"
	Signal string // first signal
	Grace  time.Duration // then SIGKILL of group and of every descendant; 0 kills at once
}

type Supervisor struct{}

type Options struct{}

func New(o Options) *Supervisor                                                    { return nil }
func (s *Supervisor) Events() <-chan Event                                          { return nil }
func (s *Supervisor) Start(ctx context.Context, spec Spec) error                    { return nil }
func (s *Supervisor) Adopt(ctx context.Context, ref Ref) (Finding, error)           { return Finding{}, nil }
func (s *Supervisor) Stop(id api.AttemptID, o Order) error                          { return nil }
func (s *Supervisor) Close() error                                                  { return nil }
