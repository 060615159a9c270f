package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"groom/fault"
)

// kindRebuilt is the journal's own entry that a rebuild leaves.
const kindRebuilt = 3

// Rebuilt is what a rebuild has found. It is the body of the entry that the rebuild leaves in the journal.
type Rebuilt struct {
	// Last is the newest entry that was found; those before it are there as well, but for Hole.
	Last uint64 `json:"last"`
	// Hole are the first and the last of entries that were found nowhere, while a snapshot holds what came of them: the
	// tables are whole, and that part of the history is not. Zero when there is none.
	Hole [2]uint64 `json:"hole,omitzero"`
	// Lost are the first and the last of entries that were acknowledged once, after Last, and are gone. The tables are
	// those of Last. Zero when none are known to be. Their indexes are given out again.
	Lost [2]uint64 `json:"lost,omitzero"`
	// Sources are where entries were found, by how many.
	Archive uint64 `json:"from_archive"`
	Mirror  uint64 `json:"from_mirror"`
	Log     uint64 `json:"from_log"`
	// Aside is the name that the old file has now, or "" when there was none.
	Aside string `json:"aside,omitempty"`
	Build string `json:"build,omitempty"`
}

func (r Rebuilt) String() string {
	s := fmt.Sprintf("the journal was rebuilt up to entry %d", r.Last)
	if r.Hole != [2]uint64{} {
		s += fmt.Sprintf("; entries %d to %d were found nowhere, but a snapshot holds what came of them", r.Hole[0], r.Hole[1])
	}
	if r.Lost != [2]uint64{} {
		s += fmt.Sprintf("; entries %d to %d are lost: the tables are those of entry %d", r.Lost[0], r.Lost[1], r.Last)
	} else {
		s += "; nothing that is known of is lost"
	}
	if r.Aside != "" {
		s += "; the old file is kept as " + r.Aside
	}
	return s
}

// rebuildKeeps is how many entries of the archive a rebuilt log holds as well.
const rebuildKeeps = trailing

// Rebuild makes a log anew in dir, where it is gone or damaged, out of the archive, its mirror, and what can still be
// read of the old one; the old one is set aside under another name, never thrown away. It reports exactly what is
// missing, and the journal records that report. No process may hold the journal; the next Open starts from it.
//
// Nothing takes a place before the new file is whole and synced. A kill leaves the old file in place, or set aside and
// no file: then a start refuses, and another Rebuild finds all that this one found.
func Rebuild(dir, build string, log *slog.Logger) (Rebuilt, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &rebuilder{dir: dir, log: log, r: Rebuilt{Build: build}}
	defer r.close()
	if err := r.gather(); err != nil {
		return r.r, fmt.Errorf("rebuild journal: %w", err)
	}
	if err := r.write(); err != nil {
		return r.r, fmt.Errorf("rebuild journal: %w", err)
	}
	return r.r, nil
}

type rebuilder struct {
	dir     string
	log     *slog.Logger
	r       Rebuilt
	m       *manifest
	old     *bbolt.DB            // nil when nothing of it can be read
	mirror  map[uint64]*raft.Log // by index
	entries []*raft.Log          // of the archive's end, and what follows, in order
	term    uint64
	hash    [32]byte // after the newest one
	pastEnd uint64   // the newest entry that something remembers
}

func (r *rebuilder) close() {
	if r.old != nil {
		_ = r.old.Close() // it was only read
	}
}

// gather finds every entry that follows on what the archive holds, wherever there is a copy of it that the chain
// accepts.
func (r *rebuilder) gather() (err error) {
	if r.m, err = readManifest(r.dir); err != nil {
		return err
	}
	r.old, err = openReadOnly(r.dir, lockTimeout)
	switch {
	case errors.Is(err, ErrInUse):
		return err
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt):
		return err
	case err != nil:
		r.log.Warn("of the old log nothing can be read", "err", err)
	}
	if err := r.mirrored(); err != nil {
		return err
	}
	if err := r.archived(); err != nil {
		return err
	}
	for r.next() {
	}
	return r.remembered()
}

