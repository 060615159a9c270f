package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"groom/fault"
)

// Retention says how long history is kept. The zero value keeps all of it.
type Retention struct {
	Age   time.Duration // entries that are older may go, 0 for never
	Bytes int64         // what the archive may take, 0 for any size
}

// archive keeps the second copy of a living journal.
type archive struct {
	dir    string // of the journal
	log    *slog.Logger
	retain Retention
	every  uint64 // entries between two anchors
	skips  map[uint64]skip
	mirror *mirror

	// keeping is held while the archive is changed: two that sealed the same entries would write the same file.
	keeping sync.Mutex
	mu      sync.Mutex
	m       *manifest
}

// openArchive reads what there is, and sweeps away what a kill has left half done.
func openArchive(o Options, f *found) (*archive, error) {
	a := &archive{dir: o.Dir, log: o.Log, retain: o.Retain, every: anchorEvery * o.snapshotAfter, skips: f.skips, m: f.manifest}
	if err := os.MkdirAll(a.path(""), 0o700); err != nil {
		return nil, full("make archive", err)
	}
	if err := a.sweep(f); err != nil {
		return nil, fmt.Errorf("sweep archive: %w", err)
	}
	return a, nil
}

func (a *archive) path(name string) string { return filepath.Join(a.dir, archiveName, name) }

