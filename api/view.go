package api

import (
	"encoding/json"
	"time"
)

// Views are what the pages and their JSON twins show. They are assembled from the tables and from soft state, and
// carry everything a page needs, so that a page never reads a table.

// Overview is the first page of a groom or a master.
type Overview struct {
	Role     string          `json:"role"` // "groom", "master" or "groom+master"
	Groom    *GroomStatus    `json:"groom,omitempty"`
	Master   *MasterStatus   `json:"master,omitempty"`
	Journals []JournalInfo   `json:"journals"`
	Recovery *RecoveryReport `json:"recovery,omitempty"` // the newest
	Jobs     []JobView       `json:"jobs"`               // running first, then the newest
	Nodes    []NodeView      `json:"nodes"`
	Insecure bool            `json:"insecure,omitempty"` // listens beyond loopback without TLS
}

// MasterStatus is a master as it describes itself.
type MasterStatus struct {
	Cluster     string    `json:"cluster"`
	Name        string    `json:"name"`
	Incarnation uint64    `json:"incarnation"`
	Build       string    `json:"build"`
	StartedAt   time.Time `json:"started_at"`
	Health      Health    `json:"health"`
	Reachable   bool      `json:"reachable"` // as a groom sees it
}

// NodeView is one groom as its master sees it.
type NodeView struct {
	Status   GroomStatus `json:"status"`
	WebURL   string      `json:"web_url,omitempty"`
	State    string      `json:"state"` // "ready", "unhealthy" or "lost"
	LastSeen time.Time   `json:"last_seen"`
	Placed   int         `json:"placed"` // tasks that hold one of its slots
	Failures int         `json:"failures"`
}

// JobView is one line of the list of jobs.
type JobView struct {
	ID          JobID             `json:"id"`
	Name        string            `json:"name"`
	Type        JobType           `json:"type"`
	State       JobState          `json:"state"`
	Reason      string            `json:"reason,omitempty"` // why it is queued, or why it failed
	Tasks       int               `json:"tasks"`
	ByState     map[TaskState]int `json:"by_state,omitempty"`
	Epoch       int               `json:"epoch,omitempty"`
	Step        int               `json:"step"` // newest superstep released, -1 before the first
	SubmittedAt time.Time         `json:"submitted_at"`
	StartedAt   time.Time         `json:"started_at,omitzero"`
	EndedAt     time.Time         `json:"ended_at,omitzero"`
}

// JobDetail is the page of a job.
type JobDetail struct {
	JobView
	Spec       JobSpec     `json:"spec"` // values of secrets masked
	SpecHash   string      `json:"spec_hash"`
	Output     string      `json:"output,omitempty"`
	TaskViews  []TaskView  `json:"task_views"`
	Supersteps []Superstep `json:"supersteps,omitempty"` // the newest, oldest first
	Events     []EventView `json:"events,omitempty"`     // what the journal says of it, oldest first
}

// TaskView is one line of a list of tasks.
type TaskView struct {
	ID       TaskID           `json:"id"`
	Index    int              `json:"index"`
	State    TaskState        `json:"state"`
	Groom    string           `json:"groom,omitempty"` // name
	GroomID  string           `json:"groom_id,omitempty"`
	GroomURL string           `json:"groom_url,omitempty"`
	Attempt  int              `json:"attempt"` // serial number of the newest
	Failures int              `json:"failures"`
	Limit    int              `json:"limit"`
	Epoch    int              `json:"epoch,omitempty"`
	Pid      int              `json:"pid,omitempty"`
	Step     int              `json:"step"`
	Progress float64          `json:"progress,omitempty"`
	LastPing time.Time        `json:"last_ping,omitzero"`
	Probe    *ProbeView       `json:"probe,omitempty"` // of a task that is probed and runs
	NextTry  time.Time        `json:"next_try,omitzero"`
	Outcome  *Outcome         `json:"outcome,omitempty"` // of the newest ended attempt
	Words    string           `json:"words,omitempty"`   // the newest decision in words
	Counters map[string]int64 `json:"counters,omitempty"`
}

