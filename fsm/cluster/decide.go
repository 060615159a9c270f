package cluster

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
	// ErrUnknown is returned when an observation names a job, task or groom that the tables do not hold.
	ErrUnknown = errors.New("not in the tables")
	// ErrRefused is returned when what is asked for contradicts what the tables hold.
	ErrRefused = errors.New("refused")
	// ErrTooLarge is returned when a decision does not fit into one entry.
	ErrTooLarge = errors.New("too large for one entry")
)

// EntryLimit bounds the body of an entry, in bytes: the journal's 64 KiB, less its envelope.
const EntryLimit = 63 << 10

// Decision is what is to be recorded for an observation. Without changes there is nothing to record.
type Decision struct {
	Because string // in words, for people
	Changes []table.Change
}

// Decide is the one place where a master's policy lives: placement, budgets of BSP jobs, epochs, commits, what a stop
// means. It reads the tables and changes nothing.
func Decide(s *State, o Observation, now api.Moment, seed uint64) (Decision, error) {
	d := &decider{State: s, draft: table.NewDraft(), now: now, dying: map[api.JobID]bool{}}
	var err error
	switch o := bounded(o).(type) {
	case Booted:
		d.booted(o)
	case Registered:
		d.registered(o)
	case Changed:
		err = d.changed(o)
	case LeaseOver:
		err = d.leaseOver(o)
	case Submitted:
		err = d.submitted(o)
	case Placing:
		err = d.placing(o)
	case Asked:
		err = d.asked(o)
	case Reported:
		d.reported(o)
	case Raising:
		err = d.raising(o)
	case Committing:
		err = d.committing(o)
	case Answered:
		d.answered(o)
	case Abandoning:
		err = d.abandoning(o)
	case Moving:
		err = d.moving(o)
	case Expired:
		err = d.expired(o)
	case Forgetting:
		err = d.forgetting(o)
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

// Bounds of texts that come from outside, in runes.
const (
	nameLimit    = 64
	reasonLimit  = 256
	becauseLimit = 2048 // bytes of the words of one entry
)

// bounded is the observation with its texts cut to their bounds. To bound it again changes nothing, so what is recorded
// leads to the same decision.
func bounded(o Observation) Observation {
	switch o := o.(type) {
	case Booted:
		o.Name, o.Build = clip(o.Name, nameLimit), clip(o.Build, nameLimit)
		return o
	case Registered:
		o.Name, o.Reason, o.WebURL = clip(o.Name, nameLimit), clip(o.Reason, reasonLimit), clip(o.WebURL, reasonLimit)
		return o
	case Changed:
		o.Reason = clip(o.Reason, reasonLimit)
		return o
	case Asked:
		o.Reason = clip(o.Reason, reasonLimit)
		return o
	case Answered:
		o.Rejected = clip(o.Rejected, reasonLimit)
		return o
	case Reported:
		o.Reports = slices.Clone(o.Reports)
		for i := range o.Reports {
			r := &o.Reports[i]
			r.Because, r.Told = clip(r.Because, reasonLimit), clip(r.Told, reasonLimit)
			if r.Outcome != nil {
				end := *r.Outcome
				end.Why, end.Signal, end.Errno = clip(end.Why, reasonLimit), clip(end.Signal, nameLimit), clip(end.Errno, nameLimit)
				r.Outcome = &end
			}
		}
		return o
	}
	return o
}

func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	n := 0
	for i := range s {
		if n++; n == limit && len(s[i:]) > len("…") {
			return s[:i] + "…"
		}
	}
	return s
}

type decider struct {
	*State
	draft   *table.Draft
	now     api.Moment
	because string
	unsaid  int                // decisions that because has no room for
	dying   map[api.JobID]bool // jobs that this decision makes end
}

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

func (d *decider) job(id api.JobID) (Job, error) {
	j, ok := table.Get(d.draft, d.Jobs, string(id))
	if !ok {
		return j, fmt.Errorf("job %s: %w", id, ErrUnknown)
	}
	return j, nil
}

func (d *decider) putJob(j Job) { table.Put(d.draft, d.Jobs, string(j.ID), j) }

// task is the task as it is in this epoch and budget period, see Job.current.
func (d *decider) task(j Job, index int) Task {
	t, _ := table.Get(d.draft, d.Tasks, string(j.ID.Task(index)))
	return j.current(t, index)
}

func (d *decider) putTask(t Task) { table.Put(d.draft, d.Tasks, string(t.ID), t) }

// nameOf is a groom's name for people.
func (s *State) nameOf(groom string) string {
	if g, ok := s.Grooms.Get(groom); ok && g.Name != "" {
		return g.Name
	}
	return groom
}

func (d *decider) booted(o Booted) {
	self := d.Me()
	if self.Cluster == "" {
		self.Cluster = o.Cluster
	}
	self.Incarnation++
	self.Name, self.BootID, self.Build = o.Name, o.BootID, o.Build
	table.Put(d.draft, d.Self, selfKey, self)
	key := fmt.Sprintf("%08d", self.Incarnation)
	table.Put(d.draft, d.Incarnations, key, Incarnation{At: d.now, Build: o.Build, BootID: o.BootID})
	d.say("start %d of the master of cluster %s", self.Incarnation, self.Cluster)
}

// registered admits a groom. One that comes back as it was leaves nothing to record.
func (d *decider) registered(o Registered) {
	old, known := d.Grooms.Get(o.Groom)
	g := old
	g.ID, g.Name, g.Incarnation, g.MaxTasks = o.Groom, o.Name, o.Incarnation, o.MaxTasks
	g.WorkerAddr, g.WebURL = o.WorkerAddr, o.WebURL
	g.State, g.Reason = health(o.Healthy, o.Reason)
	if known && g == old {
		return
	}
	if g.State != old.State {
		g.Since = d.now
	}
	table.Put(d.draft, d.Grooms, g.ID, g)
	d.say("groom %s registers, its start %d, with %d places%s", g.Name, g.Incarnation, g.MaxTasks, unless(g))
}

func health(ok bool, reason string) (GroomState, string) {
	if ok {
		return Ready, ""
	}
	return Unhealthy, reason
}

func unless(g Groom) string {
	if g.State == Ready {
		return ""
	}
	return fmt.Sprintf("; it is %s: %s", g.State, g.Reason)
}

func (d *decider) changed(o Changed) error {
	g, ok := d.Grooms.Get(o.Groom)
	if !ok {
		return fmt.Errorf("groom %s: %w", o.Groom, ErrUnknown)
	}
	state, reason := health(o.Healthy, o.Reason)
	if g.State == state { // a new reason alone is shown, and not recorded
		return nil
	}
	g.State, g.Reason, g.Since = state, reason, d.now
	table.Put(d.draft, d.Grooms, g.ID, g)
	d.say("groom %s is %s%s", g.Name, g.State, colon(reason))
	return nil
}

func (d *decider) leaseOver(o LeaseOver) error {
	g, ok := d.Grooms.Get(o.Groom)
	if !ok {
		return fmt.Errorf("groom %s: %w", o.Groom, ErrUnknown)
	}
	if g.State == Lost {
		return nil
	}
	g.State, g.Reason, g.Since = Lost, "nothing was heard of it for longer than its lease", d.now
	table.Put(d.draft, d.Grooms, g.ID, g)
	d.say("groom %s is lost: its lease is over", g.Name)
	return nil
}

func colon(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
