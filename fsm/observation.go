package fsm

import "groom/api"

// Observation is something that happened in the world. Its kind is the kind of the journal entry that records it with
// the decision made for it; released kinds are frozen, and new behaviour of a replay is a new kind.
type Observation interface{ Kind() uint16 }

// The kinds of a groom's entries. Numbers are on disk: they are never reused.
const (
	KindBooted    uint16 = 16
	KindRecovered uint16 = 17
	KindDir       uint16 = 18
	KindPinned    uint16 = 19
	KindDirective uint16 = 20
	KindDue       uint16 = 21
	KindStarted   uint16 = 22
	KindEnded     uint16 = 23
	KindDone      uint16 = 24
	KindTold      uint16 = 25
	KindSilent    uint16 = 26
	KindCommitted uint16 = 27
	KindAcked     uint16 = 28
	KindContact   uint16 = 29
	KindAbandoned uint16 = 30
)

// Kinds names each kind.
func Kinds() map[uint16]string {
	return map[uint16]string{
		KindBooted:    "groom.booted",
		KindRecovered: "groom.recovered",
		KindDir:       "dir.changed",
		KindPinned:    "cluster.pinned",
		KindDirective: "directive.accepted",
		KindDue:       "task.due",
		KindStarted:   "attempt.started",
		KindEnded:     "attempt.ended",
		KindDone:      "attempt.done",
		KindTold:      "attempt.told",
		KindSilent:    "attempt.silent",
		KindCommitted: "output.committed",
		KindAcked:     "report.acked",
		KindContact:   "master.contact",
		KindAbandoned: "job.abandoned",
	}
}

// Booted: the groom started.
type Booted struct {
	ID       string `json:"id"` // used by the first boot alone
	Name     string `json:"name"`
	BootID   string `json:"boot_id"`
	PIDNS    uint64 `json:"pid_ns"`
	Build    string `json:"build"`
	MaxTasks int    `json:"max_tasks"`
}

// Recovered: every attempt that the tables held as alive has been looked for.
type Recovered struct {
	Report api.RecoveryReport `json:"report"`
}

// DirChanged: a local directory failed or came back.
type DirChanged struct {
	Path   string `json:"path"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

// Pinned: a master admitted the groom for the first time.
type Pinned struct {
	Cluster string `json:"cluster"`
}

// Directed: a directive came. The spec itself is in its file; Spec is its hash. Place is where launches would go.
type Directed struct {
	Directive api.Directive `json:"directive"` // without secret, and without the spec
	Spec      string        `json:"spec,omitempty"`
	Job       *Job          `json:"job,omitempty"` // what the tables keep of the spec
	// Part says that this is a part of a directive whose last part is yet to come, All that the directive named no
	// tasks and so means all of the job. Both are set by Halve alone.
	Part bool `json:"part,omitempty"`
	All  bool `json:"all,omitempty"`
}

// Due: these tasks wait for a process, and the world is ready to start one for each.
type Due struct {
	Tasks []api.TaskID `json:"tasks"`
	Place Place        `json:"place"`
}

// Started: the process of an attempt exists.
type Started struct {
	Attempt api.AttemptID `json:"attempt"`
	Pid     int           `json:"pid"`
	ShimPid int           `json:"shim_pid"`
	At      api.Moment    `json:"at"`
	// Unenforced says what the job asks for and the host does not give.
	Unenforced []string `json:"unenforced,omitempty"`
}

// Ended: an attempt is dead beyond doubt. Place is where the next one would go, nil when no directory can take it.
type Ended struct {
	Attempt api.AttemptID `json:"attempt"`
	End     End           `json:"end"`
	Place   *Place        `json:"place,omitempty"`
}

// Done: a task reported that it has nothing more to do.
type Done struct {
	Attempt api.AttemptID `json:"attempt"`
}

// Told: a task told why it is about to fail.
type Told struct {
	Attempt api.AttemptID `json:"attempt"`
	Failure string        `json:"failure"`
}

// Silent: pings stopped for longer than the job allows.
type Silent struct {
	Attempt api.AttemptID `json:"attempt"`
	Why     string        `json:"why"`
}

// Committed: the outputs of these tasks are in place.
type Committed struct {
	Job   api.JobID `json:"job"`
	Tasks []int     `json:"tasks"`
}

// Acked: the master's journal holds these reports.
type Acked struct {
	Reports []string `json:"reports"`
}

// Contact: the masters stopped answering, or one answers again.
type Contact struct {
	Reached bool `json:"reached"`
	// Jobs are those that it is recorded for, when all of them are too many for one entry. It is set by Halve alone.
	Jobs []api.JobID `json:"jobs,omitempty"`
}

// Abandoned: no master answered for as long as the job allows.
type Abandoned struct {
	Job api.JobID `json:"job"`
	// Tasks are those that it is recorded for, when all of the job are too many for one entry, and Part says that others
	// are yet to come. Both are set by Halve alone.
	Tasks []int `json:"tasks,omitempty"`
	Part  bool  `json:"part,omitempty"`
}

// Kind returns the number under which the journal records the observation.
func (Booted) Kind() uint16     { return KindBooted }
func (Recovered) Kind() uint16  { return KindRecovered }
func (DirChanged) Kind() uint16 { return KindDir }
func (Pinned) Kind() uint16     { return KindPinned }
func (Directed) Kind() uint16   { return KindDirective }
func (Due) Kind() uint16        { return KindDue }
func (Started) Kind() uint16    { return KindStarted }
func (Ended) Kind() uint16      { return KindEnded }
func (Done) Kind() uint16       { return KindDone }
func (Told) Kind() uint16       { return KindTold }
func (Silent) Kind() uint16     { return KindSilent }
func (Committed) Kind() uint16  { return KindCommitted }
func (Acked) Kind() uint16      { return KindAcked }
func (Contact) Kind() uint16    { return KindContact }
func (Abandoned) Kind() uint16  { return KindAbandoned }