// ProbeView is what the probes of a task have found.
type ProbeView struct {
	At       time.Time `json:"at"` // of the newest
	OK       bool      `json:"ok"`
	Failures int       `json:"failures"` // in a row
	Limit    int       `json:"limit"`    // failures in a row after which the task is out of contact
	Words    string    `json:"words,omitempty"`
}

// TaskDetail is the page of a task.
type TaskDetail struct {
	TaskView
	Job      JobView       `json:"job"`
	Attempts []AttemptView `json:"attempts"` // oldest first
	Events   []EventView   `json:"events,omitempty"`
}

// AttemptView is one attempt with everything known of it.
type AttemptView struct {
	ID        AttemptID `json:"id"`
	N         int       `json:"n"`
	Epoch     int       `json:"epoch,omitempty"`
	State     string    `json:"state"` // "intended", "running" or "ended"
	Pid       int       `json:"pid,omitempty"`
	ShimPid   int       `json:"shim_pid,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Outcome   *Outcome  `json:"outcome,omitempty"`
	Words     string    `json:"words,omitempty"` // the outcome in words
	Counted   bool      `json:"counted,omitempty"`
	// Unenforced says what its job asks for and the host does not give, each with the reason.
	Unenforced []string `json:"unenforced,omitempty"`
	Failure    string   `json:"failure,omitempty"` // what the task itself told before its end
	StdoutLen  int64    `json:"stdout_len"`
	StderrLen  int64    `json:"stderr_len"`
	MaxRSS     int64    `json:"max_rss,omitempty"` // bytes
	UserNS     int64    `json:"user_ns,omitempty"`
	SystemNS   int64    `json:"system_ns,omitempty"`
	Dir        string   `json:"dir,omitempty"`
	Removed    string   `json:"removed,omitempty"` // why its directory and logs were removed
}

// Removal is an attempt directory that the groom removed, with its logs.
type Removal struct {
	At      time.Time `json:"at"`
	Attempt AttemptID `json:"attempt"`
	Dir     string    `json:"dir"`
	Bytes   int64     `json:"bytes"` // that were in it
	Why     string    `json:"why"`
}

// EventView is one journal entry told in words.
type EventView struct {
	Of    string    `json:"of"` // "groom" or "master"
	Index uint64    `json:"index"`
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	Words string    `json:"words"`
}

// JournalInfo is the state of one journal.
type JournalInfo struct {
	Of          string `json:"of"` // "groom" or "master"
	Dir         string `json:"dir"`
	First       uint64 `json:"first"`
	Last        uint64 `json:"last"`
	Entries     uint64 `json:"entries"` // entries between First and Last that change tables
	Bytes       int64  `json:"bytes"`   // size of its file
	ChainTip    string `json:"chain_tip"`
	Digest      string `json:"digest"`
	Snapshot    uint64 `json:"snapshot"` // index of the newest, 0 when there is none
	Health      Health `json:"health"`
	Reason      string `json:"reason,omitempty"`
	Incarnation uint64 `json:"incarnation,omitempty"`
	Living      bool   `json:"living,omitempty"` // a process holds it
	// LogFirst is the oldest entry of the log: each start checks the chain from there on. Older ones are in the archive.
	LogFirst uint64 `json:"log_first"`
	// Sealed is the newest entry in the archive, and Segments, Anchors and ArchiveBytes are what it consists of.
	Sealed       uint64 `json:"sealed"`
	Segments     int    `json:"segments"`
	Anchors      int    `json:"anchors"`
	ArchiveBytes int64  `json:"archive_bytes"`
	// Kinds are the entries of each kind, where they were counted.
	Kinds []KindCount `json:"kinds,omitempty"`
}

// EntryView is one journal entry as people and tools read it.
type EntryView struct {
	Of      string          `json:"of"`
	Index   uint64          `json:"index"`
	Term    uint64          `json:"term"`
	At      time.Time       `json:"at,omitzero"`
	Kind    string          `json:"kind"`
	Version uint8           `json:"kind_version"`
	Size    int             `json:"size"` // bytes of envelope and body
	Words   string          `json:"words"`
	Hash    string          `json:"hash"` // of the chain, hexadecimal
	Body    json.RawMessage `json:"body,omitempty"`
	// Decoded, where one entry is shown: what was observed, and each row before and after. Refused says why nothing of
	// it was applied: the rows had moved on since it was decided.
	Observed json.RawMessage `json:"observed,omitempty"`
	Changes  []RowChange     `json:"changes,omitempty"`
	Refused  string          `json:"refused,omitempty"`
}

// Event goes out on GET /events as one server-sent event; its id is the journal index it stems from.
type Event struct {
	ID    uint64    `json:"id"`
	Of    string    `json:"of"`
	Kind  string    `json:"kind"` // the entry's kind, or "soft" for progress that no journal holds
	Job   JobID     `json:"job,omitempty"`
	Task  TaskID    `json:"task,omitempty"`
	Words string    `json:"words,omitempty"`
	At    time.Time `json:"at"`
}

// Submission answers POST /jobs.
type Submission struct {
	Version int    `json:"version"`
	Job     JobID  `json:"job"`
	Index   uint64 `json:"index"` // journal index of the master that holds it
}

// SubmitRequest hands in a job: POST /jobs. Request makes it idempotent: the same id and spec answer the same job.
type SubmitRequest struct {
	Version int     `json:"version"`
	Request string  `json:"request"`
	Spec    JobSpec `json:"spec"`
}

// LogChunk is a piece of one stream of one attempt. Offsets count the bytes that the task wrote and never restart.
type LogChunk struct {
	Stream string `json:"stream"` // "stdout" or "stderr"
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"`
	Gap    int64  `json:"gap,omitempty"` // bytes before Offset that are not kept
	End    bool   `json:"end,omitempty"` // the attempt has ended and this is all
}

