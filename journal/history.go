package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// historyTimeout is short: a living process holds the file for as long as it lives.
const historyTimeout = 200 * time.Millisecond

// History reads the whole history that is kept, as one sequence: the archive, and after it the log. Nothing is changed,
// and no more than a few entries are in memory at a time. Several may read at once.
type History struct {
	dir    string
	every  uint64
	m      *manifest
	skips  map[uint64]skip
	newest source
	close  func() error
	living bool
	hurt   error // why the log cannot be read, where the mirror stands in for it
	stats  Stats
}

// source holds the newest entries of a journal: its log, or the mirror of it.
type source struct {
	first, last uint64 // last is 0 when there are none
	name        string
	walk        func(from, to uint64, f func(*raft.Log) error) error
}

// OpenHistory reads the journal in dir without changing it and without Raft. Where a process holds the journal, this
// one too, the newest entries are read from the archive's mirror, up to this moment: open it again to see more.
// A log that is damaged or gone is stood in for by the mirror as well; Stats say so, and Verify.
func OpenHistory(dir string) (*History, error) {
	db, err := openReadOnly(dir, historyTimeout)
	if err == nil {
		return historyOfFile(dir, db)
	}
	if gone := errors.Is(err, fs.ErrNotExist); gone && remains(dir) == "" {
		return nil, fmt.Errorf("no journal in %q: %w", dir, err)
	} else if gone {
		err = corrupt(filepath.Join(dir, dbName), "it is gone")
	}
	if !errors.Is(err, ErrInUse) && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	h, other := historyOfMirror(dir)
	if other != nil {
		return nil, errors.Join(err, other)
	}
	if h.stats.Last == 0 {
		return nil, errors.Join(err, h.Close()) // it has no archive to stand in for it
	}
	if h.living = errors.Is(err, ErrInUse); !h.living {
		h.hurt = err
		h.stats.Reason = err.Error()
	}
	return h, nil
}

// History reads the history of a living journal, up to its newest entry, however far it grows meanwhile. It needs no
// Close.
func (j *Journal) History() *History {
	m := j.arch.manifest()
	j.fsm.mu.Lock()
	skips := maps.Clone(j.fsm.player.skips)
	j.fsm.mu.Unlock()
	h := &History{dir: j.o.Dir, every: j.o.every, m: m, skips: skips, living: true, close: func() error { return nil }}
	last, tip := j.guard.position()
	h.newest = source{first: j.guard.oldest(), last: last, name: dbName, walk: j.walk}
	h.stats = Stats{Health: healthOK, Last: last, ChainTip: tip}
	h.stats.archived(m, h.newest.first)
	return h
}

