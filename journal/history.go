package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// historyTimeout is short: a living process holds the file for as long as it lives.
const historyTimeout = 200 * time.Millisecond

// History reads a journal that no process has open. While it is open, none can open it.
type History struct {
	dir   string
	db    *bbolt.DB
	every uint64
	stats Stats
}

// OpenHistory reads the journal in dir without changing it and without raft; fails with ErrInUse when a living process
// holds it.
func OpenHistory(dir string) (*History, error) {
	db, err := openReadOnly(dir, historyTimeout)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no journal in %q: %w", dir, err)
	}
	if err != nil {
		return nil, err
	}
	h := &History{dir: dir, db: db, every: checkpointEvery}
	if err := h.count(); err != nil {
		if h.stats.Last == 0 {
			return nil, errors.Join(err, db.Close())
		}
		h.stats.Reason = err.Error() // what comes before the damage can be looked at
	}
	return h, nil
}

// count fills in the figures that need no machine. It looks at every entry, but does not judge: what is wrong with the
// chain is for Verify to say, so that a damaged journal can still be looked at.
func (h *History) count() error {
	h.stats = Stats{Health: healthOK, FileBytes: fileBytes(h.dir)}
	return h.walk(1, 0, func(l *raft.Log) error {
		if h.stats.First == 0 {
			h.stats.First = l.Index
		}
		h.stats.Last = l.Index
		copy(h.stats.ChainTip[:], l.Extensions)
		if e := entryOf(l); !e.Own && e.Kind >= firstKind {
			h.stats.Total++
		}
		return nil
	})
}

func (h *History) walk(from, to uint64, f func(*raft.Log) error) error {
	return guarded(h.db.Path(), func() error { return walk(h.db, from, to, f) })
}

// checked walks along the chain and fails at the first entry that does not follow.
func (h *History) checked(from, to uint64, f func(*raft.Log) error) error {
	from = max(from, 1)
	var c chain
	if from > 1 {
		if err := h.walk(from-1, from-1, func(l *raft.Log) error { c = resume(l); return nil }); err != nil {
			return err
		}
	}
	return h.walk(from, to, func(l *raft.Log) error {
		if err := c.next(l); err != nil {
			return corrupt(h.db.Path(), "%v", err)
		}
		return f(l)
	})
}

var errEnough = errors.New("enough")

// Entries reads the entries with an index from from to to, oldest first; 0 leaves an end open.
func (h *History) Entries(from, to uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := h.checked(from, to, func(l *raft.Log) error {
			if !yield(entryOf(l), nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(Entry{}, err)
		}
	}
}

// Replay brings m, which is new, to where it stood after entry to; 0 is the end. It starts at the first entry, past
// every snapshot, and compares the digests that checkpoints recorded.
func (h *History) Replay(m Machine, to uint64) error {
	p := player{m: m, every: h.every}
	return h.checked(1, to, func(l *raft.Log) error {
		if l.Type != raft.LogCommand {
			return nil
		}
		if _, err := p.apply(l.Index, l.Data); err != nil {
			return safeMode(err)
		}
		return nil
	})
}

// Verify proves the journal: every link of the chain, every digest, and that no entries are gone from its end. m is
// new, and holds the newest state afterwards.
func (h *History) Verify(m Machine) error {
	if err := h.Replay(m, 0); err != nil {
		return err
	}
	last, tip, err := readTail(h.dir)
	if err != nil || last == 0 {
		return err
	}
	if last > h.stats.Last {
		return corrupt(filepath.Join(h.dir, dbName), "it ends at entry %d, and once held entry %d", h.stats.Last, last)
	}
	return h.walk(last, last, func(l *raft.Log) error {
		if [32]byte(l.Extensions) != tip {
			return corrupt(h.db.Path(), "entry %d is not the one that was once there", last)
		}
		return nil
	})
}

// Stats are the figures that can be told without a machine.
func (h *History) Stats() Stats { return h.stats }

// Close lets go of the file.
func (h *History) Close() error { return h.db.Close() }
