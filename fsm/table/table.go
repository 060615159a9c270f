// Package table keeps the rows of a state machine in memory, changes them by journal entries alone, and carries a
// digest of all of them. It knows neither what the rows mean nor how they are decided.
package table

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
)

// Digest is the XOR of the hashes of all rows, so that one row's change costs one row's work.
type Digest [sha256.Size]byte

// sum is the hash of one row.
func sum(table, key string, rev uint64, raw []byte) Digest {
	b := make([]byte, 0, 32+len(table)+len(key)+len(raw))
	for _, part := range [][]byte{[]byte(table), []byte(key), raw} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, rev))
}

func (d *Digest) toggle(row Digest) {
	for i, b := range row {
		d[i] ^= b
	}
}

// row is immutable once it stands in a table: a change replaces it.
type row[R any] struct {
	value R
	raw   json.RawMessage // as the entry had it, so that a build with more fields keeps the digest of old rows
	sum   Digest          // of the row, as the digest of all holds it
	rev   uint64          // how often the row was changed
	index uint64          // journal index of its newest change
}

// Table holds rows of one type by key. It is read under Machine.View and changed by Apply.
type Table[R any] struct {
	name string
	rows map[string]row[R]
	keys keys // of rows
	// window bounds a table of things seen: beyond it the row changed longest ago leaves. 0 keeps all.
	window  int
	order   []string // of a windowed table: keys, oldest first
	subsets []*Subset[R]
}

// New makes an empty table and adds it to the store. A window above 0 bounds its rows.
func New[R any](s *Store, name string, window int) *Table[R] {
	t := &Table[R]{name: name, rows: map[string]row[R]{}, window: window}
	s.tables[name] = t
	return t
}

// Get is the row with this key.
func (t *Table[R]) Get(key string) (R, bool) {
	r, ok := t.rows[key]
	return r.value, ok
}

// Rev is the revision of the row, 0 when there is none.
func (t *Table[R]) Rev(key string) uint64 { return t.rows[key].rev }

// Index is the journal index of the row's newest change, 0 when there is none.
func (t *Table[R]) Index(key string) uint64 { return t.rows[key].index }

// Len is the number of rows.
func (t *Table[R]) Len() int { return len(t.rows) }

// All yields every row in the order of the keys.
func (t *Table[R]) All() iter.Seq2[string, R] { return t.each(t.keys) }

func (t *Table[R]) each(keys []string) iter.Seq2[string, R] {
	return func(yield func(string, R) bool) {
		for _, key := range keys {
			if !yield(key, t.rows[key].value) {
				return
			}
		}
	}
}

// ByIndex yields every row in the order of their newest changes.
func (t *Table[R]) ByIndex() iter.Seq2[string, R] {
	keys := slices.Clone(t.keys)
	slices.SortFunc(keys, func(a, b string) int {
		if x, y := t.rows[a].index, t.rows[b].index; x != y {
			return compare(x, y)
		}
		return compare(a, b) // several rows of one entry
	})
	return t.each(keys)
}

func compare[T uint64 | string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// decoded is a row that has been checked and only waits to be set.
type decoded func(index uint64, d *Digest)

// plan decodes a change without making it, so that a malformed one is found before anything is touched.
func (t *Table[R]) plan(c Change) (decoded, error) {
	if c.Row == nil {
		return func(_ uint64, d *Digest) { t.remove(c.Key, d) }, nil
	}
	var value R
	if err := json.Unmarshal(c.Row, &value); err != nil {
		return nil, fmt.Errorf("row %s/%s: %w", c.Table, c.Key, err)
	}
	// Compact, as a snapshot writes it, or the digest would not be the same after it.
	var raw bytes.Buffer
	if err := json.Compact(&raw, c.Row); err != nil {
		return nil, fmt.Errorf("row %s/%s: %w", c.Table, c.Key, err)
	}
	return func(index uint64, d *Digest) {
		t.set(c.Key, row[R]{value: value, raw: raw.Bytes(), rev: c.Rev + 1, index: index}, d)
	}, nil
}

func (t *Table[R]) set(key string, r row[R], d *Digest) {
	r.sum = sum(t.name, key, r.rev, r.raw)
	old, known := t.rows[key]
	if known {
		d.toggle(old.sum)
	}
	t.rows[key] = r
	t.keys.put(key, true)
	for _, s := range t.subsets {
		s.keys.put(key, s.holds(r.value))
	}
	d.toggle(r.sum)
	if t.window == 0 {
		return
	}
	if known {
		i := slices.Index(t.order, key)
		t.order = slices.Delete(t.order, i, i+1)
	}
	t.order = append(t.order, key)
	for len(t.rows) > t.window {
		t.remove(t.order[0], d)
	}
}

func (t *Table[R]) remove(key string, d *Digest) {
	old, ok := t.rows[key]
	if !ok {
		return
	}
	d.toggle(old.sum)
	delete(t.rows, key)
	t.keys.put(key, false)
	for _, s := range t.subsets {
		s.keys.put(key, false)
	}
	if i := slices.Index(t.order, key); i >= 0 {
		t.order = slices.Delete(t.order, i, i+1)
	}
}

func (t *Table[R]) rev(key string) uint64 { return t.rows[key].rev }

func (t *Table[R]) clear() {
	clear(t.rows)
	t.keys, t.order = nil, nil
	for _, s := range t.subsets {
		s.keys = nil
	}
}

// frozen yields the rows as a snapshot writes them. A windowed table keeps its order by index.
func (t *Table[R]) frozen(yield func(frozenRow) bool) {
	keys := []string(t.keys)
	if t.window > 0 {
		keys = t.order
	}
	for _, key := range keys {
		r := t.rows[key]
		if !yield(frozenRow{Table: t.name, Key: key, Rev: r.rev, Index: r.index, Row: r.raw}) {
			return
		}
	}
}

// thawed is a row of a snapshot that has been read and only waits to be set.
type thawed func(*Digest)

func (t *Table[R]) thaw(f frozenRow) (thawed, error) {
	var value R
	if err := json.Unmarshal(f.Row, &value); err != nil {
		return nil, fmt.Errorf("row %s/%s: %w", f.Table, f.Key, err)
	}
	return func(d *Digest) { t.set(f.Key, row[R]{value: value, raw: f.Row, rev: f.Rev, index: f.Index}, d) }, nil
}