// archived takes the end of the archive. The newest segment that is damaged ends it: what follows has to come from
// elsewhere.
func (r *rebuilder) archived() error {
	sealed, _ := r.m.sealed()
	from := r.m.at(sealed + 1 - min(sealed, rebuildKeeps))
	for i, s := range r.m.segments {
		if s.lost {
			from = max(from, i+1)
			r.r.Last, r.hash = s.last, s.out
		}
	}
	if from < len(r.m.segments) {
		s := r.m.segments[from]
		r.r.Last, r.hash = s.first-1, s.in
	}
	for _, s := range r.m.segments[min(from, len(r.m.segments)):] {
		c := chain{last: r.r.Last, tip: r.hash, term: r.term}
		err := s.read(r.dir, c.last+1, s.last, func(l *raft.Log) error {
			if err := c.next(l); err != nil {
				return err
			}
			r.entries = append(r.entries, l)
			r.r.Archive++
			return nil
		})
		r.r.Last, r.hash, r.term = c.last, c.tip, c.term
		if err != nil {
			r.log.Warn("a segment of the archive is damaged; looking for its entries elsewhere", "err", err)
			for r.r.Last < s.last && r.next() {
			}
			if r.r.Last < s.last {
				return fmt.Errorf("entry %d is found nowhere, and the archive's segments behind it would not follow: %w", r.r.Last+1, err)
			}
		}
	}
	return nil
}

// mirrored reads what the mirror holds. Lines that are no entries are passed over.
func (r *rebuilder) mirrored() error {
	r.mirror = map[uint64]*raft.Log{}
	paths, _, err := mirrors(r.dir)
	if err != nil {
		return fmt.Errorf("read mirror: %w", err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read mirror: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			if l, err := parseLine([]byte(strings.TrimSuffix(line, "\n"))); err == nil {
				r.mirror[l.Index] = l
			}
		}
	}
	return nil
}

// next takes the entry that follows, from the old log or from the mirror, and says whether there is one.
func (r *rebuilder) next() bool {
	index := r.r.Last + 1
	c := chain{last: r.r.Last, tip: r.hash, term: r.term}
	if l := r.logged(index); l != nil && c.next(l) == nil {
		r.r.Log++
		r.entries = append(r.entries, l)
	} else if l := r.mirror[index]; l != nil && c.next(l) == nil {
		r.r.Mirror++
		r.entries = append(r.entries, l)
	} else {
		return false
	}
	r.r.Last, r.hash, r.term = c.last, c.tip, c.term
	return true
}

// logged reads one entry of the old log, which may be damaged anywhere else.
func (r *rebuilder) logged(index uint64) (l *raft.Log) {
	if r.old == nil {
		return nil
	}
	err := guarded(r.old.Path(), func() error {
		return walk(r.old, index, index, func(found *raft.Log) error { l = found; return nil })
	})
	if err != nil {
		return nil
	}
	return l
}

// remembered finds out what is missing: a snapshot may stand after entries that were found nowhere, and the tail, the
// mirror or the old log may know of newer ones.
func (r *rebuilder) remembered() error {
	all, err := stored(r.dir)
	if err != nil {
		return err
	}
	for _, c := range all { // newest first
		if c.err != nil || c.meta.Index <= r.r.Last {
			continue
		}
		if err := r.over(c); err != nil {
			return err
		}
		break
	}
	if r.r.Last == 0 {
		return fmt.Errorf("%w: neither archive, mirror, snapshot nor log holds an entry", ErrMissing)
	}
	r.pastEnd, _, _ = readTail(r.dir) // one that cannot be read says nothing
	for index := range r.mirror {
		r.pastEnd = max(r.pastEnd, index)
	}
	if r.old != nil {
		_ = guarded(r.old.Path(), func() error {
			_, last, err := ends(r.old)
			r.pastEnd = max(r.pastEnd, last)
			return err
		})
	}
	if r.pastEnd > r.r.Last {
		r.r.Lost = [2]uint64{r.r.Last + 1, r.pastEnd}
	}
	return nil
}

