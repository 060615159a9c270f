package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// VerifyOptions say how much is proven.
type VerifyOptions struct {
	// Machine makes a new machine. It is called for the replay, and for each copy of the tables that is compared with it.
	Machine func() Machine
	// Deep replays from the oldest anchor, or the first entry, instead of the oldest snapshot. The chain and the files
	// are checked from the oldest entry on in any case.
	Deep bool
	// Progress, when not nil, tells how far the proof is.
	Progress func(index, last uint64)
}

// Finding is something that is not as it was written.
type Finding struct {
	Index uint64 // of the entry, or of the one after which a snapshot or an anchor stands; 0 when it is none's
	File  string // in the journal's directory
	What  string
}

func (f Finding) String() string {
	if f.Index == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.What)
	}
	return fmt.Sprintf("%s, entry %d: %s", f.File, f.Index, f.What)
}

// Report is what a proof has seen. Nothing is wrong when there are no findings.
type Report struct {
	First, Last  uint64 // entries whose chain was checked
	Entries      uint64 // how many were read; those that log and archive both hold count twice
	ReplayedFrom uint64 // the tables were replayed from after this entry; 0 is the beginning
	Segments     int
	Anchors      int
	Snapshots    int
	Checkpoints  int // digests that the replay gave again
	Findings     []Finding
	Notes        []string // known and recorded: entries that are skipped, or missing since a rebuild
	Took         time.Duration
}

// Err is ErrCorrupt with the first finding, or nil.
func (r Report) Err() error {
	if len(r.Findings) == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %s", ErrCorrupt, r.Findings[0])
	if n := len(r.Findings) - 1; n > 0 {
		err = fmt.Errorf("%w (and %d more findings)", err, n)
	}
	return err
}

// Verify proves the journal: every link of the chain, every segment of the archive, every digest, that snapshots and
// anchors hold what the replay gives, and that no entries are gone from its end. It goes on after a finding where it
// can. The error is that the proof could not be made; what it found is in the report.
func (h *History) Verify(o VerifyOptions) (Report, error) {
	began := time.Now()
	v := &verifier{h: h, o: o}
	v.r.First, v.r.Last = h.stats.First, h.stats.Last
	if h.hurt != nil {
		v.find(0, dbName, h.hurt)
	}
	if err := v.files(); err != nil {
		return v.r, fmt.Errorf("verify: %w", err)
	}
	v.from()
	v.archive()
	v.log()
	v.end()
	v.r.Took = time.Since(began)
	return v.r, nil
}

type verifier struct {
	h *History
	o VerifyOptions
	r Report

	copies []start // whole ones, oldest first
	p      player
	pos    uint64   // the replay stands after this entry
	lost   bool     // it stands nowhere: it cannot go on before the next copy
	tip    [32]byte // of the chain after the newest entry that was checked
	last   uint64
}

func (v *verifier) find(index uint64, file string, err error) {
	v.r.Findings = append(v.r.Findings, Finding{Index: index, File: file, What: err.Error()})
}

// files checks what can be checked without the entries: that the archive's files and the snapshots are there, and what
// they were. A segment that does not hash to what the manifest says is read later, which names the entry.
func (v *verifier) files() error {
	h := v.h
	for _, s := range h.m.segments {
		if s.lost {
			v.r.Notes = append(v.r.Notes, fmt.Sprintf("entries %d to %d are missing since the journal was rebuilt", s.first, s.last))
			continue
		}
		v.r.Segments++
	}
	for _, s := range h.skips {
		v.r.Notes = append(v.r.Notes, fmt.Sprintf("entry %d is skipped, as entry %d says", s.index, s.by))
	}
	slices.Sort(v.r.Notes)
	all, err := h.starts()
	if err != nil {
		return err
	}
	newer := 0
	for _, s := range all {
		if s.id != "" {
			newer++
		}
	}
	for _, s := range slices.Backward(all) {
		if s.id != "" {
			newer--
		}
		head, _, shut, err := s.open(h.dir)
		if err == nil {
			err = errors.Join(h.belongs(head), shut())
		}
		switch {
		case s.id != "" && (h.living || newer >= retainedSnapshots) && errors.Is(err, fs.ErrNotExist):
			continue // it is making room for a newer one, or was when the process was killed
		case err != nil:
			v.find(s.index, s.file, err)
			continue
		case head.Index > h.stats.Last:
			v.find(head.Index, dbName, fmt.Errorf("the log ends at entry %d, and %s was taken after this one", h.stats.Last, s.file))
			continue
		case s.id == "":
			v.r.Anchors++
		default:
			v.r.Snapshots++
		}
		s.index = head.Index
		v.copies = append(v.copies, s)
	}
	return nil
}

