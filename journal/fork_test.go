package journal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
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