// write makes the new log and puts it in its place.
func (r *rebuilder) write() error {
	path, to := filepath.Join(r.dir, dbName), filepath.Join(r.dir, newName)
	aside := ""
	if _, err := os.Lstat(path); err == nil {
		for n := 1; ; n++ {
			aside = fmt.Sprintf("%s.damaged-%d", dbName, n)
			if _, err := os.Lstat(filepath.Join(r.dir, aside)); errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
	}
	r.r.Aside = aside
	body, err := json.Marshal(r.r)
	if err != nil {
		return err
	}
	data, err := seal(Record{Kind: kindRebuilt, Version: 1, Body: body})
	if err != nil {
		return err
	}
	note := &raft.Log{Index: r.r.Last + 1, Term: max(r.term, 1), Type: raft.LogCommand, Data: data, AppendedAt: time.Now()}
	hash := link(r.hash, note)
	note.Extensions = hash[:]
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := r.fill(to, append(r.entries, note)); err != nil {
		return errors.Join(err, os.RemoveAll(to))
	}
	fault.Point("journal.before-rebuild")
	if aside != "" {
		r.close()
		r.old = nil
		if err := os.Rename(path, filepath.Join(r.dir, aside)); err != nil {
			return err
		}
	}
	fault.Point("journal.in-rebuild")
	if err := os.Rename(to, path); err != nil {
		return err
	}
	if err := syncDir(r.dir); err != nil {
		return err
	}
	fault.Point("journal.after-rebuild")
	// From here on the log is whole. What remembered more than there is speaks of entries that are lost for good, and
	// are in the report.
	line := tailText(note.Index, hash)
	if err := writeWhole(r.dir, tailName, line); err != nil {
		return err
	}
	paths, _, err := mirrors(r.dir)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if len(r.mirror) > 0 && r.r.Lost != [2]uint64{} {
			err = os.Rename(p, filepath.Join(r.dir, filepath.Base(p)+".damaged"))
		} else {
			err = os.Remove(p) // the log holds all of it; the next start writes it anew, should it be damaged
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill writes a log as raft-boltdb does, with the term that Raft goes on from.
func (r *rebuilder) fill(path string, entries []*raft.Log) error {
	db, err := openStore(path)
	if err != nil {
		return err
	}
	for len(entries) > 0 && err == nil {
		n := min(len(entries), chunk)
		err = db.StoreLogs(entries[:n])
		entries = entries[n:]
	}
	if err == nil {
		err = db.Set([]byte("CurrentTerm"), binary.BigEndian.AppendUint64(nil, max(r.term, 1)))
	}
	return errors.Join(err, db.Close())
}

// over goes on behind a hole, at a snapshot. What was found before it is sealed: the log begins behind it. Between the
// entry that the snapshot stands after and the one that Raft has filed it under were entries of Raft's own.
func (r *rebuilder) over(c copied) error {
	first := r.r.Last + 1 - uint64(len(r.entries))
	a := &archive{dir: r.dir, log: r.log, m: r.m}
	if err := os.MkdirAll(a.path(""), 0o700); err != nil {
		return err
	}
	err := a.seal(r.r.Last, func(index uint64, l *raft.Log) error {
		if index < first {
			return fmt.Errorf("%w: entry %d", ErrMissing, index)
		}
		*l = *r.entries[index-first]
		return nil
	})
	if err != nil {
		return err
	}
	m := a.manifest().clone()
	_, out := m.sealed()
	if r.r.Last < c.head.Index {
		r.r.Hole = [2]uint64{r.r.Last + 1, c.head.Index}
		m.segments = append(m.segments, segment{
			first: r.r.Last + 1, last: c.head.Index, in: out, out: unhexHash(c.head.Hash), records: c.head.Records, lost: true,
		})
		if err := a.put(m); err != nil {
			return err
		}
	}
	r.m = m
	r.r.Last, r.hash, r.term, r.entries = c.head.Index, unhexHash(c.head.Hash), max(r.term, c.meta.Term), nil
	for {
		if r.next() {
			continue
		}
		if r.r.Last >= c.meta.Index {
			return nil
		}
		l := &raft.Log{Index: r.r.Last + 1, Term: r.term, Type: raft.LogNoop}
		r.hash = link(r.hash, l)
		l.Extensions = bytes.Clone(r.hash[:])
		r.entries, r.r.Last = append(r.entries, l), l.Index
	}
}
