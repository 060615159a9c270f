package fsm

import (
	"time"

	"groom/api"
)

// Due lists the tasks that may be given an attempt now, as far as the groom's capacity goes, the jobs that have been
// without a master for too long, and how long it is until the next backoff or such time ends, 0 when none is under way.
func (s *State) Due(now api.Moment) (due []api.TaskID, abandoned []api.JobID, wait time.Duration) {
	sooner := func(d time.Duration) {
		if wait == 0 || d < wait {
			wait = d
		}
	}
	for _, j := range s.Jobs.All() {
		if j.StopDue == nil {
			continue
		}
		if d := j.StopDue.Until(now); d > 0 {
			sooner(d)
		} else {
			abandoned = append(abandoned, j.ID)
		}
	}
	room := s.Me().MaxTasks - s.Slots()
	for id, t := range s.Open.All() {
		switch {
		case t.State == api.TaskPending && room > 0 && !s.awaitsMaster(t):
			room--
		case t.State == api.TaskBackoff && (t.NextTry == nil || t.NextTry.Until(now) <= 0):
		case t.State == api.TaskBackoff:
			sooner(t.NextTry.Until(now))
			continue
		default:
			continue
		}
		due = append(due, api.TaskID(id))
	}
	return due, abandoned, wait
}

// awaitsMaster says that a BSP task has lost its process in an epoch that only the master can follow by another.
func (s *State) awaitsMaster(t Task) bool {
	a, ok := s.Newest(t)
	return ok && t.Epoch > 0 && a.Epoch == t.Epoch
}