// sweep removes files that the manifest does not name, where nothing is lost with them: half-written ones, segments
// that were sealed right before a kill, whose entries the log still has, and those that retention had given up.
func (a *archive) sweep(f *found) error {
	files, err := os.ReadDir(a.path(""))
	if err != nil {
		return err
	}
	known := map[string]bool{manifestName: true}
	for _, s := range a.m.segments {
		known[s.name()] = true
	}
	for _, n := range a.m.anchors {
		known[n.name()] = true
	}
	for _, file := range files {
		name := file.Name()
		var first, last uint64
		gone := strings.HasSuffix(name, ".new")
		switch n, _ := fmt.Sscanf(name, "%d-%d.gz", &first, &last); {
		case known[name] || strings.HasPrefix(name, mirrorPrefix):
			continue
		case strings.HasPrefix(name, "anchor-"):
			gone = true // a copy
		case n == 2:
			gone = first >= f.first && last <= f.last || last < a.m.first()
		}
		if !gone {
			a.log.Warn("a file in the archive is nobody's; it is left alone", "file", a.path(name))
			continue
		}
		if err := os.Remove(a.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// manifest is the one that holds. It is never changed, but replaced.
func (a *archive) manifest() *manifest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.m
}

// put replaces the manifest, durably.
func (a *archive) put(m *manifest) error {
	fault.Point("journal.before-manifest")
	if err := writeWhole(a.path(""), manifestName, m.encode()); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	fault.Point("journal.after-manifest")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.m = m
	return nil
}

// seal copies entries from the log into segments, up to entry to. The manifest names a segment when its file and the
// directory are synced, and only what the manifest names may leave the log.
func (a *archive) seal(to uint64, get func(uint64, *raft.Log) error) error {
	for {
		m := a.manifest().clone()
		last, tip := m.sealed()
		if last >= to {
			return nil
		}
		s := segment{first: last + 1, in: tip, records: m.records()}
		if err := a.write(&s, m, to, get); err != nil {
			return fmt.Errorf("seal entries from %d: %w", s.first, err)
		}
		m.segments = append(m.segments, s)
		if err := a.put(m); err != nil {
			return err
		}
	}
}

func (a *archive) write(s *segment, m *manifest, to uint64, get func(uint64, *raft.Log) error) error {
	// The name is known when the last entry is, so the file is written under that of its first one.
	out, err := newSink(a.dir, fmt.Sprintf("%012d", s.first))
	if err != nil {
		return err
	}
	c := chain{last: s.first - 1, tip: s.in}
	var line []byte
	for size := 0; c.last < to && c.last-s.first+1 < segmentEntries && size < segmentBytes; {
		l := new(raft.Log)
		if err := get(c.last+1, l); err != nil {
			return errors.Join(fmt.Errorf("read entry %d: %w", c.last+1, err), out.cancel())
		}
		if err := c.next(l); err != nil {
			return errors.Join(fmt.Errorf("%w: %w", ErrCorrupt, err), out.cancel())
		}
		if s.from.IsZero() {
			s.from = l.AppendedAt
		}
		s.to = l.AppendedAt
		s.records += a.count(l, m)
		line = appendLine(line[:0], l)
		if _, err := out.z.Write(line); err != nil {
			return errors.Join(err, out.cancel())
		}
		size += len(l.Data)
	}
	s.last, s.out = c.last, c.tip
	old := out.path
	out.path = a.path(s.name())
	if err := os.Rename(old+".new", out.path+".new"); err != nil {
		return errors.Join(err, out.cancel())
	}
	s.sum, err = out.finish()
	s.bytes = out.size
	fault.Point("journal.after-seal")
	return err
}

// count is 1 for an entry that changes tables. An override is noted in the manifest on the way, so that a replay knows
// of it before it comes to the entry that is not applied.
func (a *archive) count(l *raft.Log, m *manifest) uint64 {
	if l.Type != raft.LogCommand {
		return 0
	}
	if s, ok := a.skips[l.Index]; ok && s.hash == [32]byte(l.Extensions) {
		m.skips = append(m.skips, s)
		return 0
	}
	if r, err := unseal(l.Data); err != nil || r.Kind < firstKind {
		return 0
	}
	return 1
}

// deletable is how far the log may be shortened, up to entry last: to the end of a segment that the manifest names, and
// not beyond what the oldest snapshot stands after, so that each of them can be started from.
func (a *archive) deletable(last uint64) uint64 {
	m := a.manifest()
	if oldest := oldestSnapshot(a.dir); oldest < last {
		last = oldest
	}
	end := uint64(0)
	if first := m.first(); first > 0 && first-1 <= last {
		end = first - 1 // dropped by retention
	}
	for _, s := range m.segments {
		if s.last <= last {
			end = s.last
		}
	}
	return end
}

// anchorEvery is how many snapshots lie between two that are kept.
const anchorEvery = 4

// keep archives what a snapshot covers, after it is durable: its entries, and now and then itself. An error leaves the
// log as it is, and the next snapshot tries again.
func (a *archive) keep(head snapshotHead, state string, get func(uint64, *raft.Log) error) error {
	a.keeping.Lock()
	defer a.keeping.Unlock()
	a.mirror.rotate()
	if err := a.seal(head.Index, get); err != nil {
		return err
	}
	m := a.manifest().clone()
	newest := uint64(0)
	if n := len(m.anchors); n > 0 {
		newest = m.anchors[n-1].index
	}
	_, whole := m.boundary(head.Index)
	due := whole && head.Index >= newest+a.every
	if due {
		if err := a.anchor(head, state, m); err != nil {
			return fmt.Errorf("keep snapshot: %w", err)
		}
	}
	gone := append(m.thin(), m.prune(a.retain, time.Now())...)
	if due || len(gone) > 0 {
		if err := a.put(m); err != nil {
			return err
		}
	}
	// A kill from here on leaves files that no manifest names: the next start removes them.
	for _, name := range gone {
		fault.Point("journal.before-prune")
		if err := os.Remove(a.path(name)); err != nil {
			return fmt.Errorf("drop history: %w", err)
		}
	}
	a.mirror.trim(head.Index)
	return nil
}

// anchor copies a snapshot into the archive.
func (a *archive) anchor(head snapshotHead, state string, m *manifest) error {
	in, err := os.Open(state)
	if err != nil {
		return err
	}
	defer in.Close()
	n := anchor{index: head.Index, hash: unhexHash(head.Hash)}
	out, err := newSink(a.dir, n.name())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out.z, in); err != nil {
		return errors.Join(err, out.cancel())
	}
	if n.sum, err = out.finish(); err != nil {
		return err
	}
	n.bytes = out.size
	fault.Point("journal.after-anchor")
	m.anchors = append(m.anchors, n)
	return nil
}

// Anchors of the newest million entries are all kept, so that any moment of them is near one. Older ones are thinned:
// between them lie an eighth of a million entries, then half a million.
var thinning = []struct{ behind, apart uint64 }{{4 << 20, 1 << 19}, {1 << 20, 1 << 17}}

// thin drops anchors that are nearer to the one before than their age allows, and names their files. The oldest stays:
// without the entries before it, history begins there.
func (m *manifest) thin() (gone []string) {
	last, _ := m.sealed()
	kept := m.anchors[:0]
	for _, a := range m.anchors {
		apart := uint64(0)
		for _, t := range thinning {
			if a.index+t.behind < last {
				apart = t.apart
				break
			}
		}
		if n := len(kept); n > 0 && a.index < kept[n-1].index+apart {
			gone = append(gone, a.name())
			continue
		}
		kept = append(kept, a)
	}
	m.anchors = kept
	return gone
}

// prune drops what retention no longer asks for, and names the files. History is cut at anchors only, so that the
// replay has where to start from.
func (m *manifest) prune(r Retention, now time.Time) (gone []string) {
	cut := -1
	sealed, _ := m.sealed()
	for i, a := range m.anchors {
		if a.index == sealed {
			break // the newest segment stays: it says where the archive ends
		}
		old := r.Age > 0 && m.segments[m.at(a.index)].to.Before(now.Add(-r.Age))
		if large := r.Bytes > 0 && m.sizeAfter(cut) > r.Bytes; old || large {
			cut = i
		}
	}
	if cut < 0 {
		return nil
	}
	at := m.anchors[cut].index
	for len(m.segments) > 0 && m.segments[0].last <= at {
		if !m.segments[0].lost {
			gone = append(gone, m.segments[0].name())
		}
		m.segments = m.segments[1:]
	}
	for _, a := range m.anchors[:cut] {
		gone = append(gone, a.name())
	}
	m.anchors = m.anchors[cut:]
	for len(m.skips) > 0 && m.skips[0].index <= at {
		m.skips = m.skips[1:]
	}
	return gone
}

// sizeAfter is what the archive would take when history began at an anchor; -1 is what it takes now.
func (m *manifest) sizeAfter(cut int) (n int64) {
	from := uint64(0)
	if cut >= 0 {
		from = m.anchors[cut].index
	}
	for _, s := range m.segments {
		if s.last > from {
			n += s.bytes
		}
	}
	for _, a := range m.anchors[max(cut, 0):] {
		n += a.bytes
	}
	return n
}
