package fsm

import (
	"time"

	"groom/api"
)

// Due lists the tasks that may be given an attempt now, as far as the groom's capacity goes, and how long it is until
// the next backoff ends, 0 when none is under way.
func (s *State) Due(now api.Moment) (due []api.TaskID, wait time.Duration) {
	room := s.Me().MaxTasks - s.Slots()
	for id, t := range s.Tasks.All() {
		switch {
		case t.State == api.TaskPending && room > 0 && !s.awaitsMaster(t):
			room--
		case t.State == api.TaskBackoff && (t.NextTry == nil || t.NextTry.Until(now) <= 0):
		case t.State == api.TaskBackoff:
			if d := t.NextTry.Until(now); wait == 0 || d < wait {
				wait = d
			}
			continue
		default:
			continue
		}
		due = append(due, api.TaskID(id))
	}
	return due, wait
}

// awaitsMaster says that a BSP task has lost its process in an epoch that only the master can follow by another.
func (s *State) awaitsMaster(t Task) bool {
	a, ok := s.Newest(t)
	return ok && t.Epoch > 0 && a.Epoch == t.Epoch
}
