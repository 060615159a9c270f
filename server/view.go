package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/fsm/table"
	"groom/job"
	"groom/story"
	"groom/supervisor/logs"
)

// Status describes the groom.
func (g *Groom) Status() api.GroomStatus { return g.status() }

// Master is the master's pages and whether it answers.
func (g *Groom) Master() (webURL string, reached bool) {
	webURL, reached, _ = g.link.master()
	return webURL, reached
}

// Recoveries is what each start that is kept found, newest first.
func (g *Groom) Recoveries(context.Context) ([]api.RecoveryReport, error) {
	var all []api.RecoveryReport
	g.machine.View(func() {
		for _, in := range g.state.Incarnations.All() {
			if in.Recovery != nil {
				all = append(all, *in.Recovery)
			}
		}
	})
	slices.Reverse(all)
	return all, nil
}

// Removals is what was removed of late, newest first.
func (g *Groom) Removals(context.Context) ([]api.Removal, error) { return g.removed.newest(), nil }

// Jobs lists the jobs of which the groom has tasks, newest first.
func (g *Groom) Jobs(context.Context) ([]api.JobView, error) {
	var all []api.JobView
	g.machine.View(func() {
		for _, j := range g.state.Jobs.All() {
			all = append(all, g.jobView(j))
		}
	})
	slices.Reverse(all) // ids begin with the minute of the submission
	return all, nil
}

// jobView is called under View. The state is what this groom's tasks say of it: the job's own is the master's.
func (g *Groom) jobView(j fsm.Job) api.JobView {
	v := api.JobView{
		ID: j.ID, Name: j.Name, Type: j.Type, Tasks: j.Tasks, Epoch: j.Epoch, Step: -1, ByState: map[api.TaskState]int{},
	}
	for _, i := range j.Local {
		t, ok := g.state.Tasks.Get(string(j.ID.Task(i)))
		if !ok {
			continue
		}
		v.ByState[t.State]++
		if a, ok := g.state.Newest(t); ok {
			p, _ := g.pulses.get(a.ID)
			v.Step = max(v.Step, p.Step)
			if at := a.Started.Wall; !at.IsZero() && (v.StartedAt.IsZero() || at.Before(v.StartedAt)) {
				v.StartedAt = at
			}
		}
		if t.State.Terminal() && t.Since.Wall.After(v.EndedAt) {
			v.EndedAt = t.Since.Wall
		}
	}
	v.State = stateOf(v.ByState)
	if !v.State.Terminal() {
		v.EndedAt = time.Time{}
	}
	return v
}

// stateOf is the state of a job as a groom's tasks show it.
func stateOf(tasks map[api.TaskState]int) api.JobState {
	living := 0
	for state, n := range tasks {
		if !state.Terminal() {
			living += n
		}
	}
	switch {
	case living > 0 && tasks[api.TaskStopped] == living:
		return api.JobStopped
	case living > 0 && tasks[api.TaskCommitting] == living:
		return api.JobCommitting
	case living > 0:
		return api.JobRunning
	case tasks[api.TaskFailed] > 0:
		return api.JobFailed
	case tasks[api.TaskKilled] > 0:
		return api.JobKilled
	}
	return api.JobSucceeded
}

// supersteps shown on a job's page.
const stepsShown = 500

// Job is one job with its tasks on this groom.
func (g *Groom) Job(_ context.Context, name string) (api.JobDetail, error) {
	var d api.JobDetail
	found := 0
	g.machine.View(func() {
		for _, j := range g.state.Jobs.All() {
			if string(j.ID) != name && j.Name != name {
				continue
			}
			found++
			d.JobView, d.SpecHash, d.TaskViews = g.jobView(j), j.Spec, nil
			for _, i := range j.Local {
				if t, ok := g.state.Tasks.Get(string(j.ID.Task(i))); ok {
					d.TaskViews = append(d.TaskViews, g.taskView(t, j))
				}
			}
		}
	})
	switch {
	case found == 0:
		return d, api.Problemf(api.CodeNotFound, "this groom has no job %s", name).WithHint("groom job list")
	case found > 1:
		return d, api.Problemf(api.CodeConflict, "%d jobs are named %s", found, name).WithHint("groom job list tells their ids")
	}
	if _, spec, err := g.specOf(d.ID); err == nil {
		d.Spec, d.Output = job.Mask(*spec), spec.Output
	}
	var err error
	if d.Supersteps, err = g.Supersteps(d.ID); err != nil {
		return d, err
	}
	d.Events, err = g.story(d.ID, "")
	return d, err
}

