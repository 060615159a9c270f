package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"groom/api"
	"groom/fsm/table"
)

// Errors of a decision. The observation is refused; nothing is recorded.
var (
	// ErrUnknown is returned when an observation names a job, task or attempt that the tables do not hold.
	ErrUnknown = errors.New("not in the tables")
	// ErrRefused is returned when a directive contradicts what the tables hold.
	ErrRefused = errors.New("directive refused")
	// ErrCluster is returned when another cluster than the pinned one gives orders.
	ErrCluster = errors.New("another cluster")
	// ErrTooLarge is returned when a decision does not fit into one entry. See Halve.
	ErrTooLarge = errors.New("too large for one entry")
)

// Decision is what is to be recorded for an observation. Without changes there is nothing to record.
type Decision struct {
	Because string // in words, for people
	Changes []table.Change
}

// Decide is the one place where a groom's policy lives: restarts, budgets, backoff, what a stop means. It reads the
// tables and changes nothing. now is the time of the observation, seed the source of every jitter.
func Decide(s *State, o Observation, now api.Moment, seed uint64) (Decision, error) {
	d := &decider{State: s, draft: table.NewDraft(), now: now, seed: seed}
	var err error
	switch o := bounded(o).(type) {
	case Booted:
		err = d.booted(o)
	case Recovered:
		err = d.recovered(o)
	case DirChanged:
		err = d.dirChanged(o)
	case Pinned:
		err = d.pinned(o)
	case Directed:
		err = d.directed(o)
	case Due:
		err = d.due(o)
	case Started:
		err = d.started(o)
	case Ended:
		err = d.ended(o)
	case Done:
		err = d.done(o)
	case Told:
		err = d.told(o)
	case Silent:
		err = d.silent(o)
	case Committed:
		err = d.committed(o)
	case Acked:
		d.acked(o)
	case Contact:
		d.contact(o)
	case Abandoned:
		err = d.abandoned(o)
	default:
		err = fmt.Errorf("observation %T: %w", o, ErrUnknown)
	}
	if err != nil {
		return Decision{}, err
	}
	if d.unsaid > 0 {
		d.because += fmt.Sprintf("; and %d more", d.unsaid)
	}
	return Decision{Because: d.because, Changes: d.draft.Changes()}, nil
}

// Record puts an observation and its decision into the body of a journal entry.
func Record(o Observation, dec Decision, now api.Moment, seed uint64) ([]byte, error) {
	obs, err := table.Canonical(bounded(o))
	if err != nil {
		return nil, fmt.Errorf("encode observation: %w", err)
	}
	e := table.Entry{Now: now, Seed: seed, Obs: obs, Because: dec.Because, Changes: dec.Changes}
	body, err := e.Encode()
	if err != nil {
		return nil, err
	}
	if len(body) > EntryLimit {
		return nil, fmt.Errorf("%s of %d bytes: %w", Kinds()[o.Kind()], len(body), ErrTooLarge)
	}
	return body, nil
}

type decider struct {
	*State
	draft   *table.Draft
	now     api.Moment
	seed    uint64
	because string
	unsaid  int // decisions that because has no room for
}

// becauseLimit bounds the words of one entry, in bytes. Each task's row has its own words all the same.
const becauseLimit = 2048

func (d *decider) say(format string, args ...any) string {
	words := fmt.Sprintf(format, args...)
	if len(d.because)+len(words) > becauseLimit {
		d.unsaid++
		return words
	}
	if d.because != "" {
		d.because += "; "
	}
	d.because += words
	return words
}

func (d *decider) booted(o Booted) error {
	self := d.Me()
	if self.ID == "" {
		self.ID = o.ID
	}
	self.Incarnation++
	self.Name, self.BootID, self.PIDNS, self.Build, self.MaxTasks = o.Name, o.BootID, o.PIDNS, o.Build, o.MaxTasks
	table.Put(d.draft, d.Self, selfKey, self)
	table.Put(d.draft, d.Incarnations, incarnationKey(self.Incarnation), Incarnation{At: d.now, Build: o.Build, BootID: o.BootID})
	d.say("start %d of groom %s", self.Incarnation, self.Name)
	return nil
}

func incarnationKey(n uint64) string { return fmt.Sprintf("%08d", n) }

