package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// small makes a fixture whose journal snapshots, archives and deletes after a few entries.
func small(t testing.TB) *fixture {
	f := newFixture(t)
	f.o.every, f.o.snapshotAfter, f.o.trailing = 16, 1<<30, 40
	return f
}

// cut takes a snapshot, which archives what it covers, and shortens the log.
func (f *fixture) cut(j *Journal) {
	f.t.Helper()
	if err := j.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		f.t.Fatal(err)
	}
}

// history opens the history of the fixture.
func (f *fixture) history() *History {
	f.t.Helper()
	h, err := OpenHistory(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	h.every = f.o.every
	f.t.Cleanup(func() { _ = h.Close() })
	return h
}

// state is what the tables were after an entry.
type state struct {
	index  uint64
	digest [32]byte
}

// grow fills a journal in steps, with a snapshot after each, and tells how it stood in between.
func (f *fixture) grow(j *Journal, m *tables, steps, n int) (all []state) {
	f.t.Helper()
	for range steps {
		fill(f.t, j, n/2)
		all = append(all, state{j.Stats().Last, m.Digest()})
		fill(f.t, j, n-n/2)
		f.cut(j)
		all = append(all, state{j.Stats().Last, m.Digest()})
	}
	still(f.t, j)
	return all
}

// still waits until the checkpoints that are due are recorded, so that the journal grows no more by itself.
func still(t testing.TB, j *Journal) {
	t.Helper()
	eventually(t, "no checkpoint due", func() bool {
		j.fsm.mu.Lock()
		defer j.fsm.mu.Unlock()
		return len(j.fsm.player.due) == 0
	})
}

func TestLogIsShortenedAndHistoryIsWhole(t *testing.T) {
	f := small(t)
	j, m := f.open()
	j.arch.every = 200
	states := f.grow(j, m, 10, 60)
	live := j.Stats()
	if live.First != 1 || live.LogFirst < 400 || live.Sealed < live.LogFirst || live.Segments < 10 || live.Anchors < 2 {
		t.Errorf("stats %+v", live)
	}
	read := func(what string, h *History) {
		t.Helper()
		for _, s := range states {
			m := newTables()
			if err := h.Replay(m, s.index); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if m.Digest() != s.digest {
				t.Errorf("%s: after entry %d the tables are others than they were", what, s.index)
			}
		}
		next := uint64(1)
		for e, err := range h.Entries(0, 0) {
			if err != nil || e.Index != next {
				t.Fatalf("%s: entry %d, %v; want %d", what, e.Index, err, next)
			}
			next++
		}
		if next-1 != live.Last {
			t.Errorf("%s: it ends at entry %d, the journal at %d", what, next-1, live.Last)
		}
		if s := h.Stats(); s.ChainTip != live.ChainTip || s.First != 1 {
			t.Errorf("%s: stats %+v", what, s)
		}
		for _, deep := range []bool{false, true} {
			r, err := h.Verify(VerifyOptions{Machine: func() Machine { return newTables() }, Deep: deep})
			if err = errors.Join(err, r.Err()); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if r.Snapshots != 3 || r.Anchors != live.Anchors || r.Segments != live.Segments || deep != (r.ReplayedFrom == 0) {
				t.Errorf("%s: report %+v", what, r)
			}
		}
	}
	read("from within", j.History())
	read("while it lives", f.history())
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := f.history()
	if h.Living() || h.Stats().Total != live.Total {
		t.Errorf("living %v, %d records, want %d", h.Living(), h.Stats().Total, live.Total)
	}
	read("afterwards", h)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	j2, m2 := f.open()
	if diff := cmp.Diff(m.sorted(), m2.sorted()); diff != "" {
		t.Error(diff)
	}
	if s := j2.Stats(); s.Replayed > 60 || s.Total != live.Total {
		t.Errorf("stats %+v", s)
	}
	files, err := filepath.Glob(f.path(archiveName + "/*.gz"))
	if err != nil || len(files) != live.Segments+live.Anchors {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
}

// A reader that is slow meets the log's beginning while that leaves.
func TestReadingWhileTheLogIsShortened(t *testing.T) {
	f := small(t)
	j, _ := f.open()
	fill(t, j, 100)
	next := uint64(1)
	for e, err := range j.Entries(0, 0) {
		if err != nil || e.Index != next {
			t.Fatalf("entry %d, %v; want %d", e.Index, err, next)
		}
		if next++; next == 5 {
			for range 3 {
				fill(t, j, 100)
				f.cut(j)
			}
		}
	}
	if first := j.Stats().LogFirst; next < 100 || first < 100 {
		t.Errorf("read %d entries, the log begins at %d", next, first)
	}
}

func TestSnapshotIsTakenWhenTheLogHasGrown(t *testing.T) {
	f := small(t)
	f.o.snapshotAfter = 100
	j, _ := f.open()
	fill(t, j, 150)
	eventually(t, "a snapshot", func() bool { return j.Stats().Snapshot >= 100 && j.Stats().Sealed >= 100 })
}

func TestArchiveErrorsKeepTheLog(t *testing.T) {
	f := small(t)
	j, m := f.open()
	fill(t, j, 100)
	// What cannot be written: a directory stands where the manifest is made.
	if err := os.Mkdir(f.path(archiveName+"/"+manifestName+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.cut2(j)
	if s := j.Stats(); s.LogFirst != 1 || s.Sealed != 0 || s.Health != healthOK {
		t.Errorf("stats %+v", s)
	}
	if err := os.Remove(f.path(archiveName + "/" + manifestName + ".new")); err != nil {
		t.Fatal(err)
	}
	f.grow(j, m, 3, 60)
	if s := j.Stats(); s.LogFirst < 50 || s.Sealed < 100 {
		t.Errorf("stats %+v", s)
	}
	want := m.Digest()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	whole := newTables()
	if err := proven(f.history(), whole); err != nil || whole.Digest() != want {
		t.Errorf("%v", err)
	}
}

// cut2 is cut where the log may not be shortened.
func (f *fixture) cut2(j *Journal) { _ = j.raft.Snapshot().Error() }

func TestRetention(t *testing.T) {
	for _, c := range []struct {
		name   string
		retain Retention
		from   func(first, last uint64) bool
	}{
		{"all of it", Retention{}, func(first, _ uint64) bool { return first == 1 }},
		{"young enough", Retention{Age: time.Hour}, func(first, _ uint64) bool { return first == 1 }},
		{"too old", Retention{Age: time.Nanosecond}, func(first, last uint64) bool { return first > last/2 }},
		{"small enough", Retention{Bytes: 1 << 30}, func(first, _ uint64) bool { return first == 1 }},
		{"too large", Retention{Bytes: 12 << 10}, func(first, last uint64) bool { return first > 100 && first < last-100 }},
		{"never small enough", Retention{Bytes: 1}, func(first, last uint64) bool { return first > last/2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := small(t)
			f.o.Retain = c.retain
			j, m := f.open()
			j.arch.every = 100
			states := f.grow(j, m, 12, 60)
			s := j.Stats()
			if !c.from(s.First, s.Last) {
				t.Errorf("history is kept from entry %d to %d, %d bytes", s.First, s.Last, s.ArchiveBytes)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			h := f.history()
			r, err := h.Verify(VerifyOptions{Machine: func() Machine { return newTables() }, Deep: true})
			if err = errors.Join(err, r.Err()); err != nil || r.ReplayedFrom+1 != s.First {
				t.Fatalf("%v, replayed from %d, kept from %d", err, r.ReplayedFrom, s.First)
			}
			for _, s := range states {
				m := newTables()
				err := h.Replay(m, s.index)
				if s.index+1 < h.Stats().First {
					wantErr(t, err, ErrMissing)
				} else if err != nil || m.Digest() != s.digest {
					t.Errorf("after entry %d: %v", s.index, err)
				}
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			f.open()
		})
	}
}

func TestThinning(t *testing.T) {
	m := &manifest{segments: []segment{{first: 1, last: 10 << 20}}}
	for i := uint64(1); i <= 320; i++ {
		m.anchors = append(m.anchors, anchor{index: i << 15})
	}
	gone := m.thin()
	near, before := 0, uint64(1<<19)
	for i, a := range m.anchors[1:] {
		apart := a.index - m.anchors[i].index
		want := uint64(1 << 15)
		switch behind := 10<<20 - a.index; {
		case behind > 4<<20:
			want = 1 << 19
		case behind > 1<<20:
			want = 1 << 17
		default:
			near++
		}
		if apart < want || apart > before {
			t.Errorf("anchor %d is %d entries after the one before, want %d", a.index, apart, want)
		}
		before = want
	}
	if near < 31 || len(gone)+len(m.anchors) != 320 || len(m.thin()) != 0 {
		t.Errorf("%d near, %d gone, %d left", near, len(gone), len(m.anchors))
	}
}

func TestSnapshotsAllLostAreMadeAgain(t *testing.T) {
	f := small(t)
	j, m := f.open()
	j.arch.every = 100
	f.grow(j, m, 6, 60)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range f.snapshots() {
		flip(t, dir+"/state.bin", -5)
	}
	j2, m2 := f.open()
	if m2.Digest() != m.Digest() {
		t.Error("the tables are others than they were")
	}
	fill(t, j2, 60)
	f.cut(j2)
}

// flip changes a byte of a file, counted from its end when it is negative.
func flip(t testing.TB, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNewestEntriesThatTheMirrorSaw(t *testing.T) {
	f := small(t)
	j, _ := f.open()
	fill(t, j, 50)
	still(t, j)
	old, err := os.ReadFile(f.path(dbName))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, j, 5)
	still(t, j)
	last := j.Stats().Last
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path(dbName), old, 0o600); err != nil {
		t.Fatal(err)
	}
	// Without the tail, the mirror alone knows.
	if err := os.Remove(f.path(tailName)); err != nil {
		t.Fatal(err)
	}
	_, _, err = f.try()
	wantErr(t, err, ErrCorrupt)
	if says := fmt.Sprintf("mirror-000000000001 once held entry %d", last); !strings.Contains(err.Error(), says) {
		t.Errorf("it says: %v", err)
	}
	wantErr(t, proven(f.history(), newTables()), ErrCorrupt)
}

func TestMirrorIsMendedAtAStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path string)
	}{
		{"gone", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"its last line is torn", func(t *testing.T, path string) { shorten(t, path, 7) }},
		{"its last lines are gone", func(t *testing.T, path string) { shorten(t, path, 1000) }},
		{"a hash of it is altered", func(t *testing.T, path string) { flip(t, path, -60) }},
		{"zeros at its end", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, append(b, make([]byte, 900<<10)...), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"empty", func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := small(t)
			f.closed(50)
			c.change(t, f.path(archiveName+"/"+mirrorName(1)))
			j, m := f.open()
			h := f.history()
			read := newTables()
			if err := proven(h, read); err != nil {
				t.Error(err)
			}
			if h.Stats().Last != j.Stats().Last || read.Digest() != m.Digest() {
				t.Errorf("the mirror ends at %d, the journal at %d", h.Stats().Last, j.Stats().Last)
			}
		})
	}
}

func shorten(t *testing.T, path string, by int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, max(0, info.Size()-by)); err != nil {
		t.Fatal(err)
	}
}

