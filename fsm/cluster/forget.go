package cluster

import (
	"time"

	"groom/api"
	"groom/fsm/table"
)

// Expires is when the retention of an ended job is over.
func (j Job) Expires() api.Moment {
	keep := j.Retention.KeepFailed
	if j.State == api.JobSucceeded {
		keep = j.Retention.Keep
	}
	return j.Ended.Add(time.Duration(keep))
}

// expired tells every groom that had tasks of the job to forget it.
func (d *decider) expired(o Expired) error {
	j, err := d.job(o.Job)
	if err != nil {
		return err
	}
	if j.Forget || !j.State.Terminal() || j.Expires().Until(d.now) > 0 {
		return nil
	}
	j.Forget = true
	for _, groom := range j.Had {
		// No groom forgets what still runs. There should be nothing; if there is, it has no place in any job.
		d.order(&j, Order{Groom: groom, Kind: api.DirectiveKill, Reason: "its job has ended"})
		d.order(&j, Order{Groom: groom, Kind: api.DirectiveForget, Reason: "its retention is over"})
	}
	d.say("%s has been kept for long enough", j.ID)
	d.putJob(j)
	return nil
}

// MayForget says that no groom has anything of an expired job any more.
func (s *State) MayForget(j Job) bool { return j.Forget && !s.outstanding(j.ID) }

// forgottenAtOnce bounds the rows of one entry that leave the tables.
const forgottenAtOnce = 256

// forgetting drops the rows of a job, the job's own last: a crash between leaves a job that goes on being forgotten.
func (d *decider) forgetting(o Forgetting) error {
	j, err := d.job(o.Job)
	if err != nil || !d.MayForget(j) {
		return err
	}
	dropped := 0
	for i := 0; i < j.Tasks && dropped < forgottenAtOnce; i++ {
		if key := string(j.ID.Task(i)); d.Tasks.Rev(key) > 0 {
			table.Delete(d.draft, d.Tasks, key)
			dropped++
		}
	}
	if dropped == forgottenAtOnce {
		d.say("%s of %s are forgotten", tasks(dropped), j.ID)
		return nil
	}
	table.Delete(d.draft, d.Requests, j.Request)
	table.Delete(d.draft, d.Jobs, string(j.ID))
	d.say("%s is forgotten", j.ID)
	return nil
}
