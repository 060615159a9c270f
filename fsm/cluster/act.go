package cluster

import (
	"fmt"
	"slices"

	"groom/api"
)

// asked decides on a stop, a kill, a resume or a restart. What is so already has no effect.
func (d *decider) asked(o Asked) error {
	j, err := d.job(o.Job)
	if err != nil {
		return err
	}
	for _, i := range o.Tasks {
		if i < 0 || i >= j.Tasks {
			return fmt.Errorf("%s has no task %d: %w", j.ID, i, ErrUnknown)
		}
	}
	switch {
	case o.Verb != api.VerbStop && o.Verb != api.VerbKill && o.Verb != api.VerbResume && o.Verb != api.VerbRestart:
		return fmt.Errorf("verb %q: %w", o.Verb, ErrRefused)
	case o.Verb == api.VerbRestart && d.restarts(j, o.Tasks):
		return nil
	case j.Type == api.Plain && len(o.Tasks) > 0:
		return d.askTasks(j, o)
	}
	switch o.Verb {
	case api.VerbStop:
		err = d.askStop(&j, o)
	case api.VerbKill:
		err = d.askKill(&j, o)
	case api.VerbResume:
		err = d.askResume(&j)
	case api.VerbRestart:
		err = d.askRestart(&j, o)
	}
	if err != nil {
		return err
	}
	if d.because != "" {
		d.putJob(j)
	}
	return nil
}

func tooLate(j Job, verb api.Verb) error {
	return fmt.Errorf("%s is %s: too late to %s it: %w", j.ID, j.State, verb, ErrRefused)
}

func (d *decider) askStop(j *Job, o Asked) error {
	switch j.State {
	case api.JobStopped:
		return nil
	case api.JobStopping:
		if j.Resume {
			j.Resume = false
			d.say("%s is not to be resumed", j.ID)
		}
		return nil
	case api.JobQueued:
		j.State, j.Reason, j.Cause = api.JobStopped, o.Reason, ""
		d.say("stop %s; it had no process%s", j.ID, colon(o.Reason))
		return nil
	case api.JobRunning:
		if d.MayCommit(*j) {
			return tooLate(*j, o.Verb)
		}
		j.State, j.Reason, j.Cause = api.JobStopping, o.Reason, ""
		d.say("stop %s%s", j.ID, colon(o.Reason))
		for _, groom := range j.grooms() {
			d.order(j, Order{Groom: groom, Kind: api.DirectiveStop, Reason: o.Reason})
		}
		d.judge(j)
		return nil
	}
	return tooLate(*j, o.Verb)
}

func (d *decider) askKill(j *Job, o Asked) error {
	switch j.State {
	case api.JobKilled, api.JobKilling:
		return nil
	case api.JobQueued:
		d.drop(j, api.JobKilled, o.Reason)
		return nil
	case api.JobRunning, api.JobStopping, api.JobStopped:
		if j.State == api.JobStopped && j.Count[api.TaskStopped] == 0 { // while it was in the queue
			d.drop(j, api.JobKilled, o.Reason)
			return nil
		}
		j.State, j.Reason, j.Cause, j.Resume = api.JobKilling, o.Reason, "", false
		d.dying[j.ID] = true
		d.say("kill %s%s", j.ID, colon(o.Reason))
		d.judge(j)
		return nil
	}
	return tooLate(*j, o.Verb)
}

// drop ends a job that holds no places. Grooms that had tasks of it before may still end what they have: they are told
// that there is nothing to wait for.
func (d *decider) drop(j *Job, state api.JobState, reason string) {
	d.end(j, state, reason)
	for _, groom := range j.Had {
		d.order(j, Order{Groom: groom, Kind: api.DirectiveKill, Fail: state == api.JobFailed, Reason: reason})
	}
}

func (d *decider) askResume(j *Job) error {
	switch j.State {
	case api.JobQueued, api.JobRunning:
		if j.Type == api.Plain && j.Count[api.TaskStopped] > 0 {
			d.resumeJob(j)
		}
		return nil
	case api.JobStopping:
		if !j.Resume {
			j.Resume = true
			d.say("resume %s as soon as it has stopped", j.ID)
		}
		return nil
	case api.JobStopped:
		d.resumeJob(j)
		return nil
	}
	return tooLate(*j, api.VerbResume)
}

// askRestart lets other processes follow those that run. The peers of a BSP job have to begin anew together, so the job
// stops and is resumed at once; the tasks of a plain job are restarted where they are, each by itself.
func (d *decider) askRestart(j *Job, o Asked) error {
	switch j.State {
	case api.JobQueued:
		return nil // it has no process
	case api.JobStopping, api.JobStopped:
		return d.askResume(j)
	case api.JobRunning:
		if j.Type == api.BSP {
			err := d.askStop(j, o)
			j.Resume = err == nil && j.State == api.JobStopping
			return err
		}
		d.say("restart %s%s", j.ID, colon(o.Reason))
		if j.Count[api.TaskStopped] > 0 {
			d.resumeJob(j)
		}
		for _, groom := range j.grooms() {
			d.order(j, Order{Groom: groom, Kind: api.DirectiveRestart, Reason: o.Reason})
		}
		return nil
	}
	return tooLate(*j, o.Verb)
}

