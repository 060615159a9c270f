// Package fsm holds the state tables of a groom and every decision about them. It is pure: no input or output, no
// clock, no randomness, no goroutines. What happens in the world comes in as an observation with its time and seed;
// what is decided goes out as changed rows, which the journal records before anything acts on them.
package fsm

import (
	"groom/api"
	"groom/fsm/table"
)

// Self is the one row that says who this groom is.
type Self struct {
	ID          string `json:"id"` // random, made at the first start
	Name        string `json:"name"`
	Cluster     string `json:"cluster,omitempty"` // pinned by the first registration
	Incarnation uint64 `json:"incarnation"`
	BootID      string `json:"boot_id"`
	PIDNS       uint64 `json:"pid_ns"`
	Build       string `json:"build"`
	MaxTasks    int    `json:"max_tasks"`
}

// Job is what the groom knows of a job of which it has tasks. The parts of the spec that decisions need are copied
// here, since a decision may read nothing but the tables.
type Job struct {
	ID        api.JobID     `json:"id"`
	Name      string        `json:"name,omitempty"`
	Type      api.JobType   `json:"type,omitempty"`
	Spec      string        `json:"spec,omitempty"` // SHA-256 of the spec file
	Tasks     int           `json:"tasks,omitempty"`
	Local     []int         `json:"local,omitempty"` // indexes of this groom's tasks
	Epoch     int           `json:"epoch,omitempty"`
	Root      *api.RootAddr `json:"root,omitempty"`
	Stop      api.Stop      `json:"stop"`
	Restart   api.Restart   `json:"restart"`
	Retention api.Retention `json:"retention,omitzero"`
	Pings     bool          `json:"pings,omitempty"` // its tasks must ping
	Dump      string        `json:"dump,omitempty"`  // signal that asks a silent task for its stacks
	// StopAfter is for how long its tasks run on without a master, and StopDue when that is over, while none answers.
	StopAfter api.Duration `json:"stop_after,omitempty"`
	StopDue   *api.Moment  `json:"stop_due,omitempty"`
	Committed bool         `json:"committed,omitempty"`
	// Final is set by a kill of the whole job: a launch that it overtook starts nothing.
	Final api.TaskState `json:"final,omitempty"`
}

// Task is one process wanted.
type Task struct {
	ID        api.TaskID    `json:"id"`
	State     api.TaskState `json:"state"`
	Epoch     int           `json:"epoch,omitempty"`
	Attempt   int           `json:"attempt,omitempty"`   // serial number of the newest attempt, 0 before the first
	Next      int           `json:"next,omitempty"`      // serial number that the next one must have, 0 for the one after
	Failures  int           `json:"failures,omitempty"`  // counted ends in this budget period
	Uncounted int           `json:"uncounted,omitempty"` // ends that were not counted, bounded by uncountedLimit
	NextTry   *api.Moment   `json:"next_try,omitempty"`  // of TaskBackoff
	// Final is the state that the task takes when its process is gone: set by stop, kill and failure.
	Final api.TaskState `json:"final,omitempty"`
	// Moved says that the master placed the task on another groom. It ends here as killed, and is the one end that a
	// later epoch takes back, when it places the task here again.
	Moved bool       `json:"moved,omitempty"`
	Words string     `json:"words"` // the newest decision about it
	Since api.Moment `json:"since"`
}

// AttemptState is where an attempt stands.
type AttemptState string

// The states of an attempt.
const (
	AttemptIntended AttemptState = "intended" // the journal holds it; a process may or may not exist
	AttemptRunning  AttemptState = "running"
	AttemptEnded    AttemptState = "ended" // proven dead, with its outcome
)

// Order asks for the end of an attempt's process. It is repeated unchanged after a restart of the groom: the shim
// counts the grace from its first delivery.
type Order struct {
	By     string       `json:"by"` // see the constants below
	Signal string       `json:"signal"`
	Grace  api.Duration `json:"grace"`
	Dump   string       `json:"dump,omitempty"` // signal that asks for stacks before Signal ends it
	Why    string       `json:"why,omitempty"`
	At     api.Moment   `json:"at"`
}

// weak says that any order of another kind may take its place.
func (o Order) weak() bool { return o.By == api.ByStop || o.By == api.ByRestart }

// Reasons of an order, beside api.ByStop, api.ByRestart and api.ByKill.
const (
	BySilence  = "silence"
	ByRollback = "rollback"
)

// Place is where an attempt is made: decided in the world, recorded with the intent.
type Place struct {
	Dir    string `json:"dir"` // local directory of this groom
	BootID string `json:"boot_id"`
	PIDNS  uint64 `json:"pid_ns"`
}

