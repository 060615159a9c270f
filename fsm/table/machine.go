package table

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"groom/api"
)

// Entry is the body of every record of a state machine: what was observed, what was decided for it, and the rows that
// the decision changes. Applying it only records the decision, so a new policy never alters the replay of old history.
type Entry struct {
	Now     api.Moment      `json:"now"`
	Seed    uint64          `json:"seed,omitempty"`
	Obs     json.RawMessage `json:"obs"`
	Because string          `json:"because"` // the decision in words
	Changes []Change        `json:"changes,omitempty"`
}

// Encode writes the entry as it goes into the journal.
func (e *Entry) Encode() ([]byte, error) {
	body, err := Canonical(e)
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	return body, nil
}

// DecodeEntry reads an entry. Fields that this build does not know are passed over.
func DecodeEntry(body []byte) (*Entry, error) {
	e := new(Entry)
	if err := json.Unmarshal(body, e); err != nil {
		return nil, fmt.Errorf("decode entry: %w", err)
	}
	return e, nil
}

// Kinds names the kinds of record that a machine applies, each in version 1.
type Kinds map[uint16]string

// Machine applies records to a store. It is what the journal drives, live and offline alike.
type Machine struct {
	name  string
	kinds Kinds

	mu    sync.RWMutex // guards store
	store *Store

	// watch sees each applied entry, in order, from the goroutine that applies; it must not block.
	watch func(index uint64, kind uint16, e *Entry)
}

// NewMachine makes a machine over a store. watch may be nil.
func NewMachine(name string, kinds Kinds, s *Store, watch func(index uint64, kind uint16, e *Entry)) *Machine {
	return &Machine{name: name, kinds: kinds, store: s, watch: watch}
}

// Name says whose tables they are.
func (m *Machine) Name() string { return m.name }

// KindName names a kind, or returns "" for one that this build does not know.
func (m *Machine) KindName(kind uint16) string { return m.kinds[kind] }

// Apply records a decision. It returns a *Stale as result when the decision was made for rows that have changed since;
// an error says that this build cannot apply the record at all, and that nothing was changed.
func (m *Machine) Apply(index uint64, kind uint16, version uint8, body []byte) (any, error) {
	if m.kinds[kind] == "" || version != 1 {
		return nil, fmt.Errorf("entry %d is of kind %d version %d, which this build does not know", index, kind, version)
	}
	e, err := DecodeEntry(body)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	stale, err := m.change(index, e.Changes)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	if stale != nil {
		return stale, nil
	}
	if m.watch != nil {
		m.watch(index, kind, e)
	}
	return nil, nil
}

func (m *Machine) change(index uint64, changes []Change) (*Stale, error) {
	m.mu.Lock()
	defer m.mu.Unlock() // after a panic too: the journal goes into safe mode, and the tables can still be shown
	return m.store.apply(index, changes)
}

// View calls f while no entry is applied. f must not keep the lock for long, and must not propose.
func (m *Machine) View(f func()) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f()
}

// Digest is the digest of all rows.
func (m *Machine) Digest() [32]byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.digest
}

// Snapshot freezes the rows; writing them out happens later and elsewhere.
func (m *Machine) Snapshot() (io.WriterTo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.store.freeze(), nil
}

// Restore replaces the rows by those of a snapshot. When it fails the rows are what they were.
func (m *Machine) Restore(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.store.restore(r)
}

// StateJSON is every table with its rows, for people and tools.
func (m *Machine) StateJSON() json.RawMessage {
	m.mu.RLock()
	defer m.mu.RUnlock()
	tables := map[string]map[string]json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(m.store.tables)) {
		rows := map[string]json.RawMessage{}
		m.store.tables[name].frozen(func(r frozenRow) bool { rows[r.Key] = r.Row; return true })
		tables[name] = rows
	}
	b, err := json.Marshal(tables)
	if err != nil {
		panic(err) // rows were decoded from JSON
	}
	return b
}

// Rev is the revision of a row, 0 when there is none.
func (m *Machine) Rev(table, key string) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t, ok := m.store.tables[table]
	if !ok {
		return 0
	}
	return t.rev(key)
}
