package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A fork holds what the journal held at that moment, is proven, and can be gone on with.
func TestFork(t *testing.T) {
	f := small(t)
	j, m := f.open()
	j.arch.every = 150
	f.grow(j, m, 12, 60)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := f.history()
	defer h.Close()
	s := h.Stats()
	if s.Sealed == 0 || s.Anchors == 0 {
		t.Fatalf("nothing is archived: %+v", s)
	}
	for name, at := range map[string]uint64{
		"in the first segment": 30, "at the end of a segment": h.m.segments[0].last, "right behind one": h.m.segments[0].last + 1,
		"at an anchor": h.m.anchors[0].index, "in the log": s.Sealed + 3, "at the end": s.Last, "at the first entry of all": 1,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "fork")
			if err := h.Fork(at, dir); err != nil {
				t.Fatal(err)
			}
			want, got := newTables(), newTables()
			if err := h.Replay(want, at); err != nil {
				t.Fatal(err)
			}
			fork, err := OpenHistory(dir)
			if err != nil {
				t.Fatal(err)
			}
			fork.every = h.every
			if err := errors.Join(proven(fork, newTables()), fork.Replay(got, 0), fork.Close()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.sorted(), got.sorted()); diff != "" || fork.Stats().Last != at {
				t.Errorf("it ends with entry %d:\n%s", fork.Stats().Last, diff)
			}
			if err := h.Fork(at, dir); !errors.Is(err, fs.ErrExist) {
				t.Errorf("again: %v", err)
			}
			o := f.o
			o.Dir, o.Machine = dir, newTables()
			again, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if !slices.Equal(o.Machine.(*tables).sorted(), want.sorted()) {
				t.Error("opened, it holds something else")
			}
			if _, err := again.Propose(t.Context(), putRecord("more", 1)); err != nil {
				t.Error(err)
			}
		})
	}
	if err := h.Fork(s.Last+1, filepath.Join(t.TempDir(), "x")); !errors.Is(err, ErrMissing) {
		t.Errorf("a moment to come: %v", err)
	}
}

// Of a journal that is damaged before the moment there is no fork, and nothing is left of the attempt; of an earlier
// moment there is one.
func TestForkOfADamagedJournal(t *testing.T) {
	f := small(t)
	j, m := f.open()
	j.arch.every = 150
	f.grow(j, m, 12, 60)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := f.history()
	defer h.Close()
	if len(h.m.segments) < 2 || len(h.m.anchors) == 0 {
		t.Fatalf("%d segments, %d anchors", len(h.m.segments), len(h.m.anchors))
	}
	second, anchor := h.m.segments[1], h.m.anchors[0]
	for name, c := range map[string]struct {
		file  string
		whole uint64 // up to there nothing is damaged
		hurt  uint64
	}{
		"a segment": {second.name(), second.first - 1, h.Stats().Last},
		"an anchor": {anchor.name(), anchor.index - 1, anchor.index},
	} {
		t.Run(name, func(t *testing.T) {
			path := f.path(filepath.Join(archiveName, c.file))
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			is := slices.Clone(was)
			is[len(is)/2] ^= 1
			put := func(b []byte) {
				if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o400)); err != nil {
					t.Fatal(err)
				}
			}
			put(is)
			defer put(was)
			parent := t.TempDir()
			err = h.Fork(c.hurt, filepath.Join(parent, "fork"))
			if wantErr(t, err, ErrCorrupt); err != nil && !strings.Contains(err.Error(), c.file) {
				t.Errorf("it does not name %s: %v", c.file, err)
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			dir := filepath.Join(parent, "earlier")
			if err := h.Fork(c.whole, dir); err != nil {
				t.Fatal(err)
			}
			fork, err := OpenHistory(dir)
			if err != nil {
				t.Fatal(err)
			}
			fork.every = h.every
			if err := errors.Join(proven(fork, newTables()), fork.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}
