package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/fsm/cluster"
	"groom/fsm/table"
	"groom/journal"
)

// Divergence is a decision that this build would make otherwise than it was recorded.
type Divergence struct {
	Of       string    `json:"of"`
	Index    uint64    `json:"index"`
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	Recorded string    `json:"recorded"`          // in words
	Now      string    `json:"now,omitempty"`     // in words
	Refused  string    `json:"refused,omitempty"` // why this build would decide nothing
	Reworded bool      `json:"reworded,omitempty"`
	// Rows are those that would be written otherwise: Before as they were recorded, After as this build has them.
	Rows []api.RowChange `json:"rows,omitempty"`
}

// Redecided counts what came of the decisions of a history.
type Redecided struct {
	Of       string `json:"of"`
	From     uint64 `json:"from"`
	To       uint64 `json:"to"`
	Same     uint64 `json:"same"`
	Reworded uint64 `json:"reworded"` // they differ in words for people alone
	Changed  uint64 `json:"changed"`
	Refused  uint64 `json:"refused"`
	Skipped  uint64 `json:"skipped"` // not a decision, or one that was never applied
}

// Differs says that this build would have acted otherwise.
func (r Redecided) Differs() bool { return r.Changed+r.Refused > 0 }

// Redecide has this build decide again at each recorded observation with an index from from to to; 0 leaves an end
// open. Each decision is made on the tables as they stood before it, with the recorded time and seed, and the history
// goes on from the recorded decision. each is called for every decision that differs, if in words alone.
func (p *Past) Redecide(from, to uint64, each func(Divergence) error) (Redecided, error) {
	s := p.h.Stats()
	from = max(from, s.First, 1)
	if to == 0 {
		to = s.Last
	}
	r := Redecided{Of: p.Of, From: from, To: to}
	if err := errors.Join(p.holds(from), p.holds(to)); err != nil {
		return r, err
	}
	if from > to {
		return r, fmt.Errorf("from entry %d to entry %d: %w", from, to, ErrRange)
	}
	if from == 1 {
		r.Skipped = 1 // with the first entry of all Raft is set up; a play begins after it
	}
	m, decide := p.decider()
	err := p.redecide(&redecider{Machine: m, p: p, decide: decide, from: from}, &r, to, each)
	return r, err
}

// redecide plays the history up to entry to, and counts what again makes of it.
func (p *Past) redecide(again *redecider, r *Redecided, to uint64, each func(Divergence) error) error {
	return p.h.Play(again, max(again.from-1, 1), to, func(e journal.Entry, result any) error {
		d := again.made
		again.made = nil
		_, stale := result.(*table.Stale)
		switch {
		case e.Own || stale || d == nil:
			r.Skipped++
			return nil
		case d.Refused != "":
			r.Refused++
		case len(d.Rows) == 0 && d.Now == d.Recorded:
			r.Same++
			return nil
		case !slices.ContainsFunc(d.Rows, acts):
			r.Reworded++
			d.Reworded = true
		default:
			r.Changed++
		}
		return each(*d)
	})
}

// decider is a machine, and what this build would decide on its tables.
func (p *Past) decider() (*table.Machine, func(kind uint16, e *table.Entry) (string, []table.Change, error)) {
	if p.Of == "master" {
		s := cluster.NewState()
		return cluster.NewMachine(s, nil), func(kind uint16, e *table.Entry) (string, []table.Change, error) {
			o, err := cluster.DecodeObservation(kind, e.Obs)
			if err != nil {
				return "", nil, err
			}
			d, err := cluster.Decide(s, o, e.Now, e.Seed)
			return d.Because, d.Changes, err
		}
	}
	s := fsm.NewState()
	return fsm.NewMachine(s, nil), func(kind uint16, e *table.Entry) (string, []table.Change, error) {
		o, err := fsm.DecodeObservation(kind, e.Obs)
		if err != nil {
			return "", nil, err
		}
		d, err := fsm.Decide(s, o, e.Now, e.Seed)
		return d.Because, d.Changes, err
	}
}

// redecider decides each entry again just before it is applied.
type redecider struct {
	*table.Machine
	p      *Past
	decide func(kind uint16, e *table.Entry) (string, []table.Change, error)
	from   uint64
	made   *Divergence // for the entry that was applied last; not yet judged
}

func (m *redecider) Apply(index uint64, kind uint16, version uint8, body []byte) (any, error) {
	m.made = nil
	if index >= m.from {
		if e, err := table.DecodeEntry(body); err == nil {
			m.made = m.again(index, kind, e)
		}
	}
	return m.Machine.Apply(index, kind, version, body)
}

func (m *redecider) again(index uint64, kind uint16, e *table.Entry) *Divergence {
	d := &Divergence{Of: m.p.Of, Index: index, At: e.Now.Wall, Kind: m.p.KindName(kind), Recorded: e.Because}
	because, changes, err := m.decided(kind, e)
	if err != nil {
		d.Refused = err.Error()
		return d
	}
	d.Now = because
	recorded, now := byRow(e.Changes), byRow(changes)
	for _, c := range e.Changes {
		r := Row{c.Table, c.Key}
		if n, ok := now[r]; !ok || !bytes.Equal(n, c.Row) {
			d.Rows = append(d.Rows, change(r, c.Row, n))
		}
	}
	for _, c := range changes {
		r := Row{c.Table, c.Key}
		if _, ok := recorded[r]; !ok {
			d.Rows = append(d.Rows, change(r, nil, c.Row))
		}
	}
	return d
}

// decided decides. A build that would have panicked has decided nothing, and the history goes on without it.
func (m *redecider) decided(kind uint16, e *table.Entry) (because string, changes []table.Change, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return m.decide(kind, e)
}

func byRow(changes []table.Change) map[Row]json.RawMessage {
	all := map[Row]json.RawMessage{}
	for _, c := range changes {
		all[Row{c.Table, c.Key}] = c.Row
	}
	return all
}

// acts says whether a row differs in more than words for people. A row that one of the two leaves alone, or deletes,
// differs.
func acts(c api.RowChange) bool {
	return c.Before == nil || c.After == nil || slices.ContainsFunc(c.Fields, func(f api.FieldChange) bool {
		return !slices.Contains([]string{"words", "because", "reason", "order.why", "end.words"}, f.Field)
	})
}