// Starting is the progress of a start, as GET /readyz tells it until the process is ready.
type Starting struct {
	Phase   string `json:"phase"`
	Applied uint64 `json:"applied,omitempty"` // journal entries
	Last    uint64 `json:"last,omitempty"`
}

// FieldChange is a field of a row before and after, as text; one that is not there reads as "".
type FieldChange struct {
	Field  string `json:"field"` // with dots between levels
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// RowChange is a row before and after: without Before it came, without After it left.
type RowChange struct {
	Table  string          `json:"table"`
	Key    string          `json:"key"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Fields []FieldChange   `json:"fields,omitempty"`
}

// Diff is what lies between two moments of a journal: after entry A and after entry B.
type Diff struct {
	Of   string      `json:"of"`
	A    uint64      `json:"a"`
	B    uint64      `json:"b"`
	Rows []RowChange `json:"rows"` // in the order of their names
}

// Story answers why a job, a task or an attempt is as it is: every decision about it, in the order of time.
type Story struct {
	Object string      `json:"object"`
	Answer string      `json:"answer"` // in words
	Steps  []StoryStep `json:"steps"`
}

// StoryStep is one entry of a story.
type StoryStep struct {
	EntryView
	// Settled says that this entry settled what the answer tells of. Believed are the rows that it was decided from: of
	// the job, its task and its attempt, as they stood before.
	Settled  bool      `json:"settled,omitempty"`
	Believed []RowView `json:"believed,omitempty"`
}

// RowView is a row of a table.
type RowView struct {
	Table string          `json:"table"`
	Key   string          `json:"key"`
	Row   json.RawMessage `json:"row"`
}

// KindCount counts the entries of one kind.
type KindCount struct {
	Kind    string    `json:"kind"`
	Entries uint64    `json:"entries"`
	Bytes   uint64    `json:"bytes"` // of envelopes and bodies
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
}

// Instant is a moment of a journal, as a page of the past shows it: after which entry it stands, what was decided there,
// and the nearest entries that tell of a crash or a failure, 0 where there are none near.
type Instant struct {
	Of            string    `json:"of"`
	Index         uint64    `json:"index"`
	First         uint64    `json:"first"`
	Last          uint64    `json:"last"`
	At            time.Time `json:"at,omitzero"`
	Kind          string    `json:"kind,omitempty"`
	Words         string    `json:"words,omitempty"`
	TroubleBefore uint64    `json:"trouble_before,omitempty"`
	TroubleAfter  uint64    `json:"trouble_after,omitempty"`
}
