package cluster

import "groom/api"

// Observation is something that happened in the world, or a moment at which the tables ask for a decision. Its kind is
// the kind of the journal entry; released kinds are frozen, and new behaviour of a replay is a new kind.
type Observation interface{ Kind() uint16 }

// The kinds of a master's entries. Numbers are on disk: they are never reused.
const (
	KindBooted     uint16 = 64
	KindRegistered uint16 = 65
	KindChanged    uint16 = 66
	KindLost       uint16 = 67
	KindSubmitted  uint16 = 68
	KindPlaced     uint16 = 69
	KindAsked      uint16 = 70
	KindReported   uint16 = 71
	KindEpoch      uint16 = 72
	KindCommitted  uint16 = 73
	KindAnswered   uint16 = 74
	KindAbandoned  uint16 = 75
	KindMoved      uint16 = 76
	KindExpired    uint16 = 77
	KindForgotten  uint16 = 78
)

// Kinds names each kind.
func Kinds() map[uint16]string {
	return map[uint16]string{
		KindBooted:     "master.booted",
		KindRegistered: "groom.registered",
		KindChanged:    "groom.changed",
		KindLost:       "groom.lost",
		KindSubmitted:  "job.submitted",
		KindPlaced:     "job.placed",
		KindAsked:      "job.asked",
		KindReported:   "report.taken",
		KindEpoch:      "job.epoch",
		KindCommitted:  "job.committed",
		KindAnswered:   "directive.answered",
		KindAbandoned:  "job.abandoned",
		KindMoved:      "job.moved",
		KindExpired:    "job.expired",
		KindForgotten:  "job.forgotten",
	}
}

// Booted: the master started.
type Booted struct {
	Cluster string `json:"cluster"` // used by the first boot alone
	Name    string `json:"name"`
	BootID  string `json:"boot_id"`
	Build   string `json:"build"`
}

// Registered: a groom asked to be admitted.
type Registered struct {
	Groom       string `json:"groom"`
	Name        string `json:"name"`
	Incarnation uint64 `json:"incarnation"`
	MaxTasks    int    `json:"max_tasks"`
	WorkerAddr  string `json:"worker_addr,omitempty"`
	WebURL      string `json:"web_url,omitempty"`
	Healthy     bool   `json:"healthy"`
	Reason      string `json:"reason,omitempty"`
}

// Changed: a groom that is heard of takes tasks now, or does not any more.
type Changed struct {
	Groom   string `json:"groom"`
	Healthy bool   `json:"healthy"`
	Reason  string `json:"reason,omitempty"`
}

// LeaseOver: nothing was heard of a groom for longer than its lease.
type LeaseOver struct {
	Groom string `json:"groom"`
}

// Submitted: somebody handed in a job. Its spec is in its file already.
type Submitted struct {
	Request    string        `json:"request,omitempty"`
	Spec       string        `json:"spec"`
	Name       string        `json:"name"`
	Type       api.JobType   `json:"type"`
	Tasks      int           `json:"tasks"`
	Shared     bool          `json:"shared,omitempty"`
	Reschedule bool          `json:"reschedule,omitempty"`
	Limit      int           `json:"limit"`
	Retention  api.Retention `json:"retention"`
}

// Placing: a queued job may have room now. Present are the grooms that this process is in contact with.
type Placing struct {
	Job     api.JobID `json:"job"`
	Present []string  `json:"present"`
}

// Asked: somebody wants a job, or some of its tasks, stopped, killed or resumed.
type Asked struct {
	Job    api.JobID `json:"job"`
	Verb   api.Verb  `json:"verb"`
	Tasks  []int     `json:"tasks,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Reported: a groom handed over reports, oldest first.
type Reported struct {
	Groom   string       `json:"groom"`
	Reports []api.Report `json:"reports"`
}

// Raising: the epoch of a BSP job has to end, because of a death or a lost groom.
type Raising struct {
	Job     api.JobID `json:"job"`
	Present []string  `json:"present"`
}

// Committing: every peer of a BSP job is done.
type Committing struct {
	Job api.JobID `json:"job"`
}

// Answered: a groom answered a directive, for good.
type Answered struct {
	Order    string `json:"order"`
	Index    uint64 `json:"index,omitempty"`    // of the groom's journal
	Rejected string `json:"rejected,omitempty"` // why it never can be carried out
}

// Abandoning: a job that ends has tasks with a groom whose lease is over.
type Abandoning struct {
	Job api.JobID `json:"job"`
}

// Moving: plain tasks of a lost groom are to go elsewhere.
type Moving struct {
	Job     api.JobID `json:"job"`
	Present []string  `json:"present"`
}

// Expired: the retention of an ended job is over.
type Expired struct {
	Job api.JobID `json:"job"`
}

// Forgetting: every groom has forgotten an expired job.
type Forgetting struct {
	Job api.JobID `json:"job"`
}

// Kind returns the number under which the journal records the observation.
func (Booted) Kind() uint16     { return KindBooted }
func (Registered) Kind() uint16 { return KindRegistered }
func (Changed) Kind() uint16    { return KindChanged }
func (LeaseOver) Kind() uint16  { return KindLost }
func (Submitted) Kind() uint16  { return KindSubmitted }
func (Placing) Kind() uint16    { return KindPlaced }
func (Asked) Kind() uint16      { return KindAsked }
func (Reported) Kind() uint16   { return KindReported }
func (Raising) Kind() uint16    { return KindEpoch }
func (Committing) Kind() uint16 { return KindCommitted }
func (Answered) Kind() uint16   { return KindAnswered }
func (Abandoning) Kind() uint16 { return KindAbandoned }
func (Moving) Kind() uint16     { return KindMoved }
func (Expired) Kind() uint16    { return KindExpired }
func (Forgetting) Kind() uint16 { return KindForgotten }
