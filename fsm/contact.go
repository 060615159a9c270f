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
	for _, id := range o.covered(d.State) {
		j, ok := d.Jobs.Get(string(id))
		switch {
		case !ok:
			continue
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
		table.Put(d.draft, d.Jobs, string(id), j)
	}
}

// covered are the jobs that it is about: those named, or all that ask to be stopped without a master.
func (o Contact) covered(s *State) []api.JobID {
	if len(o.Jobs) > 0 {
		return o.Jobs
	}
	var asking []api.JobID
	for _, j := range s.Jobs.All() {
		if j.StopAfter > 0 || j.StopDue != nil {
			asking = append(asking, j.ID)
		}
	}
	return asking
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
	d.stopTasks(j, o.covered(j), fmt.Sprintf("no master answered for %s", j.StopAfter))
	if o.Part {
		return nil // the deadline stands until the last of them has its order, so a crash here loses none
	}
	j.StopDue = nil
	table.Put(d.draft, d.Jobs, string(j.ID), j)
	return nil
}

// covered are the tasks that it is about, by index: those named, or all of the job on this groom.
func (o Abandoned) covered(j Job) []int {
	if len(o.Tasks) > 0 {
		return o.Tasks
	}
	return j.Local
}
