package api

import "fmt"

// TaskState is where a task stands in its life:
//
//	pending → launching → running → committing → succeeded | failed | killed
//
// with backoff between attempts, stopping → stopped, and resume from stopped back to launching.
// The last three are terminal: no task leaves them.
type TaskState string

// The states of a task.
const (
	TaskPending    TaskState = "pending"    // accepted, not yet given an attempt
	TaskLaunching  TaskState = "launching"  // an attempt is intended, its process not yet seen
	TaskRunning    TaskState = "running"    // its process is alive
	TaskBackoff    TaskState = "backoff"    // waits for the next try
	TaskStopping   TaskState = "stopping"   // its process was asked to end
	TaskStopped    TaskState = "stopped"    // ended by a stop; may be resumed
	TaskCommitting TaskState = "committing" // done and gone; its output moves into place when the job commits
	TaskSucceeded  TaskState = "succeeded"
	TaskFailed     TaskState = "failed"
	TaskKilled     TaskState = "killed"
)

// Terminal says that no task ever leaves the state.
func (s TaskState) Terminal() bool {
	return s == TaskSucceeded || s == TaskFailed || s == TaskKilled
}

// JobState is where a job stands.
type JobState string

// The states of a job, as its master keeps them.
const (
	JobQueued     JobState = "queued"     // waits for room; its reason says for what
	JobRunning    JobState = "running"    // placed
	JobStopping   JobState = "stopping"   // every task was asked to end
	JobStopped    JobState = "stopped"    // may be resumed
	JobCommitting JobState = "committing" // every peer is done; outputs move into place
	JobKilling    JobState = "killing"    // will end killed
	JobFailing    JobState = "failing"    // will end failed, once its last process is gone
	JobSucceeded  JobState = "succeeded"
	JobFailed     JobState = "failed"
	JobKilled     JobState = "killed"
)

// Terminal says that no job ever leaves the state.
func (s JobState) Terminal() bool {
	return s == JobSucceeded || s == JobFailed || s == JobKilled
}

// OutcomeKind says how an attempt ended.
type OutcomeKind string

// The kinds of outcome. Lost(shim) has no exit code: it is unknown and never invented.
const (
	Exited       OutcomeKind = "exited"         // Code holds the exit code
	Signaled     OutcomeKind = "signaled"       // Signal holds the name, By who sent it
	OOM          OutcomeKind = "oom"            // killed by the kernel for want of memory
	ExecFailed   OutcomeKind = "exec-failed"    // Errno holds the name of the error
	OutOfContact OutcomeKind = "out-of-contact" // pings stopped; groom killed it
	NotStarted   OutcomeKind = "not-started"    // no process was ever made; Why says why
	Lost         OutcomeKind = "lost"           // Why is "reboot" or "shim"
	RolledBack   OutcomeKind = "rolled-back"    // ended because its epoch did
)

// Reasons of a Lost outcome.
const (
	WhyReboot = "reboot"
	WhyShim   = "shim"
)

// Senders of a signal, as Outcome.By names them.
const (
	ByStop    = "stop"    // groom, by a stop directive
	ByRestart = "restart" // groom, by a restart directive
	ByKill    = "kill"    // groom, by a kill directive
	ByOthers  = "others"  // not groom
)

// Outcome is how an attempt ended: exact, and never invented.
type Outcome struct {
	Kind   OutcomeKind `json:"kind"`
	Code   int         `json:"code,omitempty"`   // of Exited
	Signal string      `json:"signal,omitempty"` // of Signaled, OutOfContact and RolledBack, when the process was alive: "SIGKILL"
	By     string      `json:"by,omitempty"`     // of Signaled
	Errno  string      `json:"errno,omitempty"`  // of ExecFailed: "ENOENT"; empty when it was known before any process
	Why    string      `json:"why,omitempty"`    // of NotStarted, ExecFailed, Lost and OutOfContact
	Core   bool        `json:"core,omitempty"`   // the kernel dumped core
}

// Counted says whether the outcome is charged to the task's budget of failures.
func (o Outcome) Counted() bool {
	switch o.Kind {
	case Exited:
		return o.Code != 0
	case Signaled:
		return o.By == ByOthers
	case OOM, ExecFailed, OutOfContact:
		return true
	case Lost:
		return o.Why == WhyShim
	}
	return false
}

// NotDone is what is added where a BSP task exited 0 without having reported done, which is a failure.
const NotDone = ", and had not reported done: is it written with the SDK?"

// String tells the outcome in words.
func (o Outcome) String() string {
	switch o.Kind {
	case Exited:
		return fmt.Sprintf("exited with code %d", o.Code)
	case Signaled:
		by := "not sent by groom"
		switch o.By {
		case ByStop:
			by = "sent by groom for a stop"
		case ByRestart:
			by = "sent by groom for a restart"
		case ByKill:
			by = "sent by groom for a kill"
		}
		core := ""
		if o.Core {
			core = ", core dumped"
		}
		return fmt.Sprintf("ended by %s, %s%s", o.Signal, by, core)
	case OOM:
		return "killed by the kernel: out of memory"
	case ExecFailed:
		if o.Errno == "" {
			return "could not be started: " + o.Why
		}
		if o.Why != "" {
			return fmt.Sprintf("could not be started: %s (%s)", o.Why, o.Errno)
		}
		return fmt.Sprintf("could not be started: %s", o.Errno)
	case OutOfContact:
		return "out of contact: " + o.Why
	case NotStarted:
		return "not started: " + o.Why
	case Lost:
		if o.Why == WhyReboot {
			return "lost: the host was restarted; exit code unknown"
		}
		return "lost: its shim died; exit code unknown"
	case RolledBack:
		return "rolled back: its epoch ended"
	}
	return "unknown"
}