// from puts the replay where it begins.
func (v *verifier) from() {
	v.lost = true
	genesis := v.h.stats.First <= 1
	if v.o.Deep && genesis || genesis && len(v.copies) == 0 {
		v.lost = false
		v.p = player{m: v.o.Machine(), every: v.h.every, skips: v.h.skips}
		return
	}
	for _, s := range v.copies {
		if v.o.Deep || s.id != "" {
			v.take(s)
			return
		}
	}
	if n := len(v.copies); n > 0 {
		v.take(v.copies[n-1])
	}
}

// take goes on with the replay from a copy.
func (v *verifier) take(s start) {
	m := v.o.Machine()
	head, err := v.h.restore(m, s)
	if err != nil {
		v.find(s.index, s.file, err)
		return
	}
	if v.lost && v.pos == 0 {
		v.r.ReplayedFrom = head.Index
	}
	v.p = player{m: m, every: v.h.every, skips: v.h.skips, records: head.Records, due: head.Due}
	v.pos, v.lost = head.Index, false
}

// apply goes on with the replay by an entry, where that is the next one.
func (v *verifier) apply(file string, l *raft.Log) {
	if !v.lost && l.Index == v.pos+1 {
		v.pos = l.Index
		if l.Type == raft.LogCommand {
			due := len(v.p.due)
			if _, err := v.p.apply(l); err != nil {
				v.find(l.Index, file, err)
				v.lost = true
			}
			if len(v.p.due) < due {
				v.r.Checkpoints++
			}
		}
	}
	for len(v.copies) > 0 && v.copies[0].index <= l.Index {
		s := v.copies[0]
		v.copies = v.copies[1:]
		switch {
		case s.index != l.Index:
		case v.lost && v.pos > 0:
			v.take(s) // after a finding
		case !v.lost && v.pos == s.index:
			v.compare(s)
		}
	}
}

// compare checks that a copy holds what the replay gives.
func (v *verifier) compare(s start) {
	m := v.o.Machine()
	head, err := v.h.restore(m, s)
	switch {
	case err != nil:
		v.find(s.index, s.file, err)
	case m.Digest() != v.p.m.Digest() || head.Records != v.p.records:
		v.find(s.index, s.file, errors.New("it does not hold what the replay up to there gives"))
	}
}

// run reads a part of the history, checks its chain, and goes on with the replay. It returns where the chain ends.
func (v *verifier) run(file string, c chain, known bool, read func(f func(*raft.Log) error) error) (chain, bool) {
	path := filepath.Join(v.h.dir, file)
	bad := uint64(0)
	err := ahead(func(f func(*raft.Log) error) error {
		return read(func(l *raft.Log) error {
			if !known {
				c, known = resume(l), true
			} else if err := c.next(l); err != nil {
				bad = l.Index
				return corrupt(path, "%v", err)
			}
			if hash, ok := v.h.m.boundary(l.Index); ok && hash != c.tip {
				bad = l.Index
				return corrupt(path, "entry %d is not the one that the manifest names", l.Index)
			}
			return f(l)
		})
	}, func(l *raft.Log) error {
		v.r.Entries++
		v.apply(file, l)
		if v.o.Progress != nil && l.Index%1024 == 0 {
			v.o.Progress(l.Index, v.r.Last)
		}
		return nil
	})
	if err != nil {
		if bad == 0 {
			bad = c.last + 1
		}
		v.find(bad, file, err)
	}
	return c, err == nil
}

