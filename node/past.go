package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"groom/api"
	"groom/master"
	"groom/replay"
	"groom/server"
	"groom/web"
)

// history is the history of a journal of this process.
func (v *views) history(of string) (*replay.Past, error) {
	groom, err := v.of(of)
	if err != nil {
		return nil, err
	}
	if groom {
		return replay.New("groom", v.node.Groom.History()), nil
	}
	return replay.New("master", v.node.Master.History()), nil
}

// told turns the errors of a question into what a person should see.
func told(err error) error {
	switch {
	case errors.Is(err, replay.ErrRange), errors.Is(err, replay.ErrNothing):
		return api.Problemf(api.CodeNotFound, "%v", err).WithHint("groom journal info")
	case errors.Is(err, replay.ErrMoment):
		return api.Problemf(api.CodeInvalid, "%v", err)
	}
	return err
}

// pastsKept are kept, since a page of the past is followed by others of the same moment.
const pastsKept = 4

// pasts remembers the moments that were looked at last.
type pasts struct {
	mu  sync.Mutex
	all []*past // the newest last
}

// index is the entry that a moment names. To the history 0 is the newest one; a page has no need of that.
func index(p *replay.Past, moment string) (uint64, error) {
	i, err := p.Index(moment)
	if s := p.History().Stats(); err == nil && i == 0 {
		err = fmt.Errorf("entry 0: %w: the journal of the %s goes from entry %d to entry %d", replay.ErrRange, p.Of, s.First, s.Last)
	}
	return i, told(err)
}

// At is the views as they were after an entry of a journal.
func (v *views) At(_ context.Context, of, moment string) (web.Views, api.Instant, error) {
	p, err := v.history(of)
	if err != nil {
		return nil, api.Instant{}, err
	}
	index, err := index(p, moment)
	if err != nil {
		return nil, api.Instant{}, err
	}
	// One replay at a time: whoever plays through a history asks for the next moment before the last one is shown.
	v.past.mu.Lock()
	defer v.past.mu.Unlock()
	instant, err := p.Instant(index)
	if err != nil {
		return nil, instant, told(err)
	}
	for _, one := range v.past.all {
		if one.of == p.Of && one.index == index {
			return one, instant, nil
		}
	}
	one := &past{of: p.Of, index: index, now: v}
	if p.Of == "groom" {
		one.groom, err = v.node.Groom.At(index)
	} else {
		one.master, err = v.node.Master.At(index)
	}
	if err != nil {
		return nil, instant, told(err)
	}
	v.past.all = append(v.past.all, one)
	v.past.all = v.past.all[max(0, len(v.past.all)-pastsKept):]
	return one, instant, nil
}

// Show is one entry with what it changed.
func (v *views) Show(_ context.Context, of string, index uint64) (api.EntryView, error) {
	p, err := v.history(of)
	if err != nil {
		return api.EntryView{}, err
	}
	e, err := p.Show(index)
	return e, told(err)
}

// Diff is what lies between two moments.
func (v *views) Diff(_ context.Context, of, a, b string) (d api.Diff, err error) {
	p, err := v.history(of)
	if err != nil {
		return d, err
	}
	d.Of = p.Of
	if d.A, err = p.Index(a); err != nil {
		return d, told(err)
	}
	if d.B, err = p.Index(b); err != nil {
		return d, told(err)
	}
	d.Rows, err = p.Diff(d.A, d.B)
	return d, told(err)
}

// Why is the story of a job, a task or an attempt, in all journals of the process or the one named of.
func (v *views) Why(_ context.Context, of, object string) (api.Story, error) {
	var all []*replay.Past
	for _, name := range replay.Journals {
		if p, err := v.history(name); err == nil && (of == "" || of == name) {
			all = append(all, p)
		}
	}
	id, err := replay.Resolve(all, object)
	if err != nil {
		return api.Story{}, told(err)
	}
	s, err := replay.Why(all, id)
	return s, told(err)
}

// past is a groom, or a master, at a moment.
type past struct {
	of     string
	index  uint64
	groom  *server.Past // one of the two
	master *master.Past
	now    *views
}

var _ web.Views = (*past)(nil)