func TestIndexAtATime(t *testing.T) {
	f := small(t)
	j, m := f.open()
	before := time.Now()
	f.grow(j, m, 3, 60)
	middle, at := j.Stats().Last, time.Now()
	f.grow(j, m, 3, 60)
	h := j.History()
	for _, c := range []struct {
		t    time.Time
		want func(uint64) bool
	}{
		{before.Add(-time.Hour), func(i uint64) bool { return i <= 1 }}, // the first of all has no time
		{at, func(i uint64) bool { return i == middle }},
		{time.Now().Add(time.Hour), func(i uint64) bool { return i == j.Stats().Last }},
	} {
		if i, err := h.IndexAt(c.t); err != nil || !c.want(i) {
			t.Errorf("at %v: entry %d, %v", c.t, i, err)
		}
	}
}

func TestPlayStepsThroughEntries(t *testing.T) {
	f := small(t)
	j, m := f.open()
	f.grow(j, m, 4, 60)
	h := j.History()
	from, to := uint64(70), uint64(150)
	next, n := from+1, newTables()
	enough := errors.New("that will do")
	err := h.Play(n, from, to, func(e Entry, _ any) error {
		if e.Index != next {
			t.Fatalf("entry %d, want %d", e.Index, next)
		}
		next++
		m := newTables()
		if e.Index%20 == 0 {
			if err := h.Replay(m, e.Index); err != nil || m.Digest() != n.Digest() {
				t.Errorf("after entry %d: %v", e.Index, err)
			}
		}
		if e.Index == 140 {
			return enough
		}
		return nil
	})
	wantErr(t, err, enough)
	if next != 141 {
		t.Errorf("played up to entry %d", next-1)
	}
}

