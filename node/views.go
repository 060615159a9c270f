package node

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"

	"groom/api"
	"groom/replay"
	"groom/web"
)

// cluster is a master, in this process or at a distance.
type cluster interface {
	Jobs(ctx context.Context) ([]api.JobView, error)
	Job(ctx context.Context, name string) (api.JobDetail, error)
	Task(ctx context.Context, id string) (api.TaskDetail, error)
	Nodes(ctx context.Context) ([]api.NodeView, error)
	Logs(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error)
	Submit(ctx context.Context, r api.SubmitRequest) (api.Submission, error)
	Act(ctx context.Context, r api.ActRequest) (api.ActReply, error)
}

// views shows groom and master as one. What belongs to the cluster is the master's word; what belongs to a task of
// this groom is the groom's, which is newer and exact. A groom whose master is out of reach shows what it knows.
type views struct {
	node     *Node
	cluster  cluster
	insecure bool
	past     pasts
	kinds    kinds
}

var (
	_ web.Views   = (*views)(nil)
	_ web.Actions = (*views)(nil)
)

// Overview is the state of the process and of what runs.
func (v *views) Overview(ctx context.Context) (api.Overview, error) {
	o := api.Overview{Role: "groom", Insecure: v.insecure}
	g, m := v.node.Groom, v.node.Master
	if g != nil {
		s := g.Status()
		o.Groom = &s
		if all, err := g.Recoveries(ctx); err == nil && len(all) > 0 {
			o.Recovery = &all[0]
		}
	}
	switch {
	case m != nil:
		s := m.Status()
		s.Reachable = true
		o.Master, o.Role = &s, "master"
		if g != nil {
			o.Role = "groom+master"
		}
	case g != nil:
		_, reached := g.Master()
		o.Master = &api.MasterStatus{Reachable: reached}
	}
	var err error
	if o.Journals, err = v.Journals(ctx); err != nil {
		return o, err
	}
	if o.Nodes, err = v.Nodes(ctx); err != nil {
		return o, err
	}
	o.Jobs, err = v.Jobs(ctx)
	slices.SortStableFunc(o.Jobs, func(a, b api.JobView) int {
		return ended(a) - ended(b)
	})
	return o, err
}

func ended(j api.JobView) int {
	if j.State.Terminal() {
		return 1
	}
	return 0
}

// Jobs lists the jobs of the cluster, or those of this groom while no master answers.
func (v *views) Jobs(ctx context.Context) ([]api.JobView, error) {
	jobs, err := v.cluster.Jobs(ctx)
	if err == nil || v.node.Groom == nil {
		return jobs, err
	}
	jobs, err = v.node.Groom.Jobs(ctx)
	for i := range jobs {
		jobs[i].Reason = alone
	}
	return jobs, err
}

// alone is said of what a groom shows while no master answers.
const alone = "no master answers: this is what this groom knows of its own tasks"

// Job is one job. Tasks of this groom are shown as the groom has them.
func (v *views) Job(ctx context.Context, name string) (api.JobDetail, error) {
	d, err := v.cluster.Job(ctx, name)
	if v.node.Groom == nil {
		return d, err
	}
	if err != nil {
		own, e := v.node.Groom.Job(ctx, name)
		p, told := errors.AsType[*api.Problem](err)
		switch {
		case e != nil, told && p.Code == api.CodeConflict:
			return d, err
		case !told || p.Code == api.CodeUnavailable:
			own.Reason = alone
		}
		return own, nil
	}
	own, err := v.node.Groom.Job(ctx, string(d.ID))
	if err != nil {
		return d, nil // none of its tasks are here
	}
	for i, t := range d.TaskViews {
		for _, mine := range own.TaskViews {
			// A task that moved on to another groom is not this groom's to describe.
			if mine.ID == t.ID && mine.GroomID == t.GroomID && mine.Attempt >= t.Attempt {
				d.TaskViews[i] = mine
			}
		}
	}
	d.Step = max(d.Step, own.Step)
	if len(own.Supersteps) > 0 {
		d.Supersteps = own.Supersteps
	}
	return d, nil
}