// Attempt is one process started, or to be started, for a task.
type Attempt struct {
	ID       api.AttemptID `json:"id"`
	Epoch    int           `json:"epoch,omitempty"`
	State    AttemptState  `json:"state"`
	Place    Place         `json:"place"`
	Intended api.Moment    `json:"intended"`
	Pid      int           `json:"pid,omitempty"`
	ShimPid  int           `json:"shim_pid,omitempty"`
	Started  api.Moment    `json:"started,omitzero"`
	// Unenforced says what the job asks for and the host does not give, each with the reason.
	Unenforced []string `json:"unenforced,omitempty"`
	Done       bool     `json:"done,omitempty"`    // it reported that it has nothing more to do
	Failure    string   `json:"failure,omitempty"` // what it told before its end
	Order      *Order   `json:"order,omitempty"`
	End        *End     `json:"end,omitempty"`
	Counted    bool     `json:"counted,omitempty"`
}

// End is how an attempt ended, from its exit record or from the proof of its death.
type End struct {
	Outcome   api.Outcome `json:"outcome"`
	Status    int         `json:"status"`        // raw wait status, -1 when unknown
	At        api.Moment  `json:"at"`            // by its exit record, or when the groom learned of it
	Ran       int64       `json:"ran,omitempty"` // ns from start to end on a clock that never steps, 0 when unknown
	MaxRSS    int64       `json:"max_rss,omitempty"`
	UserNS    int64       `json:"user_ns,omitempty"`
	SystemNS  int64       `json:"system_ns,omitempty"`
	Dropped   int64       `json:"dropped,omitempty"` // log bytes that could not be kept
	Escalated bool        `json:"escalated,omitempty"`
	Unproven  bool        `json:"unproven,omitempty"` // that no descendant is left could not be shown
	Words     string      `json:"words,omitempty"`
}

// Seen is a directive that was accepted; the row's index says which entry holds it.
type Seen struct {
	Kind api.DirectiveKind `json:"kind"`
	Job  api.JobID         `json:"job"`
}

// Dir is the health of one local directory, as it last changed.
type Dir struct {
	OK     bool       `json:"ok"`
	Reason string     `json:"reason,omitempty"`
	Since  api.Moment `json:"since"`
}

// Incarnation is one start of the groom with what it found.
type Incarnation struct {
	At       api.Moment          `json:"at"`
	Build    string              `json:"build"`
	BootID   string              `json:"boot_id"`
	Recovery *api.RecoveryReport `json:"recovery,omitempty"`
}

// Windows of the tables that remember what was seen.
const (
	directiveWindow   = 4096
	incarnationWindow = 64
	selfKey           = "self"
)

// State is the tables of a groom.
type State struct {
	Store        *table.Store
	Self         *table.Table[Self]
	Jobs         *table.Table[Job]     // by job id
	Tasks        *table.Table[Task]    // by task id
	Attempts     *table.Table[Attempt] // by attempt id
	Directives   *table.Table[Seen]    // by directive id
	Outbox       *table.Table[api.Report]
	Dirs         *table.Table[Dir]         // by path
	Incarnations *table.Table[Incarnation] // by number
	Open         *table.Subset[Task]       // those that have not ended
	Living       *table.Subset[Attempt]    // likewise
}

// NewState makes empty tables.
func NewState() *State {
	s := table.NewStore()
	state := &State{
		Store:        s,
		Self:         table.New[Self](s, "self", 0),
		Jobs:         table.New[Job](s, "jobs", 0),
		Tasks:        table.New[Task](s, "tasks", 0),
		Attempts:     table.New[Attempt](s, "attempts", 0),
		Directives:   table.New[Seen](s, "directives", directiveWindow),
		Outbox:       table.New[api.Report](s, "outbox", 0),
		Dirs:         table.New[Dir](s, "dirs", 0),
		Incarnations: table.New[Incarnation](s, "incarnations", incarnationWindow),
	}
	state.Open = state.Tasks.Where(func(t Task) bool { return !t.State.Terminal() })
	state.Living = state.Attempts.Where(func(a Attempt) bool { return a.State != AttemptEnded })
	return state
}

// NewMachine makes a machine over the tables, for a journal to drive. watch may be nil.
func NewMachine(s *State, watch func(index uint64, kind uint16, e *table.Entry)) *table.Machine {
	return table.NewMachine("groom", Kinds(), s.Store, watch)
}

// Me is the row that says who this groom is; it is empty before the first boot.
func (s *State) Me() Self {
	self, _ := s.Self.Get(selfKey)
	return self
}

// Newest is the task's newest attempt, if it has one.
func (s *State) Newest(t Task) (Attempt, bool) {
	return s.Attempts.Get(string(t.ID.Attempt(t.Attempt)))
}

// Slots is the number of tasks that hold a place of the groom's capacity: each that has, or will soon have, a process.
func (s *State) Slots() int {
	n := 0
	for _, t := range s.Open.All() {
		if holdsSlot(t.State) {
			n++
		}
	}
	return n
}

func holdsSlot(state api.TaskState) bool {
	switch state {
	case api.TaskLaunching, api.TaskRunning, api.TaskBackoff, api.TaskStopping:
		return true
	}
	return false
}