// Whatever is altered or cut of what is covered, a proof finds it, and names the entry or what it stands after.
func TestAnyDamageIsFoundAndNamed(t *testing.T) {
	f := small(t)
	j, m := f.open()
	j.arch.every = 100
	f.grow(j, m, 5, 50)
	fill(t, j, 20)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{archiveName + "/*.gz", snapName + "/*/state.bin", snapName + "/*/meta.json", archiveName + "/" + manifestName} {
		some, err := filepath.Glob(f.path(pattern))
		if err != nil || len(some) == 0 {
			t.Fatalf("%s: %v, %v", pattern, some, err)
		}
		files = append(files, some...)
	}
	rapid.Check(t, func(rt *rapid.T) {
		path := rapid.SampledFrom(files).Draw(rt, "file")
		whole, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		b := bytes.Clone(whole)
		at := rapid.IntRange(0, len(b)-1).Draw(rt, "at")
		cut := rapid.Bool().Draw(rt, "cut")
		if cut {
			b = b[:at]
		} else {
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		}
		put := func(b []byte) {
			if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o400)); err != nil {
				rt.Fatal(err)
			}
		}
		put(b)
		defer put(whole)
		name, _ := filepath.Rel(f.dir, path)
		h, err := OpenHistory(f.dir)
		if err != nil {
			if filepath.Base(path) != manifestName {
				rt.Fatalf("%s: %v", name, err)
			}
			return
		}
		defer h.Close()
		h.every = f.o.every
		r, err := h.Verify(VerifyOptions{Machine: func() Machine { return newTables() }, Deep: true})
		if err != nil {
			rt.Fatal(err)
		}
		if strings.HasSuffix(name, "meta.json") && len(r.Findings) == 0 && sameNotes(whole, b) {
			return // another way to write the same
		}
		found := slices.ContainsFunc(r.Findings, func(x Finding) bool { return strings.HasPrefix(name, x.File) && x.Index > 0 })
		if !found {
			rt.Fatalf("%s, byte %d, cut %v: %+v", name, at, cut, r.Findings)
		}
	})
	if err := proven(f.history(), newTables()); err != nil {
		t.Error(err)
	}
}

