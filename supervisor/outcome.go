package supervisor

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"groom/api"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

// Orders beside api.ByStop and api.ByKill.
const (
	BySilence  = "silence"  // its pings stopped
	ByRollback = "rollback" // its epoch ended
)

// OutcomeOf is how an attempt ended that Start returned an error for: no process was ever made. What its user can mend
// is a failure of the attempt, everything else only kept groom from trying it.
func OutcomeOf(err error) api.Outcome {
	kind := api.NotStarted
	if errors.Is(err, ErrIdentity) || errors.Is(err, ErrSpec) {
		kind = api.ExecFailed
	}
	return api.Outcome{Kind: kind, Why: err.Error()}
}

// exitOf gives an exit record its meaning.
func exitOf(r ctl.Record) *Exit {
	e := &Exit{
		Status: -1, Asked: r.Get("asked"), Escalated: r.Int("escalated") == 1,
		StartedAt: moment(r.Int("started")), EndedAt: moment(r.Int("ended")), Ran: time.Duration(r.Int("ran")),
		MaxRSS: r.Int("maxrss"), User: time.Duration(r.Int("user")), Sys: time.Duration(r.Int("system")),
		StdoutLen: r.Int("stdout"), StderrLen: r.Int("stderr"), Dropped: r.Int("dropped"),
	}
	if step := r.Get("step"); step != "" {
		e.Outcome = unstarted(step, unix.ErrnoName(syscall.Errno(r.Int("errno"))), r.Get("what"))
	} else {
		e.Status = int(r.Int("status"))
		e.Outcome = outcome(syscall.WaitStatus(e.Status), e.Asked, r.Get("by"))
		// The kernel's count is of this attempt's control group alone. A SIGKILL that groom had sent stays groom's.
		if e.OOMKills = int(r.Int("oom")); e.OOMKills > 0 && e.Outcome.Signal == "SIGKILL" && e.Outcome.By == api.ByOthers {
			e.Outcome = api.Outcome{Kind: api.OOM}
		}
		e.Dumped = r.Int("dumped") == 1
	}
	e.Words = words(e)
	return e
}

// unstarted tells apart what the user can mend (the command) and what only kept groom from trying it.
func unstarted(step, errno, what string) api.Outcome {
	switch step {
	case "exec":
		switch errno {
		case "EAGAIN", "ENOMEM", "EMFILE", "ENFILE": // the host had no room for a process
			return api.Outcome{Kind: api.NotStarted, Why: "no process for " + what + ": " + errno}
		}
		fallthrough
	case "chdir", "lookup", "user":
		why := map[string]string{
			"chdir":  "no working directory " + what,
			"lookup": "no command " + what + " in PATH",
			"user":   "cannot take on its user",
			"exec":   "cannot execute " + what,
		}[step]
		return api.Outcome{Kind: api.ExecFailed, Errno: errno, Why: why}
	case "fork":
		return api.Outcome{Kind: api.NotStarted, Why: "no process for the task: " + errno}
	case "join":
		return api.Outcome{Kind: api.NotStarted, Why: "its control group did not take it: " + errno}
	case "stage":
		return api.Outcome{Kind: api.NotStarted, Why: "its process ended before it was the task's"}
	}
	return api.Outcome{Kind: api.NotStarted, Why: fmt.Sprintf("%s %s: %s", step, what, errno)}
}

// outcome reads a wait status. by is the order whose signal ended the task, asked the first order given.
//
// A task that was to end for its silence or for its epoch may answer the signal with a code of its own (a JVM exits
// with 143): that is still the end that groom made. For a stop or a kill the code is the task's own word and stands.
func outcome(status syscall.WaitStatus, asked, by string) api.Outcome {
	signal := ""
	if status.Signaled() {
		signal = unix.SignalName(status.Signal())
		if signal == "" {
			signal = fmt.Sprintf("SIG%d", status.Signal())
		}
	} else {
		if asked == BySilence && status.ExitStatus() != 0 || asked == ByRollback {
			by = asked
		}
		if by == "" {
			return api.Outcome{Kind: api.Exited, Code: status.ExitStatus()}
		}
	}
	switch by {
	case BySilence:
		return api.Outcome{Kind: api.OutOfContact, Signal: signal, Why: "it was not heard of and was ended"}
	case ByRollback:
		return api.Outcome{Kind: api.RolledBack, Signal: signal}
	case "":
		by = api.ByOthers
	}
	return api.Outcome{Kind: api.Signaled, Signal: signal, By: by, Core: status.CoreDump()}
}

func words(e *Exit) string {
	text := e.Outcome.String()
	if e.Status >= 0 && (e.Outcome.Kind == api.OutOfContact || e.Outcome.Kind == api.RolledBack) && e.Outcome.Signal == "" {
		text += fmt.Sprintf(", and it exited with code %d", syscall.WaitStatus(e.Status).ExitStatus())
	}
	if e.Outcome.Kind == api.Exited && e.Asked != "" {
		text += ", after it was asked to end (" + e.Asked + ")"
	}
	if e.Outcome.Kind == api.Signaled && e.Outcome.By == api.ByOthers && e.Asked != "" {
		text += ", after it was asked to end (" + e.Asked + ")"
	}
	if e.Dumped {
		text += "; a dump of its stacks was asked for, which goes to stderr"
	}
	if e.OOMKills > 0 && e.Outcome.Kind != api.OOM {
		text += fmt.Sprintf("; %d of its processes were killed by the kernel: out of memory", e.OOMKills)
	}
	if e.Escalated {
		text += "; its grace was over, what was left was killed"
	}
	if e.Dropped > 0 {
		text += fmt.Sprintf("; %d bytes of its output could not be written", e.Dropped)
	}
	return text
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
