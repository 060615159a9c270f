package api

// Verb is what people may ask of a job or of a task.
type Verb string

// The verbs.
const (
	VerbStop   Verb = "stop"   // end its processes; they may be resumed
	VerbKill   Verb = "kill"   // end it for good
	VerbResume Verb = "resume" // start what was stopped
	// VerbRestart ends the processes as a stop does and starts others, with a fresh budget. While one is under way, it is
	// so already.
	VerbRestart Verb = "restart"
)

// ActRequest asks for a change of a job or of some of its tasks: POST /v1/act of a master, and of a groom's pages
// POST /jobs/{job}/{verb} and POST /tasks/{task}/{verb}. The verbs are idempotent: what is so already is answered
// with Already and has no effect.
type ActRequest struct {
	Version int    `json:"version"`
	Verb    Verb   `json:"verb"`
	Job     string `json:"job"`             // its id, or its name when that is unique
	Tasks   []int  `json:"tasks,omitempty"` // indexes; none means the job. Of a BSP job it is always the job
	Reason  string `json:"reason,omitempty"`
}

// ActReply answers once the journal holds what was asked for.
type ActReply struct {
	Version int    `json:"version"`
	Job     JobID  `json:"job"`
	Index   uint64 `json:"index,omitempty"` // journal index of the master that holds it
	Already bool   `json:"already,omitempty"`
}
