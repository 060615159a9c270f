package server

import (
	"context"
	"encoding/json"
	"fmt"

	"groom/api"
	"groom/fsm"
	"groom/journal"
	"groom/story"
)

// Past is a groom as its tables stood after an entry, shown by the same code as the living one. What no journal holds
// is absent, and not invented: pings, probes, progress, supersteps, what was removed, what is in the logs.
type Past struct{ g *Groom }

// History is the journal's, up to its newest entry.
func (g *Groom) History() *journal.History { return g.journal.History() }

// At replays the tables to where they stood after an entry. It takes as long as the replay from the nearest anchor.
func (g *Groom) At(index uint64) (*Past, error) {
	p := &Groom{
		o: g.o, log: g.log, state: fsm.NewState(), journal: g.journal, pulses: newPulses(), probes: newProbes(), upTo: index,
	}
	p.machine = fsm.NewMachine(p.state, nil)
	if err := g.journal.History().Replay(p.machine, index); err != nil {
		return nil, fmt.Errorf("replay to entry %d: %w", index, err)
	}
	p.stories = story.NewTeller(g.journal.Entries, p.machine.Name(), p.machine.KindName)
	return &Past{p}, nil
}

// Status is what the tables said of the groom and of what ran. How well it and its host were they do not say.
func (p *Past) Status() api.GroomStatus {
	g := p.g
	self := g.Me()
	s := api.GroomStatus{
		ID: self.ID, Name: self.Name, Incarnation: self.Incarnation, BootID: self.BootID, Build: self.Build, MaxTasks: self.MaxTasks,
	}
	g.machine.View(func() {
		for _, in := range g.state.Incarnations.All() {
			s.StartedAt = in.At.Wall // the last one is the newest
		}
		for path, d := range g.state.Dirs.All() {
			s.Dirs = append(s.Dirs, api.DirStatus{Path: path, OK: d.OK, Reason: d.Reason})
		}
		for _, a := range g.state.Living.All() {
			t, _ := g.state.Tasks.Get(string(a.ID.Task()))
			s.Attempts = append(s.Attempts, api.AttemptStatus{ID: a.ID, Epoch: a.Epoch, State: t.State, Pid: a.Pid, Step: -1})
		}
	})
	return s
}

// Recoveries is what each start had found, newest first.
func (p *Past) Recoveries(ctx context.Context) ([]api.RecoveryReport, error) {
	return p.g.Recoveries(ctx)
}

// Jobs lists the jobs of which the groom had tasks, newest first.
func (p *Past) Jobs(ctx context.Context) ([]api.JobView, error) { return p.g.Jobs(ctx) }

// Job is one job with its tasks on the groom, as they were.
func (p *Past) Job(ctx context.Context, name string) (api.JobDetail, error) {
	return p.g.Job(ctx, name)
}

// Task is one task with the attempts that it had had.
func (p *Past) Task(ctx context.Context, name string) (api.TaskDetail, error) {
	return p.g.Task(ctx, name)
}

// State is every table.
func (p *Past) State() json.RawMessage { return p.g.State() }
