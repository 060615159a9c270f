package fsm

import (
	"fmt"
	"time"

	"groom/api"
	"groom/fsm/table"
)

// contact gives each job that asked for it a deadline when the masters fall silent, and takes it back when one answers.
// A deadline that is set stays as it is: neither another silence nor a crash of the groom moves it.
func (d *decider) contact(o Contact) {
	for id, j := range d.Jobs.All() {
		switch {
		case o.Reached && j.StopDue != nil:
			j.StopDue = nil
			d.say("a master answers: %s may run on", id)
		case !o.Reached && j.StopAfter > 0 && j.StopDue == nil && d.open(j):
			due := d.now.Add(time.Duration(j.StopAfter))
			j.StopDue = &due
			d.say("no master answers: %s stops in %s", id, j.StopAfter)
		default:
			continue
		}
		table.Put(d.draft, d.Jobs, id, j)
	}
}

// open says that the job has tasks here that run, or would.
func (s *State) open(j Job) bool {
	for _, i := range j.Local {
		t, ok := s.Tasks.Get(string(j.ID.Task(i)))
		if ok && !t.State.Terminal() && t.State != api.TaskStopped && t.State != api.TaskCommitting {
			return true
		}
	}
	return false
}

// abandoned stops the tasks of a job whose groom has been without a master for too long. They can be resumed when it
// has one.
func (d *decider) abandoned(o Abandoned) error {
	j, ok := d.Jobs.Get(string(o.Job))
	if !ok {
		return fmt.Errorf("job %s: %w", o.Job, ErrUnknown)
	}
	if j.StopDue == nil || j.StopDue.Until(d.now) > 0 {
		return nil
	}
	d.say("no master answered for %s", j.StopAfter)
	d.stopTasks(j, j.Local, fmt.Sprintf("no master answered for %s", j.StopAfter))
	j.StopDue = nil
	table.Put(d.draft, d.Jobs, string(j.ID), j)
	return nil
}