// archive checks the segments.
func (v *verifier) archive() {
	for _, s := range v.h.m.segments {
		if s.lost {
			v.lost = true
			continue
		}
		file := filepath.Join(archiveName, s.name())
		c, ok := v.run(file, chain{last: s.first - 1, tip: s.in}, true, func(f func(*raft.Log) error) error {
			return s.read(v.h.dir, s.first, s.last, f)
		})
		if err := s.hashed(v.h.dir); ok && err != nil {
			v.find(s.first, file, fmt.Errorf("%w; its entries %d to %d can be read, and follow", err, s.first, s.last))
		}
		v.last, v.tip = c.last, c.tip
	}
}

func (s segment) hashed(dir string) error {
	f, err := os.Open(filepath.Join(dir, archiveName, s.name()))
	if err != nil {
		return err
	}
	return errors.Join(sumIs(f, s.sum), f.Close())
}

// log checks the log, or what stands in for it, and that it follows on the archive.
func (v *verifier) log() {
	n := v.h.newest
	in, err := v.h.m.hashAt(v.h.dir, n.first-1)
	known := err == nil
	if n.first <= 1 {
		in, known = [32]byte{}, true
	}
	sealed, _ := v.h.m.sealed()
	if n.first > sealed+1 {
		v.find(sealed+1, n.name, fmt.Errorf("the archive ends at entry %d and the log begins at entry %d: those between them are gone", sealed, n.first))
	}
	c, _ := v.run(n.name, chain{last: n.first - 1, tip: in}, known, func(f func(*raft.Log) error) error {
		return n.walk(n.first, noEnd, f)
	})
	if c.last >= v.last {
		v.last, v.tip = c.last, c.tip
	}
}

// end checks that no entries are gone from the end: the tail, the mirror and the manifest remember the newest ones.
func (v *verifier) end() {
	last, tip, err := readTail(v.h.dir)
	if err != nil {
		v.find(0, tailName, err)
	}
	end := max(v.last, v.h.newest.last) // behind an entry that does not follow there may be others, and they are not gone
	if last > end && !v.h.living {      // a living journal may have written it since
		v.find(last, dbName, fmt.Errorf("it ends at entry %d, and once held this one", end))
	} else if last > 0 && last <= end {
		v.same(last, tip, tailName)
	}
	if v.h.living || v.h.newest.name != dbName {
		return // the mirror is what was read
	}
	paths, _, err := mirrors(v.h.dir)
	if err != nil {
		v.find(0, archiveName, err)
	}
	var c chain
	for _, path := range paths {
		file := filepath.Join(archiveName, filepath.Base(path))
		f, err := os.Open(path)
		if err != nil {
			v.find(0, file, err)
			continue
		}
		err = lines(f, 0, noEnd, func(l *raft.Log) error {
			if c.last == 0 {
				c = resume(l)
				return nil
			}
			return c.next(l)
		})
		if err != nil && !errors.Is(err, errTorn) {
			v.find(c.last+1, file, err)
		}
		if err := f.Close(); err != nil {
			v.find(0, file, err)
		}
	}
	switch {
	case c.last > end:
		v.find(end+1, dbName, fmt.Errorf("it ends at entry %d, and the mirror holds entry %d: its newest entries are gone", end, c.last))
	case c.last > 0:
		v.same(c.last, c.tip, archiveName+"/"+mirrorPrefix)
	}
}

// same checks that the log still holds an entry as it was once seen.
func (v *verifier) same(index uint64, tip [32]byte, witness string) {
	hash, err := v.h.hashAt(index)
	if err == nil && hash != tip {
		err = fmt.Errorf("it is not the one that %s once saw", witness)
	}
	if err != nil {
		v.find(index, dbName, err)
	}
}
