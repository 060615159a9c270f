package probe

import (
	"context"
	"fmt"
	"time"

	"groom/api"
	"groom/clock"
)

// State is what the probes of a task have found.
type State struct {
	At       time.Time // of the newest, for people
	OK       bool
	Failures int    // in a row
	Words    string // why the newest failed
}

// Watch probes until ctx ends, or until the task is out of contact: then it returns why. started is the boot clock at
// the start of the attempt, or at its adoption; see is told of each probe.
func Watch(ctx context.Context, p api.Probe, t Task, started time.Duration, see func(State)) (why string) {
	timer := time.NewTimer(time.Duration(p.Period))
	defer timer.Stop()
	var s State
	for well := false; ; timer.Reset(time.Duration(p.Period)) {
		select {
		case <-ctx.Done():
			return ""
		case <-timer.C:
		}
		began := clock.Boot()
		err := Ask(ctx, p, t)
		if ctx.Err() != nil {
			return ""
		}
		now := clock.Boot()
		s.At, s.OK, s.Words = time.Now(), err == nil, ""
		switch {
		case err == nil:
			well, s.Failures = true, 0
		case now-began > 2*time.Duration(p.Timeout)+time.Second:
			// The groom itself, or its host, did not run for a while: that time is not held against the task.
			s.Words = err.Error()
		case !well && now-started < time.Duration(p.Grace):
			s.Words = err.Error()
		default:
			s.Failures++
			s.Words = err.Error()
		}
		see(s)
		if s.Failures >= p.Failures {
			return fmt.Sprintf("%d probes in a row failed: %s", s.Failures, s.Words)
		}
	}
}