// Overview is the state of the groom, or the master, and of what ran. How long its journal was then nobody wrote down.
func (p *past) Overview(ctx context.Context) (api.Overview, error) {
	o := api.Overview{Role: p.of, Insecure: p.now.insecure}
	if p.groom != nil {
		s := p.groom.Status()
		o.Groom = &s
		if all, err := p.groom.Recoveries(ctx); err == nil && len(all) > 0 {
			o.Recovery = &all[0]
		}
	} else {
		s := p.master.Status()
		o.Master = &s
	}
	var err error
	if o.Nodes, err = p.Nodes(ctx); err != nil {
		return o, err
	}
	o.Jobs, err = p.Jobs(ctx)
	slices.SortStableFunc(o.Jobs, func(a, b api.JobView) int { return ended(a) - ended(b) })
	return o, err
}

// Jobs lists the jobs in the tables.
func (p *past) Jobs(ctx context.Context) ([]api.JobView, error) {
	if p.groom != nil {
		return p.groom.Jobs(ctx)
	}
	return p.master.Jobs(ctx)
}

// Job is one job as it stood.
func (p *past) Job(ctx context.Context, name string) (api.JobDetail, error) {
	if p.groom != nil {
		return p.groom.Job(ctx, name)
	}
	return p.master.Job(ctx, name)
}

// Task is one task as it stood.
func (p *past) Task(ctx context.Context, id string) (api.TaskDetail, error) {
	if p.groom != nil {
		return p.groom.Task(ctx, id)
	}
	return p.master.Task(ctx, id)
}

// Nodes lists the grooms as the master had them.
func (p *past) Nodes(ctx context.Context) ([]api.NodeView, error) {
	if p.groom != nil {
		return []api.NodeView{}, nil
	}
	return p.master.Nodes(ctx)
}

// Removals are in no journal.
func (p *past) Removals(context.Context) ([]api.Removal, error) { return []api.Removal{}, nil }

// Recoveries is what each start until then had found.
func (p *past) Recoveries(ctx context.Context) ([]api.RecoveryReport, error) {
	if p.groom != nil {
		return p.groom.Recoveries(ctx)
	}
	return []api.RecoveryReport{}, nil
}

// Journals are as they are now, and the one of the moment ends there.
func (p *past) Journals(ctx context.Context) ([]api.JournalInfo, error) {
	all, err := p.now.Journals(ctx)
	for i := range all {
		if all[i].Of == p.of {
			all[i].Last = p.index
		}
	}
	return all, err
}

// Kinds counts them as they are now, too.
func (p *past) Kinds(ctx context.Context, of string) ([]api.KindCount, error) {
	return p.now.Kinds(ctx, of)
}

// Journal is a page of the journal up to the moment.
func (p *past) Journal(ctx context.Context, q web.JournalQuery) ([]api.EntryView, error) {
	if q.Of == "" {
		q.Of = p.of
	}
	if q.Of == p.of && (q.To == 0 || q.To > p.index) {
		q.To = p.index
	}
	return p.now.Journal(ctx, q)
}

// State is every table as it stood.
func (p *past) State(context.Context, string) (json.RawMessage, error) {
	if p.groom != nil {
		return p.groom.State(), nil
	}
	return p.master.State(), nil
}

// Logs are in no journal.
func (p *past) Logs(context.Context, api.AttemptID, string, int64, bool) (iter.Seq2[api.LogChunk, error], error) {
	return nil, api.Problemf(api.CodeNotFound, "the journal does not hold what tasks write").WithHint("leave ?at= out to read the logs as they are now")
}

// Events come no more.
func (p *past) Events(context.Context, string, uint64) <-chan api.Event {
	ch := make(chan api.Event)
	close(ch)
	return ch
}

// At leads from one moment to another.
func (p *past) At(ctx context.Context, of, moment string) (web.Views, api.Instant, error) {
	return p.now.At(ctx, of, moment)
}

// Show, Diff and Why ask the whole history.
func (p *past) Show(ctx context.Context, of string, index uint64) (api.EntryView, error) {
	return p.now.Show(ctx, of, index)
}

// Diff is what lies between two moments.
func (p *past) Diff(ctx context.Context, of, a, b string) (api.Diff, error) {
	return p.now.Diff(ctx, of, a, b)
}

// Why is the whole story.
func (p *past) Why(ctx context.Context, of, object string) (api.Story, error) {
	return p.now.Why(ctx, of, object)
}
