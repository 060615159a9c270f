package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"groom/api"
	"groom/fsm/table"
	"groom/journal"
)

// Row names a row: its table and its key.
type Row struct{ Table, Key string }

// rows are those of all tables of a machine.
func rows(m *table.Machine) (map[Row]json.RawMessage, error) {
	var tables map[string]map[string]json.RawMessage
	if err := json.Unmarshal(m.StateJSON(), &tables); err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	all := map[Row]json.RawMessage{}
	for name, t := range tables {
		for key, row := range t {
			all[Row{name, key}] = row
		}
	}
	return all, nil
}

// Diff is what lies between the moments after entries a and b, row by row, in the order of their names; 0 is before the
// first entry of all. It may go back in time as well.
func (p *Past) Diff(a, b uint64) ([]api.RowChange, error) {
	var at [2]map[Row]json.RawMessage
	for i, index := range []uint64{a, b} {
		if s := p.h.Stats(); index == 0 && s.First <= 1 {
			continue // no rows yet
		} else if index == 0 {
			return nil, fmt.Errorf("entry 0: %w: the journal of the %s goes from entry %d to entry %d", ErrRange, p.Of, s.First, s.Last)
		}
		m, err := p.At(index)
		if err != nil {
			return nil, err
		}
		if at[i], err = rows(m); err != nil {
			return nil, err
		}
	}
	all := []api.RowChange{}
	for r, before := range at[0] {
		if after := at[1][r]; !bytes.Equal(before, after) {
			all = append(all, change(r, before, after))
		}
	}
	for r, after := range at[1] {
		if _, ok := at[0][r]; !ok {
			all = append(all, change(r, nil, after))
		}
	}
	slices.SortFunc(all, func(a, b api.RowChange) int {
		if c := strings.Compare(a.Table, b.Table); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	return all, nil
}

// Show is one entry with what it changed: each row before and after.
func (p *Past) Show(index uint64) (api.EntryView, error) {
	found, err := p.Newest(Filter{From: index, To: index}, 1)
	if err != nil {
		return api.EntryView{}, err
	}
	if s := p.h.Stats(); len(found) == 0 || index == 0 {
		return api.EntryView{}, fmt.Errorf("entry %d: %w: the journal of the %s goes from entry %d to entry %d", index, ErrRange, p.Of, s.First, s.Last)
	}
	e := found[0]
	d, err := table.DecodeEntry(e.Body)
	if err != nil || len(d.Changes) == 0 {
		return e, nil //nolint:nilerr // raft's own, the journal's own, or of a build that is newer: there is nothing to decode
	}
	e.Observed = d.Obs
	before := map[Row]json.RawMessage{}
	if index > 1 {
		m, err := p.At(index - 1)
		if err != nil {
			return e, err
		}
		if before, err = rows(m); err != nil {
			return e, err
		}
		for _, c := range d.Changes {
			if have := m.Rev(c.Table, c.Key); have != c.Rev {
				e.Refused = fmt.Sprintf("%s/%s was at revision %d, and this was decided for revision %d", c.Table, c.Key, have, c.Rev)
			}
		}
	}
	for _, c := range d.Changes {
		r := Row{c.Table, c.Key}
		e.Changes = append(e.Changes, change(r, before[r], c.Row))
	}
	return e, nil
}

// change tells a changed row field by field.
func change(r Row, before, after json.RawMessage) api.RowChange {
	return api.RowChange{Table: r.Table, Key: r.Key, Before: before, After: after, Fields: Fields(before, after)}
}

// Fields are those that differ between two rows, in the order of their names. A field that is not there reads as "".
func Fields(before, after json.RawMessage) []api.FieldChange {
	a, b := flat(before), flat(after)
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []api.FieldChange
	for _, name := range names {
		if a[name] != b[name] {
			all = append(all, api.FieldChange{Field: name, Before: a[name], After: b[name]})
		}
	}
	return all
}

// flat names each value of a row by its path.
func flat(row json.RawMessage) map[string]string {
	all := map[string]string{}
	if len(row) == 0 {
		return all
	}
	dec := json.NewDecoder(bytes.NewReader(row))
	dec.UseNumber() // as it was written
	var v any
	if dec.Decode(&v) != nil {
		all[""] = string(row)
		return all
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, v := range v {
				walk(strings.TrimPrefix(path+"."+name, "."), v)
			}
		case string:
			all[path] = v
		default:
			text, err := json.Marshal(v) // lists stay whole
			if err != nil {
				text = []byte(err.Error())
			}
			all[path] = string(text)
		}
	}
	walk("", v)
	return all
}

// applied follows rows of a history entry by entry, so that each change is seen with what was before it. Those of others
// are left out: of them only some of the entries are met, and what is not known of them refuses nothing.
type applied struct {
	rows map[Row]held
	ours func(Row) bool
}

type held struct {
	raw json.RawMessage
	rev uint64
}

// next is what an entry changed, and why it was refused, if it was. Rows that were not met yet have an unknown past.
func (a *applied) next(e journal.Entry) (d *table.Entry, changes []api.RowChange, refused string) {
	d, err := table.DecodeEntry(e.Body)
	if err != nil {
		return nil, nil, ""
	}
	for _, c := range d.Changes {
		have, met := a.rows[Row{c.Table, c.Key}] // of ours alone
		if met && have.rev != c.Rev && c.Rev != 0 {
			return d, nil, fmt.Sprintf("%s/%s was at revision %d, and this was decided for revision %d", c.Table, c.Key, have.rev, c.Rev)
		}
	}
	for _, c := range d.Changes {
		r := Row{c.Table, c.Key}
		changes = append(changes, change(r, a.rows[r].raw, c.Row))
		if !a.ours(r) {
			continue
		}
		a.rows[r] = held{bytes.Clone(c.Row), c.Rev + 1}
		if c.Row == nil {
			delete(a.rows, r)
		}
	}
	return d, changes, ""
}
