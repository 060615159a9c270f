package api

import "time"

// DirectiveKind is what a master orders a groom to do.
type DirectiveKind string

// The directives.
const (
	DirectiveLaunch  DirectiveKind = "launch"  // start these tasks of a job
	DirectiveStop    DirectiveKind = "stop"    // end the processes of these tasks; they may be resumed
	DirectiveKill    DirectiveKind = "kill"    // end them for good
	DirectiveResume  DirectiveKind = "resume"  // start stopped tasks again
	DirectiveRestart DirectiveKind = "restart" // end the processes of plain tasks and start others
	DirectiveRecover DirectiveKind = "recover" // end every older epoch of the job, then launch the tasks named
	DirectiveCommit  DirectiveKind = "commit"  // move the outputs of the job into place
	DirectiveForget  DirectiveKind = "forget"  // drop the rows and directories of an ended job
)

// Directive is an order from the master to a groom, posted to /v1/directives of its worker server. The ID makes it
// idempotent: a directive that was accepted before is answered as it was then and has no second effect.
type Directive struct {
	Version int           `json:"version"`
	ID      string        `json:"id"`      // unique within the cluster
	Cluster string        `json:"cluster"` // cluster id of the sender
	Kind    DirectiveKind `json:"kind"`
	Job     JobID         `json:"job"`
	Epoch   int           `json:"epoch,omitempty"` // of BSP jobs, from 1; 0 for plain ones
	Tasks   []int         `json:"tasks,omitempty"` // indexes; of stop, kill and resume: none means all of the job
	Launch  *Launch       `json:"launch,omitempty"`
	// Fail, on a kill, makes the tasks end "failed" and not "killed": the job has used up its budget.
	Fail   bool   `json:"fail,omitempty"`
	Reason string `json:"reason,omitempty"` // for people
}

// Launch is what launch and recover need beyond the directive's head.
type Launch struct {
	Spec  JobSpec      `json:"spec,omitzero"`
	Tasks []TaskLaunch `json:"tasks"` // those of this groom
	Root  RootAddr     `json:"root"`  // BSP only
	// Secret is shared by the peers of one epoch. It never enters a journal.
	Secret string `json:"secret,omitempty"`
}

// TaskLaunch gives one task the serial number of its next attempt.
type TaskLaunch struct {
	Index   int `json:"index"`
	Attempt int `json:"attempt"`
}

// RootAddr names the groom where the job's barriers meet in one epoch.
type RootAddr struct {
	Groom  string `json:"groom"`            // groom id
	Worker string `json:"worker,omitempty"` // host:port of its worker server
}

// DirectiveReply answers a directive once the journal holds it, or refuses it for good.
type DirectiveReply struct {
	Version  int    `json:"version"`
	Accepted bool   `json:"accepted"`
	Index    uint64 `json:"index,omitempty"`    // journal index that holds it
	Rejected string `json:"rejected,omitempty"` // why it never can be carried out
}

// Registration enrols a groom with its master: POST /v1/register.
type Registration struct {
	Version     int             `json:"version"`
	Cluster     string          `json:"cluster,omitempty"` // the id pinned by an earlier registration
	Groom       GroomStatus     `json:"groom"`
	WorkerAddr  string          `json:"worker_addr"` // host:port, or "" for the groom embedded with its master
	WorkerToken string          `json:"worker_token"`
	WebURL      string          `json:"web_url,omitempty"`
	Recovery    *RecoveryReport `json:"recovery,omitempty"`
}

// RegistrationReply admits a groom.
type RegistrationReply struct {
	Version   int      `json:"version"`
	Cluster   string   `json:"cluster"`
	Heartbeat Duration `json:"heartbeat"` // period the master asks for
	Lease     Duration `json:"lease"`
	WebURL    string   `json:"web_url,omitempty"` // the master's pages, where a groom passes job verbs on to
}

// Heartbeat says that the groom lives, and hands over reports that are not yet acknowledged: POST /v1/heartbeat.
// It goes out every period, and at once when there is something to report.
type Heartbeat struct {
	Version int         `json:"version"`
	Cluster string      `json:"cluster"`
	Groom   GroomStatus `json:"groom"`
	Reports []Report    `json:"reports,omitempty"` // oldest first
}

// HeartbeatReply acknowledges reports. Register asks the groom to enrol again, because the master does not know it.
type HeartbeatReply struct {
	Version  int      `json:"version"`
	Cluster  string   `json:"cluster"`
	Acked    []string `json:"acked,omitempty"` // ids of reports that the master's journal holds
	Register bool     `json:"register,omitempty"`
}

