// Package replay asks questions of a whole history: what stood in the tables at a moment, what an entry changed, what
// lies between two moments, who touched a row, and why an attempt ended as it did. It reads the same of a living
// journal and of a copied directory, one entry at a time, and changes nothing.
package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/fsm/cluster"
	"groom/fsm/table"
	"groom/journal"
)

// Errors of a question.
var (
	// ErrRange is returned for a moment that the history does not hold.
	ErrRange = errors.New("not in the history that is kept")
	// ErrNothing is returned when the history says nothing of what was asked for.
	ErrNothing = errors.New("the history says nothing of it")
	// ErrMoment is returned for a moment that is neither an index nor a time.
	ErrMoment = errors.New("want an index, a time such as 2026-01-31T15:04:05Z, or how long ago, such as 90s")
)

// The journals that a data directory may hold, in the order in which they are shown.
var Journals = []string{"groom", "master"}

// Past is one journal, with what its entries mean.
type Past struct {
	Of string // "groom" or "master"
	h  *journal.History
}

// New asks the history of the journal named of.
func New(of string, h *journal.History) *Past { return &Past{of, h} }

// Open opens the history of a journal below a data directory, whether a process holds it or not.
func Open(data, of string) (*Past, error) {
	h, err := journal.OpenHistory(filepath.Join(data, of))
	if err != nil {
		return nil, fmt.Errorf("open journal of the %s: %w", of, err)
	}
	return New(of, h), nil
}

// History is where the answers come from.
func (p *Past) History() *journal.History { return p.h }

// Close lets go of the files.
func (p *Past) Close() error { return p.h.Close() }

// Machine is a new one, with empty tables, that replays this journal.
func (p *Past) Machine() *table.Machine {
	if p.Of == "master" {
		return cluster.NewMachine(cluster.NewState(), nil)
	}
	return fsm.NewMachine(fsm.NewState(), nil)
}

// KindName names a kind of entry; one that this build does not know is named by its number.
func (p *Past) KindName(kind uint16) string {
	names := fsm.Kinds()
	if p.Of == "master" {
		names = cluster.Kinds()
	}
	if name := journal.KindName(kind); name != "" {
		return name
	}
	if name := names[kind]; name != "" {
		return name
	}
	return fmt.Sprintf("kind %d", kind)
}

// At replays the tables to where they stood after entry index; 0 is the newest one.
func (p *Past) At(index uint64) (*table.Machine, error) {
	if err := p.holds(index); err != nil {
		return nil, err
	}
	m := p.Machine()
	if err := p.h.Replay(m, index); err != nil {
		return nil, fmt.Errorf("replay to entry %d: %w", index, err)
	}
	return m, nil
}

// StateAt is every table with its rows, as they stood after entry index; 0 is the newest one.
func (p *Past) StateAt(index uint64) (json.RawMessage, error) {
	m, err := p.At(index)
	if err != nil {
		return nil, err
	}
	return m.StateJSON(), nil
}

// holds says whether the tables can be shown after an entry.
func (p *Past) holds(index uint64) error {
	s := p.h.Stats()
	if index > s.Last || index > 0 && index+1 < s.First {
		return fmt.Errorf("entry %d: %w: the journal of the %s goes from entry %d to entry %d", index, ErrRange, p.Of, s.First, s.Last)
	}
	return nil
}

// Index is the entry that a moment names: its index, or a time in RFC 3339, which means the newest entry before it.
func (p *Past) Index(moment string) (uint64, error) {
	if index, err := strconv.ParseUint(moment, 10, 64); err == nil {
		return index, p.holds(index)
	}
	t, err := Time(moment)
	if err != nil {
		return 0, err
	}
	index, err := p.h.IndexAt(t)
	if err == nil && index == 0 {
		return 0, fmt.Errorf("%s: %w: it begins later", moment, ErrRange)
	}
	return index, err
}

// Time reads a time as people give it: RFC 3339, or how long ago, such as 90s or 2h.
func Time(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("moment %q: %w", text, ErrMoment)
}

// Instant tells of a moment: what was decided in its entry, and where the nearest troubles are.
func (p *Past) Instant(index uint64) (api.Instant, error) {
	s := p.h.Stats()
	i := api.Instant{Of: p.Of, Index: index, First: s.First, Last: s.Last}
	found, err := p.Newest(Filter{From: index, To: index}, 1)
	if err != nil {
		return i, err
	}
	if len(found) > 0 {
		i.At, i.Kind, i.Words = found[0].At, found[0].Kind, found[0].Words
	}
	if i.TroubleBefore, err = p.troubleBefore(index); err != nil {
		return i, err
	}
	i.TroubleAfter, err = p.troubleAfter(index)
	return i, err
}

// troubleReach is how far trouble is looked for.
const troubleReach = 20_000

func (p *Past) troubleAfter(index uint64) (uint64, error) {
	last := min(index+troubleReach, p.h.Stats().Last)
	if index >= last {
		return 0, nil
	}
	for e, err := range p.h.Entries(index+1, last) {
		if err != nil {
			return 0, fmt.Errorf("read journal: %w", err)
		}
		if p.trouble(e) {
			return e.Index, nil
		}
	}
	return 0, nil
}

// troubleBefore looks back in stretches, each longer than the one before.
func (p *Past) troubleBefore(index uint64) (uint64, error) {
	first := max(p.h.Stats().First, index-min(index, troubleReach), 1)
	for end, stretch := index-min(index, 1), uint64(256); end >= first; stretch *= 2 {
		from, found := max(first, end-min(end, stretch)+1), uint64(0)
		for e, err := range p.h.Entries(from, end) {
			if err != nil {
				return 0, fmt.Errorf("read journal: %w", err)
			}
			if p.trouble(e) {
				found = e.Index
			}
		}
		if found > 0 || from <= first {
			return found, nil
		}
		end = from - 1
	}
	return 0, nil
}

// trouble says whether an entry tells of a crash or a failure: a start, a groom that was lost, an end that counts
// against the limit, a failure for good.
func (p *Past) trouble(e journal.Entry) bool {
	if e.Own {
		return false
	}
	switch p.KindName(e.Kind) {
	case "groom.booted", "master.booted", "attempt.silent", "groom.lost":
		return true
	case "report.acked":
		return false
	}
	return bytes.Contains(e.Body, []byte(`"counted":true`)) && bytes.Contains(e.Body, []byte(`"end":{`)) ||
		bytes.Contains(e.Body, []byte(`"state":"failed"`))
}