// Supersteps is the newest rounds of a job whose root is this groom.
func (g *Groom) Supersteps(id api.JobID) ([]api.Superstep, error) {
	if g.upTo > 0 {
		return nil, nil
	}
	return g.steps.newest(id, stepsShown)
}

// taskView is called under View.
func (g *Groom) taskView(t fsm.Task, j fsm.Job) api.TaskView {
	self := g.state.Me()
	v := api.TaskView{
		ID: t.ID, Index: t.ID.Index(), State: t.State, Groom: self.Name, GroomID: self.ID, GroomURL: g.o.WebURL,
		Attempt: t.Attempt, Failures: t.Failures, Limit: j.Restart.Limit, Epoch: t.Epoch, Step: -1, Words: t.Words,
	}
	if t.NextTry != nil {
		v.NextTry = t.NextTry.Wall
	}
	for n := t.Attempt; n > 0; n-- {
		if a, ok := g.state.Attempts.Get(string(t.ID.Attempt(n))); ok && a.End != nil {
			v.Outcome = &a.End.Outcome
			break
		}
	}
	if a, ok := g.state.Newest(t); ok && a.State != fsm.AttemptEnded {
		p, _ := g.pulses.get(a.ID)
		v.Pid, v.Step, v.Progress, v.LastPing, v.Counters = a.Pid, p.Step, p.Progress, p.at, p.Counters
		v.Probe = g.probes.view(a.ID)
	}
	return v
}

// Task is one task with all its attempts.
func (g *Groom) Task(_ context.Context, name string) (api.TaskDetail, error) {
	var d api.TaskDetail
	var attempts []fsm.Attempt
	found := false
	g.machine.View(func() {
		t, ok := g.state.Tasks.Get(name)
		if !ok {
			return
		}
		found = true
		j, _ := g.state.Jobs.Get(string(t.ID.Job()))
		d.TaskView, d.Job = g.taskView(t, j), g.jobView(j)
		for n := 1; n <= t.Attempt; n++ {
			if a, ok := g.state.Attempts.Get(string(t.ID.Attempt(n))); ok {
				attempts = append(attempts, a)
			}
		}
	})
	if !found {
		return d, api.Problemf(api.CodeNotFound, "this groom has no task %s", name)
	}
	for _, a := range attempts {
		v := attemptView(a)
		if g.upTo > 0 {
			v.StdoutLen, v.StderrLen = 0, 0 // how long they were then nobody knows
		} else {
			v.Removed = g.removed.why(a.ID)
		}
		d.Attempts = append(d.Attempts, v)
	}
	var err error
	d.Events, err = g.story(d.Job.ID, d.ID)
	return d, err
}

func attemptView(a fsm.Attempt) api.AttemptView {
	v := api.AttemptView{
		ID: a.ID, N: a.ID.N(), Epoch: a.Epoch, State: string(a.State), Pid: a.Pid, ShimPid: a.ShimPid,
		StartedAt: a.Started.Wall, Counted: a.Counted, Failure: a.Failure, Unenforced: a.Unenforced, Dir: attemptDir(a),
	}
	v.StdoutLen, _ = logs.Size(v.Dir, logs.Stdout) // 0 when the directory is gone
	v.StderrLen, _ = logs.Size(v.Dir, logs.Stderr)
	if a.Order != nil && a.End == nil {
		v.Words = fmt.Sprintf("asked to end (%s): %s", a.Order.By, a.Order.Why)
	}
	if e := a.End; e != nil {
		v.EndedAt, v.Outcome, v.Words = e.At.Wall, &e.Outcome, e.Outcome.String()
		v.MaxRSS, v.UserNS, v.SystemNS = e.MaxRSS, e.UserNS, e.SystemNS
		switch {
		case strings.HasPrefix(e.Words, v.Words): // the outcome, and more
			v.Words = e.Words
		case e.Words != "":
			v.Words += "; " + e.Words
		}
	}
	return v
}

