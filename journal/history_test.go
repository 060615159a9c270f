package journal

import (
	"bytes"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHistoryReplaysToAnyEntry(t *testing.T) {
	f := newFixture(t)
	j, m := f.open()
	var digests [][32]byte
	var at []uint64
	for i := range 20 {
		fill(t, j, i+1)
		at = append(at, j.Stats().Last)
		digests = append(digests, m.Digest())
	}
	stats := j.Stats()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHistory(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for i, index := range at {
		m := newTables()
		if err := h.Replay(m, index); err != nil {
			t.Fatal(err)
		}
		if m.Digest() != digests[i] {
			t.Errorf("after entry %d the tables are others than they were", index)
		}
	}
	s := h.Stats()
	if s.First != 1 || s.Last != stats.Last || s.Total != stats.Total || s.ChainTip != stats.ChainTip || s.FileBytes == 0 {
		t.Errorf("history %+v, journal %+v", s, stats)
	}
	var got []uint64
	for e, err := range h.Entries(7, 9) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Index)
	}
	if diff := cmp.Diff([]uint64{7, 8, 9}, got); diff != "" {
		t.Error(diff)
	}
	for range h.Entries(0, 0) {
		break
	}
}

func TestHistoryOfNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenHistory(dir)
	wantErr(t, err, fs.ErrNotExist)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestHistoryChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.closed(20)
	before, err := os.ReadFile(f.path(dbName))
	if err != nil {
		t.Fatal(err)
	}
	h, err := OpenHistory(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := proven(h, newTables()); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(f.path(dbName))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the file has changed")
	}
}
