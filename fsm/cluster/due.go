package cluster

import (
	"time"

	"groom/api"
)

// Due lists the observations that the tables ask for at this moment, and how long it is until the next deadline, 0 when
// there is none. It is derived from the tables alone, so that a crash loses nothing of it. Present are the grooms that
// the process is in contact with.
func (s *State) Due(present []string, now api.Moment) (due []Observation, wait time.Duration) {
	for _, j := range s.InOrder() {
		switch {
		case s.MayCommit(j):
			due = append(due, Committing{Job: j.ID})
		case s.MustRaise(j):
			due = append(due, Raising{Job: j.ID, Present: present})
		case s.MustAbandon(j):
			due = append(due, Abandoning{Job: j.ID})
		case s.MustMove(j):
			due = append(due, Moving{Job: j.ID, Present: present})
		case s.MayForget(j):
			due = append(due, Forgetting{Job: j.ID})
		case j.State.Terminal() && !j.Forget:
			if left := j.Expires().Until(now); left <= 0 {
				due = append(due, Expired{Job: j.ID})
			} else if wait == 0 || left < wait {
				wait = left
			}
		}
	}
	for _, v := range s.Queue(present) {
		if v.Fits {
			due = append(due, Placing{Job: v.Job, Present: present})
		}
	}
	return due, wait
}