// restarts says that a restart of all these tasks is on its way to a groom: asking again does not end the processes
// that follow from it. Without tasks it is about the job.
func (s *State) restarts(j Job, indexes []int) bool {
	var on []int
	for _, o := range s.Orders.All() {
		if o.Job == j.ID && o.Kind == api.DirectiveRestart {
			if len(o.Tasks) == 0 {
				return true
			}
			on = append(on, o.Tasks...)
		}
	}
	return len(indexes) > 0 && !slices.ContainsFunc(indexes, func(i int) bool { return !slices.Contains(on, i) })
}

// resumeJob starts what was stopped, with a fresh budget: it is the operator who asks. Plain tasks start where they
// were, and wait there for a place when it was taken meanwhile; a BSP job is placed anew, under its next epoch.
func (d *decider) resumeJob(j *Job) {
	j.Period++
	j.Resume, j.Reason = false, ""
	d.say("resume %s", j.ID)
	if j.Type == api.BSP || len(j.Places) == 0 {
		j.State, j.Count, j.Gone = api.JobQueued, nil, 0
		return
	}
	j.State = api.JobRunning
	j.Count = counted(j.Count, api.TaskStopped, -j.Count[api.TaskStopped])
	j.Places = slices.Clone(j.Places)
	for i := range j.Places {
		j.Places[i].Stopped = 0
	}
	for _, groom := range j.grooms() {
		d.order(j, Order{Groom: groom, Kind: api.DirectiveResume})
	}
}

// askTasks acts on single tasks of a plain job.
func (d *decider) askTasks(j Job, o Asked) error {
	if len(j.Places) == 0 {
		return fmt.Errorf("%s is %s, and none of its tasks has a place: %s the whole job: %w", j.ID, j.State, o.Verb, ErrRefused)
	}
	if j.State == api.JobKilling || j.State == api.JobFailing || j.State.Terminal() {
		if o.Verb == api.VerbKill && j.State != api.JobSucceeded {
			return nil
		}
		return tooLate(j, o.Verb)
	}
	if j.State == api.JobStopping && o.Verb != api.VerbKill {
		if o.Verb == api.VerbStop {
			return nil
		}
		return fmt.Errorf("%s is %s: resume it when it has stopped: %w", j.ID, j.State, ErrRefused)
	}
	kind := map[api.Verb]api.DirectiveKind{
		api.VerbStop: api.DirectiveStop, api.VerbKill: api.DirectiveKill, api.VerbResume: api.DirectiveResume,
		api.VerbRestart: api.DirectiveRestart,
	}[o.Verb]
	on := map[string][]int{} // tasks by groom
	for _, i := range slices.Compact(slices.Sorted(slices.Values(o.Tasks))) {
		t, at := d.task(j, i), j.at(i)
		switch {
		case at < 0, o.Verb == api.VerbKill && t.State == api.TaskKilled, t.Asked == o.Verb, t.Asked == api.VerbKill:
			continue
		case t.State.Terminal():
			return fmt.Errorf("%s is %s: too late to %s it: %w", t.ID, t.State, o.Verb, ErrRefused)
		case o.Verb == api.VerbRestart && t.Asked != "":
			return fmt.Errorf("%s is being stopped: restart it when it has stopped: %w", t.ID, ErrRefused)
		case (t.State == api.TaskStopped) == (o.Verb == api.VerbStop) && o.Verb != api.VerbKill && o.Verb != api.VerbRestart:
			if t.Asked == "" { // it is so already, and nothing else is under way
				continue
			}
		}
		switch o.Verb {
		case api.VerbRestart:
			if t.State == api.TaskStopped {
				d.turn(&j, &t, at, api.TaskLaunching)
			}
			t.Failures = 0
		case api.VerbResume:
			if t.State != api.TaskStopped {
				return fmt.Errorf("%s is being stopped: resume it when it has stopped: %w", t.ID, ErrRefused)
			}
			d.turn(&j, &t, at, api.TaskLaunching)
			t.Failures, t.Asked = 0, ""
		default:
			t.Asked = o.Verb
		}
		d.putTask(t)
		groom := j.Places[at].Groom
		on[groom] = append(on[groom], i)
		d.say("%s %s%s", o.Verb, t.ID, colon(o.Reason))
	}
	if len(on) == 0 {
		return nil
	}
	if o.Verb == api.VerbResume || o.Verb == api.VerbRestart {
		j.State, j.Reason = api.JobRunning, ""
	}
	for _, groom := range j.grooms() {
		if len(on[groom]) > 0 {
			d.order(&j, Order{Groom: groom, Kind: kind, Tasks: on[groom], Reason: o.Reason})
		}
	}
	d.putJob(j)
	return nil
}