// historyOfFile reads a journal that no process holds.
func historyOfFile(dir string, db *bbolt.DB) (*History, error) {
	h := &History{dir: dir, every: checkpointEvery, close: db.Close}
	err := guarded(db.Path(), func() (err error) {
		if h.m, err = readManifest(dir); err != nil {
			return err
		}
		h.newest = source{name: dbName, walk: func(from, to uint64, f func(*raft.Log) error) error {
			return guarded(db.Path(), func() error { return walk(db, from, to, f) })
		}}
		h.newest.first, h.newest.last, err = ends(db)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := h.count(); err != nil {
		if h.stats.Last == 0 {
			return nil, errors.Join(err, db.Close())
		}
		h.stats.Reason = err.Error() // what comes before the damage can be looked at
	}
	return h, nil
}

// ends are the oldest and the newest index of a log.
func ends(db *bbolt.DB) (first, last uint64, err error) {
	return first, last, db.View(func(tx *bbolt.Tx) error {
		logs := tx.Bucket(logsBucket)
		if logs == nil {
			return corrupt(db.Path(), "it has no log")
		}
		k, _ := logs.Cursor().First()
		z, _ := logs.Cursor().Last()
		if k == nil {
			return corrupt(db.Path(), "its log is empty, and never was")
		}
		if len(k) != 8 || len(z) != 8 {
			return corrupt(db.Path(), "a key of %d bytes is in its log", len(k))
		}
		first, last = binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(z)
		return nil
	})
}

// historyOfMirror reads a journal whose log cannot be read. The process that holds it may seal a segment between the
// look at the manifest and that at the mirror, so both are looked at until they fit.
func historyOfMirror(dir string) (*History, error) {
	for try := 1; ; try++ {
		m, err := readManifest(dir)
		if err != nil {
			return nil, err
		}
		paths, first, err := mirrors(dir)
		if err != nil {
			return nil, fmt.Errorf("read mirror: %w", err)
		}
		var files []*os.File
		for _, path := range paths {
			var f *os.File
			if f, err = os.Open(path); err != nil {
				break
			}
			files = append(files, f)
		}
		shut := func() error {
			var errs []error
			for _, f := range files {
				errs = append(errs, f.Close())
			}
			return errors.Join(errs...)
		}
		sealed, _ := m.sealed()
		if err == nil && (len(first) == 0 || first[0] <= sealed+1) || try == 10 {
			h := &History{dir: dir, every: checkpointEvery, m: m, close: shut}
			h.newest = source{first: sealed + 1, name: archiveName + "/" + mirrorPrefix, walk: func(from, to uint64, f func(*raft.Log) error) error {
				return mirrored(files, sealed, from, to, f)
			}}
			if err := h.count(); err != nil {
				h.stats.Reason = err.Error()
			}
			h.newest.last = h.stats.Last
			return h, nil
		}
		if err := shut(); err != nil {
			return nil, err
		}
	}
}

// count fills in the figures that need no machine. It reads what the manifest does not tell, and does not judge: what
// is wrong with the chain is for Verify to say, so that a damaged journal can still be looked at.
func (h *History) count() error {
	sealed, tip := h.m.sealed()
	h.skips = skipsOf(h.m.skips)
	h.stats = Stats{
		Health: healthOK, FileBytes: fileBytes(h.dir), Total: h.m.records(), Last: sealed, ChainTip: tip, Snapshot: newestSnapshot(h.dir),
	}
	h.stats.archived(h.m, h.newest.first)
	if h.stats.First == h.newest.first && h.newest.last == 0 && sealed == 0 {
		h.stats.First = 0
	}
	return h.newest.walk(max(sealed+1, h.newest.first), noEnd, func(l *raft.Log) error {
		if h.stats.First == 0 {
			h.stats.First, h.stats.LogFirst = l.Index, l.Index
		}
		h.stats.Last = l.Index
		copy(h.stats.ChainTip[:], l.Extensions)
		if e := entryOf(l); !e.Own && e.Kind >= firstKind {
			h.stats.Total++
		}
		if s, ok := skipOf(l); ok {
			h.skips[s.index] = s
			h.stats.Total-- // the entry that it speaks of was counted
		}
		return nil
	})
}

// noEnd is an index that no entry has.
const noEnd = 1<<64 - 1

// walk calls f for the entries from index from to to, as they are: from the archive, and from the log what that has.
func (h *History) walk(from, to uint64, f func(*raft.Log) error) error {
	from = max(from, 1)
	if to == 0 {
		to = noEnd
	}
	if from < h.stats.First {
		return fmt.Errorf("%w: history is kept from entry %d on", ErrMissing, h.stats.First)
	}
	for i := h.m.at(from); i < len(h.m.segments); i++ {
		s := h.m.segments[i]
		end := min(to, h.newest.first-1)
		if s.first > end {
			break
		}
		if err := s.read(h.dir, from, end, f); err != nil {
			return err
		}
	}
	if to < h.newest.first {
		return nil
	}
	return h.newest.walk(max(from, h.newest.first), to, f)
}

// checked walks along the chain and fails at the first entry that does not follow. Where in is not nil it is the chain
// before the first entry; else that is looked up, so that a single entry is checked as well.
func (h *History) checked(from, to uint64, in *chain, f func(*raft.Log) error) error {
	c := chain{last: max(from, 1) - 1}
	known := from <= 1
	if in != nil {
		c, known = *in, true
	} else if !known && from <= h.stats.Last {
		if tip, err := h.hashAt(from - 1); err == nil {
			c.tip, known = tip, true
		}
	}
	return h.walk(from, to, func(l *raft.Log) error {
		if !known {
			// What came before it is not kept, or damaged: its own successor follows, or does not.
			if l.Index != c.last+1 {
				return h.broken(l, fmt.Errorf("entry %d stands in place of entry %d", l.Index, c.last+1))
			}
			c, known = resume(l), true
		} else if err := c.next(l); err != nil {
			return h.broken(l, err)
		}
		return f(l)
	})
}

func (h *History) broken(l *raft.Log, err error) error {
	name := h.newest.name
	if l.Index < h.newest.first {
		name = archiveName + "/" + h.m.segments[min(h.m.at(l.Index), len(h.m.segments)-1)].name()
	}
	return corrupt(filepath.Join(h.dir, name), "%v", err)
}

var errEnough = errors.New("enough")

// Entries reads the entries with an index from from to to, oldest first; 0 leaves an end open.
func (h *History) Entries(from, to uint64) iter.Seq2[Entry, error] {
	if from == 0 {
		from = h.stats.First
	}
	return func(yield func(Entry, error) bool) {
		err := h.checked(from, to, nil, func(l *raft.Log) error {
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
	_, err := h.play(m, to, to, nil)
	return err
}

// Play brings m, which is new, to where it stood after entry from, as Replay does, and then on to entry to, one entry
// at a time: each is called after each of those entries, Raft's own included, with what applying it returned. An error
// of each ends the play, and is returned as it is.
func (h *History) Play(m Machine, from, to uint64, each func(e Entry, result any) error) error {
	_, err := h.play(m, from, to, each)
	return err
}

// play returns what the head of a snapshot after entry to would say.
func (h *History) play(m Machine, from, to uint64, each func(e Entry, result any) error) (snapshotHead, error) {
	near := from
	if each == nil {
		near = to
	}
	if near == 0 || near > h.stats.Last {
		near = h.stats.Last
	}
	head, err := h.begin(m, near)
	if err != nil {
		return head, err
	}
	p := player{m: m, every: h.every, skips: h.skips, records: head.Records, due: head.Due}
	in := chain{last: head.Index, tip: unhexHash(head.Hash)}
	if to == 0 {
		to = noEnd
	}
	err = ahead(func(f func(*raft.Log) error) error { return h.checked(head.Index+1, to, &in, f) }, func(l *raft.Log) error {
		var result any
		if l.Type == raft.LogCommand {
			var err error
			if result, err = p.apply(l); err != nil {
				return safeMode(err)
			}
			head.Index, head.Hash = l.Index, hexHash([32]byte(l.Extensions))
		}
		if each == nil || l.Index <= from {
			return nil
		}
		return each(entryOf(l), result)
	})
	head.Records, head.Due = p.records, p.due
	return head, err
}

// IndexAt is the index of the newest entry that was stored at t or before, or 0 when all that are kept came later.
func (h *History) IndexAt(t time.Time) (uint64, error) {
	from, at := h.stats.First, uint64(0)
	// The manifest tells when a segment begins, so one segment is read.
	i, _ := slices.BinarySearchFunc(h.m.segments, t, func(s segment, t time.Time) int {
		if s.from.After(t) {
			return 1
		}
		return -1
	})
	if i > 0 {
		from, at = h.m.segments[i-1].first, h.m.segments[i-1].first
	}
	err := h.walk(from, 0, func(l *raft.Log) error {
		if l.AppendedAt.After(t) {
			return errEnough
		}
		if !l.AppendedAt.IsZero() { // as the first one of all, with which Raft is set up
			at = l.Index
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return at, err
}

// Living says that a process holds the journal, and that its newest entries were read from the mirror.
func (h *History) Living() bool { return h.living }

// Stats are the figures that can be told without a machine.
func (h *History) Stats() Stats { return h.stats }

// Close lets go of the files.
func (h *History) Close() error { return h.close() }
