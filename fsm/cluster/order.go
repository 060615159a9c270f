package cluster

import (
	"fmt"
	"slices"
	"strings"

	"groom/api"
	"groom/fsm/table"
)

// order adds a directive, which is outstanding until its groom answers. Directives of one job reach one groom in the
// order in which they were made.
func (d *decider) order(j *Job, o Order) {
	j.Orders++
	o.ID, o.Job, o.Epoch, o.Since = orderID(j.ID, j.Orders), j.ID, j.Epoch, d.now
	table.Put(d.draft, d.Orders, o.ID, o)
}

// supersede takes back what the groom was told of the job and has not answered, all but forget, or only the kinds that
// are named. It may have reached the groom all the same: what is ordered next has to be right either way.
func (d *decider) supersede(j Job, groom string, kinds ...api.DirectiveKind) {
	for id, o := range d.Orders.All() {
		if o.Job != j.ID || o.Groom != groom || o.Kind == api.DirectiveForget {
			continue
		}
		if len(kinds) == 0 || slices.Contains(kinds, o.Kind) {
			table.Delete(d.draft, d.Orders, id)
		}
	}
}

// Outstanding are the directives of which a groom has not answered, in the order in which it is told. Those of one job
// stand together, in the order in which they were made.
func (s *State) Outstanding(groom string) []Order {
	var all []Order
	for _, o := range s.Orders.All() {
		if o.Groom == groom {
			all = append(all, o)
		}
	}
	return all
}

// outstanding says whether any groom has an answer to give about the job.
func (s *State) outstanding(id api.JobID) bool {
	for _, o := range s.Orders.All() {
		if o.Job == id {
			return true
		}
	}
	return false
}

// Directive is the directive as it goes to the groom, but for the spec and the secret. It is made from the tables each
// time, so it names what is placed with the groom now.
func (s *State) Directive(o Order) (api.Directive, bool) {
	j, ok := s.Jobs.Get(string(o.Job))
	if !ok {
		return api.Directive{}, false
	}
	dir := api.Directive{
		Version: api.Version, ID: o.ID, Cluster: s.Me().Cluster, Kind: o.Kind, Job: o.Job, Epoch: o.Epoch, Tasks: o.Tasks,
		Fail: o.Fail, Reason: o.Reason,
	}
	launches := j.Launches(o.Groom)
	switch {
	case o.Kind == api.DirectiveLaunch, o.Kind == api.DirectiveRecover:
		dir.Launch = new(api.Launch)
		if j.holds() { // else its places are only remembered
			dir.Launch.Tasks = launches
		}
		if j.Type == api.BSP {
			root, _ := s.Grooms.Get(j.Root())
			dir.Launch.Root = api.RootAddr{Groom: root.ID, Worker: root.WorkerAddr}
		}
	case o.Placed:
		for _, l := range launches {
			dir.Tasks = append(dir.Tasks, l.Index)
		}
	}
	return dir, true
}

// answered takes a groom's answer. Once the groom's journal holds the directive, it is done here.
func (d *decider) answered(o Answered) {
	order, ok := d.Orders.Get(o.Order)
	if !ok {
		return // superseded meanwhile, or answered twice
	}
	table.Delete(d.draft, d.Orders, o.Order)
	name := d.nameOf(order.Groom)
	j, known := d.Jobs.Get(string(order.Job))
	switch {
	case !known:
		d.say("%s answers %s of %s, which is forgotten", name, order.Kind, order.Job)
	case o.Rejected == "":
		d.say("%s takes %s %s", name, order.Kind, order.Job)
	default:
		d.say("%s rejects %s %s: %s", name, order.Kind, order.Job, o.Rejected)
		d.rejected(&j, order, fmt.Sprintf("groom %s cannot %s it: %s", name, order.Kind, strings.TrimSuffix(o.Rejected, ": directive refused")))
		d.putJob(j)
	}
}

// rejected decides what follows when a groom can never do what it was told.
func (d *decider) rejected(j *Job, o Order, why string) {
	if j.State.Terminal() {
		return
	}
	placed := slices.Contains(j.grooms(), o.Groom) && j.holds()
	switch o.Kind {
	case api.DirectiveLaunch, api.DirectiveRecover:
		if o.Kind == api.DirectiveRecover && !placed {
			// It was only to end what it has of older epochs. A kill does that as well, at the price that no later epoch
			// can use the groom.
			d.order(j, Order{Groom: o.Groom, Kind: api.DirectiveKill, Reason: why})
			return
		}
		d.fail(j, why)
		d.judge(j)
	case api.DirectiveCommit:
		d.end(j, api.JobFailed, why)
	case api.DirectiveStop, api.DirectiveResume, api.DirectiveRestart:
		j.Reason = clip(why, reasonLimit)
	}
}