func (d *decider) recovered(o Recovered) error {
	key := incarnationKey(o.Report.Incarnation)
	in, ok := d.Incarnations.Get(key)
	if !ok {
		return fmt.Errorf("incarnation %d: %w", o.Report.Incarnation, ErrUnknown)
	}
	in.Recovery = &o.Report
	table.Put(d.draft, d.Incarnations, key, in)
	count := map[api.Finding]int{}
	for _, row := range o.Report.Found {
		count[row.Finding]++
	}
	for finding, n := range o.Report.Omitted {
		count[finding] += n
	}
	d.say("recovery: %d adopted, %d ended while away, %d lost, %d not started, %d orphans killed",
		count[api.FoundAlive], count[api.FoundEnded], count[api.FoundLost], count[api.FoundUnborn], count[api.FoundOrphan])
	if n := count[api.FoundLeft]; n > 0 {
		d.say("%d orphans left alive", n)
	}
	if n := count[api.FoundUnknown]; n > 0 {
		d.say("%d not looked for yet", n)
	}
	return nil
}

func (d *decider) dirChanged(o DirChanged) error {
	if old, ok := d.Dirs.Get(o.Path); ok && old.OK == o.OK && old.Reason == o.Reason {
		return nil
	}
	table.Put(d.draft, d.Dirs, o.Path, Dir{OK: o.OK, Reason: o.Reason, Since: d.now})
	if o.OK {
		d.say("local directory %s is usable", o.Path)
	} else {
		d.say("local directory %s drops out: %s", o.Path, o.Reason)
	}
	return nil
}

func (d *decider) pinned(o Pinned) error {
	self := d.Me()
	switch self.Cluster {
	case o.Cluster:
		return nil
	case "":
		self.Cluster = o.Cluster
		table.Put(d.draft, d.Self, selfKey, self)
		d.say("belongs to cluster %s from now on", o.Cluster)
		return nil
	}
	return fmt.Errorf("pinned to cluster %s, asked by %s: %w", self.Cluster, o.Cluster, ErrCluster)
}

func (d *decider) acked(o Acked) {
	for _, id := range o.Reports {
		table.Delete(d.draft, d.Outbox, id)
	}
	if n := len(d.draft.Changes()); n > 0 {
		d.say("the master holds %d report(s)", n)
	}
}

// toldLimit bounds what a report says of a task's own words, in bytes; the groom keeps more of them.
const toldLimit = 400

// report puts a task's state into the outbox, where it stays until the master holds it. The revision of the task's
// row makes the id unique, because each report goes with a change of that row.
func (d *decider) report(t Task, end *Attempt) {
	r := api.Report{
		ID: fmt.Sprintf("%s/%d", t.ID, d.Tasks.Rev(string(t.ID))+1), Task: t.ID, Attempt: t.Attempt,
		Epoch: t.Epoch, State: t.State, Failures: t.Failures, At: d.now, Because: t.Words,
	}
	if end != nil {
		r.Outcome, r.Counted, r.Epoch = &end.End.Outcome, end.Counted, end.Epoch
		r.Attempt = end.ID.N()
		j, _ := table.Get(d.draft, d.Jobs, string(t.ID.Job()))
		r.Healthy = end.healthy(j)
		told, _, _ := strings.Cut(end.Failure, "\n")
		r.Told = clip(told, toldLimit)
	}
	table.Put(d.draft, d.Outbox, r.ID, r)
}

// turn moves a task to a state, with the decision in words.
func (d *decider) turn(t *Task, state api.TaskState, format string, args ...any) {
	t.State, t.Since = state, d.now
	t.Words = d.say(format, args...)
}

func (d *decider) put(t Task) { table.Put(d.draft, d.Tasks, string(t.ID), t) }

func (d *decider) task(id api.TaskID) (Task, Job, error) {
	t, ok := table.Get(d.draft, d.Tasks, string(id))
	if !ok {
		return Task{}, Job{}, fmt.Errorf("task %s: %w", id, ErrUnknown)
	}
	j, ok := table.Get(d.draft, d.Jobs, string(id.Job()))
	if !ok {
		return Task{}, Job{}, fmt.Errorf("job %s: %w", id.Job(), ErrUnknown)
	}
	return t, j, nil
}

func (d *decider) attempt(id api.AttemptID) (Attempt, Task, Job, error) {
	a, ok := d.Attempts.Get(string(id))
	if !ok {
		return Attempt{}, Task{}, Job{}, fmt.Errorf("attempt %s: %w", id, ErrUnknown)
	}
	t, j, err := d.task(id.Task())
	return a, t, j, err
}

func addIndexes(have []int, more []int) []int {
	have = append(slices.Clone(have), more...)
	slices.Sort(have)
	return slices.Compact(have)
}