// sameNotes says that Raft's notes on a snapshot differ in nothing but the list of peers, which nobody reads.
func sameNotes(a, b []byte) bool {
	var x, y map[string]any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	delete(x, "Peers")
	delete(y, "Peers")
	return cmp.Equal(x, y)
}

func decodeLog(b []byte, l *raft.Log) error {
	return codec.NewDecoderBytes(b, &codec.MsgpackHandle{}).Decode(l)
}

// An entry of the log, altered through bbolt in any bit that the chain covers, is found and named.
func TestAnyFlippedBitOfALiveEntryIsNamed(t *testing.T) {
	f := small(t)
	j, m := f.open()
	f.grow(j, m, 2, 50)
	first, last := j.Stats().LogFirst, j.Stats().Last
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(f.path(dbName))
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		index := first + rand.Uint64N(last-first+1)
		var at, bit int
		f.edit(func(logs *bbolt.Bucket) error {
			var l raft.Log
			v := bytes.Clone(logs.Get(key(index)))
			if err := decodeLog(v, &l); err != nil {
				return err
			}
			covered := [][]byte{l.Data, l.Extensions}
			if len(l.Data) == 0 {
				covered = covered[1:]
			}
			part := covered[rand.IntN(len(covered))]
			at, bit = bytes.Index(v, part)+rand.IntN(len(part)), rand.IntN(8)
			v[at] ^= 1 << bit
			return logs.Put(key(index), v)
		})
		h := f.history()
		r, err := h.Verify(VerifyOptions{Machine: func() Machine { return newTables() }, Deep: true})
		if err = errors.Join(err, h.Close()); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(r.Findings, func(x Finding) bool { return x.File == dbName && x.Index == index }) {
			t.Errorf("entry %d, byte %d, bit %d: %v", index, at, bit, r.Findings)
		}
		if err := os.WriteFile(f.path(dbName), whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
