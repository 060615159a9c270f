package master

import (
	"context"
	"encoding/json"
	"fmt"

	"groom/api"
	"groom/fsm/cluster"
	"groom/journal"
	"groom/story"
)

// Past is a master as its tables stood after an entry, shown by the same code as the living one. What no journal holds
// is absent: heartbeats, and who was in contact with it.
type Past struct{ m *Master }

// History is the journal's, up to its newest entry.
func (m *Master) History() *journal.History { return m.journal.History() }

// At replays the tables to where they stood after an entry. It takes as long as the replay from the nearest anchor.
func (m *Master) At(index uint64) (*Past, error) {
	p := &Master{o: m.o, log: m.log, state: cluster.NewState(), journal: m.journal, specs: m.specs, grooms: newContacts(), upTo: index}
	p.machine = cluster.NewMachine(p.state, nil)
	if err := m.journal.History().Replay(p.machine, index); err != nil {
		return nil, fmt.Errorf("replay to entry %d: %w", index, err)
	}
	p.stories = story.NewTeller(m.journal.Entries, p.machine.Name(), p.machine.KindName)
	return &Past{p}, nil
}

// Status is what the tables said of the master.
func (p *Past) Status() api.MasterStatus {
	self := p.m.me()
	return api.MasterStatus{Cluster: self.Cluster, Name: self.Name, Incarnation: self.Incarnation, Build: self.Build}
}

// Jobs lists the jobs, newest first.
func (p *Past) Jobs(ctx context.Context) ([]api.JobView, error) { return p.m.Jobs(ctx) }

// Job is one job with its tasks, as they had been reported.
func (p *Past) Job(ctx context.Context, name string) (api.JobDetail, error) {
	return p.m.Job(ctx, name)
}

// Task is one task, as it had been reported.
func (p *Past) Task(ctx context.Context, id string) (api.TaskDetail, error) { return p.m.Task(ctx, id) }

// Nodes lists the grooms, by name.
func (p *Past) Nodes(ctx context.Context) ([]api.NodeView, error) { return p.m.Nodes(ctx) }

// State is every table.
func (p *Past) State() json.RawMessage { return p.m.State() }