// Report tells the master of a change of a task that it must not miss. Reports wait in the groom's outbox until they
// are acknowledged: at least once on the wire, once in effect, by their ID.
type Report struct {
	ID      string    `json:"id"` // unique within the groom: "<task id>/<revision>"
	Task    TaskID    `json:"task"`
	Attempt int       `json:"attempt"` // serial number of the newest attempt
	Epoch   int       `json:"epoch,omitempty"`
	State   TaskState `json:"state"`
	// Outcome is set when the report tells of the end of the attempt; Counted says whether it was charged.
	Outcome  *Outcome `json:"outcome,omitempty"`
	Counted  bool     `json:"counted,omitempty"`
	Failures int      `json:"failures,omitempty"` // counted failures of the budget period so far
	Healthy  bool     `json:"healthy,omitempty"`  // the attempt ran for long enough to begin a new budget period
	Told     string   `json:"told,omitempty"`     // what the attempt itself told before its end: the first line
	At       Moment   `json:"at"`
	Because  string   `json:"because,omitempty"` // the decision in words
}

// GroomStatus is a groom as it describes itself.
type GroomStatus struct {
	ID          string          `json:"id"` // random, made at its first start
	Name        string          `json:"name"`
	Incarnation uint64          `json:"incarnation"` // number of its starts
	BootID      string          `json:"boot_id"`
	Build       string          `json:"build"`
	StartedAt   time.Time       `json:"started_at"`
	MaxTasks    int             `json:"max_tasks"`
	Health      Health          `json:"health"`
	Reasons     []string        `json:"reasons,omitempty"` // why it is not ok
	Attempts    []AttemptStatus `json:"attempts,omitempty"`
	Dirs        []DirStatus     `json:"dirs,omitempty"`
	Host        HostStatus      `json:"host"`
}

// Health is what a groom can do at the moment.
type Health string

// The degrees of health.
const (
	HealthOK       Health = "ok"
	HealthNoSpace  Health = "nospace"   // observes its tasks, launches nothing
	HealthSafeMode Health = "safe-mode" // the journal cannot be applied: no decisions
	HealthDegraded Health = "degraded"  // a local directory failed; takes no task when none is left
)

// AttemptStatus is a living attempt as the heartbeat tells it; it is soft state and never journaled.
type AttemptStatus struct {
	ID       AttemptID        `json:"id"`
	Epoch    int              `json:"epoch,omitempty"`
	State    TaskState        `json:"state"`
	Pid      int              `json:"pid,omitempty"`
	Step     int              `json:"step"`               // superstep, -1 before the first
	Progress float64          `json:"progress,omitempty"` // 0 to 1 as the task tells it
	LastPing time.Time        `json:"last_ping,omitzero"`
	Counters map[string]int64 `json:"counters,omitempty"`
}

// DirStatus is one local directory and its health.
type DirStatus struct {
	Path       string `json:"path"`
	OK         bool   `json:"ok"`
	Reason     string `json:"reason,omitempty"`
	FreeBytes  uint64 `json:"free_bytes"`
	TotalBytes uint64 `json:"total_bytes"`
	FreeInodes uint64 `json:"free_inodes"`
}

// HostStatus is what the monitor knows of the host.
type HostStatus struct {
	CPUs     int     `json:"cpus"`
	Load1    float64 `json:"load1"`
	MemTotal uint64  `json:"mem_total"`
	MemFree  uint64  `json:"mem_available"`
}

// RecoveryReport tells what a start found and decided, one line a task. It is a journal entry, a page, a metric and
// part of the registration.
type RecoveryReport struct {
	Incarnation uint64        `json:"incarnation"`
	At          time.Time     `json:"at"`
	BootID      string        `json:"boot_id"`
	SameBoot    bool          `json:"same_boot"`
	Replayed    uint64        `json:"replayed"`     // journal entries applied at this start
	JournalTook Duration      `json:"journal_took"` // open, replay, chain check, barrier
	Took        Duration      `json:"took"`         // all of it, until the last attempt was settled
	Found       []RecoveryRow `json:"found,omitempty"`
	// Omitted counts findings for which a journal entry has no room, by finding.
	Omitted map[Finding]int `json:"omitted,omitempty"`
}

// RecoveryRow is what became of one attempt.
type RecoveryRow struct {
	Attempt AttemptID `json:"attempt"`
	Finding Finding   `json:"finding"`
	Pid     int       `json:"pid,omitempty"`
	Outcome *Outcome  `json:"outcome,omitempty"`
	Words   string    `json:"words"` // what was found, what was decided and why
}

// Finding is what a start found of an attempt that the tables hold as alive.
type Finding string

// The findings.
const (
	FoundAlive   Finding = "adopted"          // its shim lives; watched again
	FoundEnded   Finding = "ended-while-away" // it left an exit record
	FoundLost    Finding = "lost"             // no exit record, and nothing alive
	FoundUnborn  Finding = "not-started"      // no process was ever made
	FoundOrphan  Finding = "orphan-killed"    // alive, but unknown to the tables
	FoundUnknown Finding = "unknown"          // could not be looked for; it is tried again
	FoundLeft    Finding = "orphan-left"      // as before, and it could not be killed
)