// Task is one task with its attempts.
func (v *views) Task(ctx context.Context, id string) (api.TaskDetail, error) {
	if v.node.Groom == nil {
		return v.cluster.Task(ctx, id)
	}
	own, err := v.node.Groom.Task(ctx, id)
	if err != nil {
		return v.cluster.Task(ctx, id)
	}
	d, err := v.cluster.Job(ctx, string(own.Job.ID))
	if err != nil {
		return own, nil
	}
	for _, t := range d.TaskViews {
		if t.ID == own.ID && t.GroomID != own.GroomID && t.GroomID != "" { // it moved on to another groom
			return v.cluster.Task(ctx, id)
		}
	}
	own.Job = d.JobView
	return own, nil
}

// Nodes lists the grooms of the cluster.
func (v *views) Nodes(ctx context.Context) ([]api.NodeView, error) {
	nodes, err := v.cluster.Nodes(ctx)
	if err != nil && v.node.Groom != nil {
		return []api.NodeView{}, nil // the master's word, and it is out of reach: the overview says so
	}
	return nodes, err
}

// Removals is what this groom removed.
func (v *views) Removals(ctx context.Context) ([]api.Removal, error) {
	if v.node.Groom == nil {
		return nil, nil
	}
	return v.node.Groom.Removals(ctx)
}

// Recoveries is what each start of this groom found.
func (v *views) Recoveries(ctx context.Context) ([]api.RecoveryReport, error) {
	if v.node.Groom == nil {
		return []api.RecoveryReport{}, nil
	}
	return v.node.Groom.Recoveries(ctx)
}

// Journals is the state of each journal of the process.
func (v *views) Journals(context.Context) ([]api.JournalInfo, error) {
	var all []api.JournalInfo
	if v.node.Groom != nil {
		all = append(all, v.node.Groom.JournalInfo())
	}
	if v.node.Master != nil {
		all = append(all, v.node.Master.JournalInfo())
	}
	for i := range all {
		all[i].Living = true // this process holds them
	}
	return all, nil
}

// of chooses a journal: true means the groom's.
func (v *views) of(name string) (groom bool, err error) {
	switch {
	case name == "groom" && v.node.Groom != nil, name == "" && v.node.Groom != nil:
		return true, nil
	case name == "master" && v.node.Master != nil, name == "" && v.node.Master != nil:
		return false, nil
	}
	return false, api.Problemf(api.CodeNotFound, "this process has no journal of a %q", name).
		WithHint("groom journal info")
}

// Journal is a page of a journal.
func (v *views) Journal(_ context.Context, q web.JournalQuery) ([]api.EntryView, error) {
	p, err := v.history(q.Of)
	if err != nil {
		return nil, err
	}
	f := replay.Filter{From: q.From, To: q.To, Kinds: q.Kinds, Since: q.Since, Until: q.Until}
	if q.Object != "" {
		if f.Object, err = replay.Resolve([]*replay.Past{p}, q.Object); err != nil {
			return nil, told(err)
		}
	}
	page, err := p.Newest(f, q.Limit)
	return page, told(err)
}

// State is every table of a journal.
func (v *views) State(_ context.Context, of string) (json.RawMessage, error) {
	groom, err := v.of(of)
	if err != nil {
		return nil, err
	}
	if groom {
		return v.node.Groom.State(), nil
	}
	return v.node.Master.State(), nil
}

// Logs reads a stream of an attempt, wherever it runs.
func (v *views) Logs(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error) {
	if v.node.Groom != nil {
		if chunks, err := v.node.Groom.Logs(ctx, id, stream, offset, follow); err == nil {
			return chunks, nil
		}
	}
	return v.cluster.Logs(ctx, id, stream, offset, follow)
}

// Events is what the journal named of records.
func (v *views) Events(ctx context.Context, of string, after uint64) <-chan api.Event {
	groom, err := v.of(of)
	if err != nil {
		ch := make(chan api.Event)
		close(ch)
		return ch
	}
	if groom {
		return v.node.Groom.Events(ctx, after)
	}
	return v.node.Master.Events(ctx, after)
}

// Submit hands a job to the master.
func (v *views) Submit(ctx context.Context, r api.SubmitRequest) (api.Submission, error) {
	return v.cluster.Submit(ctx, r)
}

// Act asks the master for a change.
func (v *views) Act(ctx context.Context, r api.ActRequest) (api.ActReply, error) {
	return v.cluster.Act(ctx, r)
}