// story is what the newest entries of the journal say of a job or a task, oldest first.
func (g *Groom) story(id api.JobID, task api.TaskID) ([]api.EventView, error) {
	last := g.upTo
	if last == 0 {
		last = g.journal.Stats().Last
	}
	return g.stories.Of(last, id, task)
}

// JournalInfo is the state of the journal.
func (g *Groom) JournalInfo() api.JournalInfo {
	return story.Info(g.machine.Name(), g.o.Home.Path("groom"), g.journal.Stats(), g.machine.Digest(), g.Me().Incarnation)
}

// State is every table.
func (g *Groom) State() json.RawMessage { return g.machine.StateJSON() }

// Events is every entry after index after, as it is applied.
func (g *Groom) Events(ctx context.Context, after uint64) <-chan api.Event {
	return g.events.Listen(ctx, after)
}

// Logs reads a stream of an attempt from a byte offset on, and follows it until the attempt has ended when asked to.
func (g *Groom) Logs(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error) {
	var a fsm.Attempt
	var ok bool
	g.machine.View(func() { a, ok = g.state.Attempts.Get(string(id)) })
	if !ok {
		return nil, api.Problemf(api.CodeNotFound, "this groom has no attempt %s", id)
	}
	if stream != logs.Stdout && stream != logs.Stderr {
		return nil, api.Problemf(api.CodeInvalid, "stream %q: want %s or %s", stream, logs.Stdout, logs.Stderr)
	}
	if follow {
		return g.followLogs(ctx, a, stream, offset), nil
	}
	return readLogs(attemptDir(a), stream, offset), nil
}

// followLogs waits for more until the attempt has ended. One that has ended and whose directory is gone has no more to
// say, while that of one which is being started is only not there yet.
func (g *Groom) followLogs(ctx context.Context, a fsm.Attempt, stream string, offset int64) iter.Seq2[api.LogChunk, error] {
	return func(yield func(api.LogChunk, error) bool) {
		for c, err := range logs.Follow(ctx, attemptDir(a), stream, offset, logChunk) {
			if errors.Is(err, fs.ErrNotExist) && g.over(a.ID) {
				c, err = api.LogChunk{Stream: stream, Offset: offset, End: true}, nil
			}
			if !yield(c, err) {
				return
			}
			offset = c.Offset + int64(len(c.Data))
		}
	}
}

// over says that the attempt has ended, or that the tables have forgotten it.
func (g *Groom) over(id api.AttemptID) bool {
	var a fsm.Attempt
	var ok bool
	g.machine.View(func() { a, ok = g.state.Attempts.Get(string(id)) })
	return !ok || a.State == fsm.AttemptEnded
}

// logChunk bounds the bytes of one piece of a log.
const logChunk = 64 << 10

// readLogs is what is there now.
func readLogs(dir, stream string, offset int64) iter.Seq2[api.LogChunk, error] {
	return func(yield func(api.LogChunk, error) bool) {
		for {
			c, err := logs.Read(dir, stream, offset, logChunk)
			if errors.Is(err, fs.ErrNotExist) {
				return // its directory is not there yet, or not any more
			}
			if !yield(c, err) || err != nil || len(c.Data) == 0 {
				return
			}
			offset = c.Offset + int64(len(c.Data))
		}
	}
}

// applied sees each entry after the tables changed, replayed ones included, from the goroutine that applies.
func (g *Groom) applied(index uint64, kind uint16, e *table.Entry) {
	g.events.Publish(story.Event(g.machine.Name(), index, g.machine.KindName(kind), e))
	g.kick()
	if kind != fsm.KindAcked {
		g.hasten()
	}
}
