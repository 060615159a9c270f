package api

// The task report server speaks HTTP and JSON on a unix socket (GROOM_SOCK) and on loopback (GROOM_REPORT), so that
// curl is client enough. Every request carries "Authorization: Bearer $GROOM_TOKEN"; the token belongs to one attempt.
//
//	GET  /v1/task        → TaskInfo
//	POST /v1/ping        PingMessage → 204
//	POST /v1/done        DoneMessage → 204      the task has nothing more to do; it should exit 0 now
//	POST /v1/fail        FailMessage → 204
//	POST /v1/stream      upgrade to frames (BSP): see frame.go
//
// Environment of each task:
const (
	EnvJob     = "GROOM_JOB"
	EnvTask    = "GROOM_TASK"
	EnvAttempt = "GROOM_ATTEMPT"
	EnvIndex   = "GROOM_INDEX"  // the task's index
	EnvTasks   = "GROOM_TASKS"  // tasks of the job
	EnvEpoch   = "GROOM_EPOCH"  // of BSP jobs
	EnvSocket  = "GROOM_SOCK"   // path of the unix socket
	EnvReport  = "GROOM_REPORT" // host:port on loopback
	EnvToken   = "GROOM_TOKEN"
	EnvData    = "GROOM_DATA_ADDR" // BSP: the address on which it may listen for peers of other grooms
	EnvOutput  = "GROOM_OUTPUT"    // BSP: directory of this attempt's output, moved into place when the job commits
)

// TaskInfo tells a task who it is.
type TaskInfo struct {
	Version int               `json:"version"`
	Job     JobID             `json:"job"`
	Name    string            `json:"name"`
	Task    TaskID            `json:"task"`
	Attempt AttemptID         `json:"attempt"`
	Index   int               `json:"index"`
	Tasks   int               `json:"tasks"`
	Epoch   int               `json:"epoch,omitempty"`
	Config  map[string]string `json:"config,omitempty"`
	Output  string            `json:"output,omitempty"`
	Ping    Ping              `json:"ping"`
	Secret  string            `json:"secret,omitempty"` // of the epoch: peers prove by it that they belong together
}

// PingMessage says that a task lives. Counters and progress replace what was told before.
type PingMessage struct {
	Version  int              `json:"version"`
	Step     int              `json:"step"`
	Progress float64          `json:"progress,omitempty"` // 0 to 1
	Counters map[string]int64 `json:"counters,omitempty"`
}

// DoneMessage says that a task has nothing more to do.
type DoneMessage struct {
	Version int `json:"version"`
}

// FailKind is why a task gives up.
type FailKind string

// The reports of failure, after Hama's umbilical protocol.
const (
	FailFatal      FailKind = "fatal"
	FailFileSystem FailKind = "file-system"
)

// FailMessage tells why the attempt is about to end. What counts is how its process ends; this is the story.
type FailMessage struct {
	Version int      `json:"version"`
	Kind    FailKind `json:"kind"`
	Reason  string   `json:"reason"`
	Stack   string   `json:"stack,omitempty"`
}
