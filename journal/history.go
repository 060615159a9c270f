package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
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

// Replay brings m, which is new, to where it stood after entry to; 0 is the end. It starts at the nearest anchor or
// snapshot at or before that entry, checks the chain from there on, and compares the digests that checkpoints recorded.
func (h *History) Replay(m Machine, to uint64) error {
	return h.Play(m, to, to, nil)
}

// Play brings m, which is new, to where it stood after entry from, as Replay does, and then on to entry to, one entry
// at a time: each is called after each of those entries, Raft's own included, with what applying it returned. An error
// of each ends the play, and is returned as it is.
func (h *History) Play(m Machine, from, to uint64, each func(e Entry, result any) error) error {
	p := player{m: m, every: h.every}
	return h.checked(1, to, func(l *raft.Log) error {
		var result any
		if l.Type == raft.LogCommand {
			var err error
			if result, err = p.apply(l.Index, l.Data); err != nil {
				return safeMode(err)
			}
		}
		if each == nil || l.Index <= from {
			return nil
		}
		return each(entryOf(l), result)
	})
}

// IndexAt is the index of the newest entry that was stored at t or before, or 0 when all came later.
func (h *History) IndexAt(t time.Time) (uint64, error) {
	var at uint64
	err := h.walk(1, 0, func(l *raft.Log) error {
		if l.AppendedAt.After(t) {
			return errEnough
		}
		at = l.Index
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return at, err
}

// Living says that a process holds the journal, and that its newest entries were read from the mirror.
func (h *History) Living() bool { return false }

// Stats are the figures that can be told without a machine.
func (h *History) Stats() Stats { return h.stats }

// Close lets go of the file.
func (h *History) Close() error { return h.db.Close() }
