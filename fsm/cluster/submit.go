package cluster

import (
	"fmt"

	"groom/api"
	"groom/fsm/table"
)

// submitted takes a job into the queue. A request that was taken before has no second effect.
func (d *decider) submitted(o Submitted) error {
	if seen, ok := d.Requests.Get(o.Request); ok && o.Request != "" && dedupes {
		if seen.Spec != o.Spec {
			return fmt.Errorf("request %s was used for another job, %s: %w", o.Request, seen.Job, ErrRefused)
		}
		return nil
	}
	self := d.Me()
	self.Jobs++
	j := Job{
		ID: api.NewJobID(d.now.Wall, self.Jobs), Seq: self.Jobs, Name: o.Name, Type: o.Type, Spec: o.Spec, Tasks: o.Tasks,
		Shared: o.Shared, Reschedule: o.Reschedule, Limit: o.Limit, Retention: o.Retention, Request: o.Request,
		State: api.JobQueued, Submitted: d.now,
	}
	d.putJob(j)
	table.Put(d.draft, d.Self, selfKey, self)
	if o.Request != "" {
		table.Put(d.draft, d.Requests, o.Request, Request{Job: j.ID, Spec: o.Spec})
	}
	d.say("%s submitted: %s, %s of type %s", j.ID, j.Name, tasks(j.Tasks), j.Type)
	return nil
}
