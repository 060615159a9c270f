package cluster

import (
	"fmt"
	"slices"

	"groom/api"
)

// LostGroom is a groom of the job's places whose lease is over.
func (s *State) LostGroom(j Job) (Groom, bool) {
	for _, p := range j.Places {
		if g, ok := s.Grooms.Get(p.Groom); ok && g.State == Lost && !p.Gone {
			return g, true
		}
	}
	return Groom{}, false
}

// MustRaise says that the epoch of a job has to end.
func (s *State) MustRaise(j Job) bool {
	if j.Type != api.BSP || j.State != api.JobRunning || s.MayCommit(j) {
		return false
	}
	_, lost := s.LostGroom(j)
	return lost || j.Cause != ""
}

// raising ends the epoch of a BSP job. The next one begins in the same entry where there is room; else the job waits in
// the queue, and the grooms only end what they have of it.
func (d *decider) raising(o Raising) error {
	j, err := d.job(o.Job)
	if err != nil || !d.MustRaise(j) {
		return err
	}
	cause := j.Cause
	lost, isLost := d.LostGroom(j)
	if cause == "" {
		cause = fmt.Sprintf("groom %s is lost", lost.Name)
	}
	d.say("epoch %d of %s ends: %s", j.Epoch, j.ID, cause)
	j.Reason = clip(cause, reasonLimit)
	places, why := slices.Clone(j.Places), ""
	if isLost || d.tooFull(j) {
		places, why, _ = d.place(j, o.Present)
	}
	for i := range places {
		places[i].Done, places[i].Stopped = 0, 0
	}
	if why == "" {
		d.start(&j, places)
		d.putJob(j)
		return nil
	}
	j.Epoch++
	j.State, j.Count, j.Gone, j.Cause = api.JobQueued, nil, 0, ""
	d.say("%s %s", j.ID, why)
	for _, groom := range j.Had {
		d.supersede(j, groom)
		d.order(&j, Order{Groom: groom, Kind: api.DirectiveRecover, Reason: j.Reason})
	}
	d.putJob(j)
	return nil
}

// tooFull says that a groom of the job's places cannot hold its part any more, beside what else is placed there.
func (d *decider) tooFull(j Job) bool {
	need := d.used(j.ID)
	for _, p := range j.Places {
		need[p.Groom] += p.Count
	}
	return slices.ContainsFunc(j.grooms(), func(id string) bool {
		g, _ := d.Grooms.Get(id)
		return need[id] > g.MaxTasks
	})
}

// MayCommit says that every peer of a BSP job is done.
func (s *State) MayCommit(j Job) bool {
	return j.Type == api.BSP && j.State == api.JobRunning && j.Count[api.TaskCommitting] == j.Tasks
}

// committing is the one moment at which a BSP job has its result: from this entry on its outputs move into place, and
// no epoch follows.
func (d *decider) committing(o Committing) error {
	j, err := d.job(o.Job)
	if err != nil || !d.MayCommit(j) {
		return err
	}
	j.State, j.Reason, j.Cause = api.JobCommitting, "", ""
	for _, groom := range j.grooms() {
		d.order(&j, Order{Groom: groom, Kind: api.DirectiveCommit})
	}
	d.say("%s commits: all %d peers are done in epoch %d", j.ID, j.Tasks, j.Epoch)
	d.putJob(j)
	return nil
}
