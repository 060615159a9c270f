package table

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// ErrSnapshot is returned when a snapshot cannot be read back, or does not hash to what it says.
var ErrSnapshot = errors.New("snapshot altered")

// Change sets or deletes one row. Rev is the revision that the decision was made for; 0 says there must be no row.
type Change struct {
	Table string          `json:"t"`
	Key   string          `json:"k"`
	Rev   uint64          `json:"rev"`
	Row   json.RawMessage `json:"row,omitempty"` // none deletes
}

// anyTable is a table whatever its rows are.
type anyTable interface {
	plan(Change) (decoded, error)
	rev(key string) uint64
	clear()
	frozen(yield func(frozenRow) bool)
	thaw(frozenRow) (thawed, error)
}

// Store is a set of tables with their digest.
type Store struct {
	tables map[string]anyTable
	digest Digest
}

// NewStore makes a store without tables.
func NewStore() *Store { return &Store{tables: map[string]anyTable{}} }

// Stale says that a decision was made for a row that has changed since. Nothing was applied; decide again.
type Stale struct {
	Table, Key string
	Have, Want uint64
}

func (s *Stale) Error() string {
	return fmt.Sprintf("row %s/%s is at revision %d, the decision was made for %d", s.Table, s.Key, s.Have, s.Want)
}

// apply makes all changes or none.
func (s *Store) apply(index uint64, changes []Change) (*Stale, error) {
	plans := make([]decoded, len(changes))
	for i, c := range changes {
		t, ok := s.tables[c.Table]
		if !ok {
			return nil, fmt.Errorf("table %q is unknown to this build", c.Table)
		}
		if have := t.rev(c.Key); have != c.Rev {
			return &Stale{c.Table, c.Key, have, c.Rev}, nil
		}
		plan, err := t.plan(c)
		if err != nil {
			return nil, err
		}
		plans[i] = plan
	}
	for _, plan := range plans {
		plan(index, &s.digest)
	}
	return nil, nil
}

type frozenRow struct {
	Table string          `json:"t"`
	Key   string          `json:"k"`
	Rev   uint64          `json:"rev"`
	Index uint64          `json:"i"`
	Row   json.RawMessage `json:"row"`
}

// snapshotHead is the first line of a snapshot; the rows follow, one a line, tables in the order of their names.
type snapshotHead struct {
	Version int    `json:"v"`
	Rows    int    `json:"rows"`
	Digest  string `json:"digest"`
}

// snapshot is a frozen copy. Rows are immutable, so it shares them with the tables that go on changing.
type snapshot struct {
	head snapshotHead
	rows []frozenRow
}

func (s *Store) freeze() *snapshot {
	var rows []frozenRow
	for _, name := range slices.Sorted(maps.Keys(s.tables)) {
		s.tables[name].frozen(func(r frozenRow) bool { rows = append(rows, r); return true })
	}
	return &snapshot{snapshotHead{1, len(rows), hex.EncodeToString(s.digest[:])}, rows}
}

// WriteTo writes the snapshot as lines of JSON.
func (s *snapshot) WriteTo(w io.Writer) (int64, error) {
	c := &counter{w: w}
	b := bufio.NewWriterSize(c, 1<<16)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s.head); err != nil {
		return c.n, err
	}
	for _, r := range s.rows {
		if err := enc.Encode(r); err != nil {
			return c.n, err
		}
	}
	return c.n, b.Flush()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// restore replaces every row by those of a snapshot, once all of them are read and hash to what its head says.
func (s *Store) restore(r io.Reader) error {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	var head snapshotHead
	if err := dec.Decode(&head); err != nil {
		return fmt.Errorf("read head: %w: %w", ErrSnapshot, err)
	}
	if head.Version != 1 {
		return fmt.Errorf("snapshot of version %d: this build reads version 1", head.Version)
	}
	var digest Digest
	var rows []thawed
	for range head.Rows {
		var f frozenRow
		if err := dec.Decode(&f); err != nil {
			return fmt.Errorf("read row: %w: %w", ErrSnapshot, err)
		}
		t, ok := s.tables[f.Table]
		if !ok {
			return fmt.Errorf("table %q is unknown to this build", f.Table)
		}
		row, err := t.thaw(f)
		if err != nil {
			return err
		}
		rows = append(rows, row)
		digest.toggle(sum(f.Table, f.Key, f.Rev, f.Row))
	}
	if got := hex.EncodeToString(digest[:]); got != head.Digest {
		return fmt.Errorf("%w: rows hash to %s, head says %s", ErrSnapshot, got, head.Digest)
	}
	for _, t := range s.tables {
		t.clear()
	}
	s.digest = Digest{}
	for _, row := range rows {
		row(&s.digest)
	}
	return nil
}
