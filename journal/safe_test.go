package journal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// newer is a build that knows the kinds that this one does not.
type newer struct{ *tables }

func (n newer) Apply(index uint64, kind uint16, version uint8, body []byte) (any, error) {
	if kind == kindBroken || kind == kindPanic {
		return nil, nil
	}
	return n.tables.Apply(index, kind, version, body)
}

func TestSafeMode(t *testing.T) {
	raw := func(b []byte) func(*Journal) {
		return func(j *Journal) { _ = j.raft.Apply(b, 0).Error() }
	}
	record := func(kind uint16) func(*Journal) {
		return func(j *Journal) {
			_, err := j.Propose(context.Background(), Record{Kind: kind, Version: 1, Body: []byte("{}")})
			wantErr(t, err, ErrSafeMode)
		}
	}
	for _, c := range []struct {
		name   string
		poison func(*Journal)
		says   string
	}{
		{"a kind that this build does not know", record(kindBroken), "kind 99"},
		{"a panic", record(kindPanic), "no such row"},
		{"an own kind of a newer build", raw([]byte{magic, 1, 0, 9, 1, 0, '{', '}'}), "journal's own"},
		{"a checkpoint of a newer version", raw([]byte{magic, 1, 0, 1, 2, 0, '{', '}'}), "version 2"},
		{"an envelope of a newer version", raw([]byte{magic, 2, 0, 16, 1, 0, '{', '}'}), "version 2"},
		{"flags of a newer build", raw([]byte{magic, 1, 0, 16, 1, 4, '{', '}'}), "flags 0x4"},
		{"no envelope", raw([]byte("{}")), "envelope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			j, m := f.open()
			fill(t, j, 10)
			c.poison(j)
			check := func(j *Journal, m *tables) {
				t.Helper()
				s := j.Stats()
				if s.Health != "safe-mode" || !strings.Contains(s.Reason, c.says) {
					t.Errorf("health %s: %s", s.Health, s.Reason)
				}
				_, err := j.Propose(context.Background(), putRecord("after", 1))
				wantErr(t, err, ErrSafeMode)
				if got := len(m.sorted()); got != 10 {
					t.Errorf("%d rows, want 10", got)
				}
				// A snapshot would claim that the tables hold what was passed over.
				if err := j.raft.Snapshot().Error(); err == nil {
					t.Error("took a snapshot")
				}
			}
			check(j, m)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			j, m = f.open() // it opens, and shows what there is
			check(j, m)
			for _, err := range j.Entries(0, 0) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSafeModeEndsWithABuildThatKnows(t *testing.T) {
	f := newFixture(t)
	j, _ := f.open()
	fill(t, j, 10)
	_, err := j.Propose(context.Background(), Record{Kind: kindBroken, Version: 1, Body: []byte("{}")})
	wantErr(t, err, ErrSafeMode)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o := f.o
	o.Machine = newer{newTables()}
	j, err = Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	fill(t, j, 20)
	if s := j.Stats(); s.Health != "ok" || s.Total != 31 {
		t.Errorf("stats %+v", s)
	}
}

func TestCheckpointsProveTheReplay(t *testing.T) {
	f := newFixture(t)
	f.o.every = 16
	f.o.Build = "b1"
	j, _ := f.open()
	count := func() (n int) {
		for e, err := range j.Entries(0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if !e.Own && e.Kind == kindCheckpoint {
				n++
				if !strings.Contains(string(e.Body), `"build":"b1"`) {
					t.Errorf("checkpoint %s", e.Body)
				}
			}
		}
		return n
	}
	fill(t, j, 100)
	eventually(t, "six checkpoints", func() bool { return count() == 6 })
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, _ = f.open() // nothing is due, so nothing is recorded again
	fill(t, j, 16)
	eventually(t, "one more", func() bool { return count() == 7 })
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	h, err := OpenHistory(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	h.every = 16
	if err := proven(h, newTables()); err != nil {
		t.Error(err)
	}
	other := newTables()
	other.skew = 1
	err = h.Replay(other, 0)
	wantErr(t, err, ErrSafeMode)
	if !strings.Contains(err.Error(), "differently") || !strings.Contains(err.Error(), `"b1"`) {
		t.Errorf("it says: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}

	other = newTables()
	other.skew = 1
	j, _, err = f.with(other)
	if err != nil {
		t.Fatal(err)
	}
	if s := j.Stats(); s.Health != "safe-mode" || !strings.Contains(s.Reason, "differently") {
		t.Errorf("health %s: %s", s.Health, s.Reason)
	}
}

// A kill between the record that makes a digest due and its checkpoint: the next start records it.
func TestDueCheckpointIsRecordedByTheNextStart(t *testing.T) {
	f := newFixture(t)
	f.o.every = 1 << 30
	j, _ := f.open()
	fill(t, j, 40)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f.o.every = 16
	j, _ = f.open()
	eventually(t, "both checkpoints", func() bool {
		n := 0
		for e := range j.Entries(0, 0) {
			if e.Kind == kindCheckpoint && !e.Own {
				n++
			}
		}
		return n == 2
	})
}

// Snapshot and tail equal the replay from the first entry, wherever snapshots were taken and processes ended.
func TestSnapshotAndTailEqualTheWholeReplay(t *testing.T) {
	f := newFixture(t)
	rounds := 0
	rapid.Check(t, func(rt *rapid.T) {
		if rounds++; rounds > 25 {
			return // each draw opens journals; more of them find nothing new
		}
		f.dir = fmt.Sprintf("%s-%d", strings.TrimRight(f.dir, "-0123456789"), rounds)
		f.o.Dir, f.o.every = f.dir, 8
		var want []string
		for range rapid.IntRange(1, 3).Draw(rt, "lives") {
			j, m := f.open()
			if want != nil && !slices.Equal(want, m.sorted()) {
				rt.Fatalf("reopened with other rows: %s", cmp.Diff(want, m.sorted()))
			}
			for range rapid.IntRange(0, 4).Draw(rt, "steps") {
				n := rapid.IntRange(0, 40).Draw(rt, "records")
				for i := range n {
					r := putRecord(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key"), i)
					if _, err := j.Propose(context.Background(), r); err != nil {
						rt.Fatal(err)
					}
				}
				if rapid.Bool().Draw(rt, "snapshot") {
					if err := j.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
						rt.Fatal(err)
					}
				}
			}
			want = m.sorted()
			digest, total := m.Digest(), j.Stats().Total
			if err := j.Close(); err != nil {
				rt.Fatal(err)
			}
			h, err := OpenHistory(f.dir)
			if err != nil {
				rt.Fatal(err)
			}
			h.every = 8
			whole := newTables()
			if err := errors.Join(proven(h, whole), h.Close()); err != nil {
				rt.Fatal(err)
			}
			if whole.Digest() != digest || h.Stats().Total != total {
				rt.Fatalf("the whole replay has %d records and hashes to %x, the journal %d and %x",
					h.Stats().Total, whole.Digest(), total, digest)
			}
		}
	})
}

func TestSnapshotBoundsTheReplay(t *testing.T) {
	f := newFixture(t)
	j, _ := f.open()
	fill(t, j, 300)
	if err := j.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	at := j.Stats().Snapshot
	fill(t, j, 7)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, _ = f.open()
	if s := j.Stats(); s.Replayed != 7 || s.Total != 307 || s.Snapshot != at || at == 0 {
		t.Errorf("stats %+v, snapshot at %d", s, at)
	}
	if first := j.Stats().First; first != 1 {
		t.Errorf("the log begins at %d", first)
	}
}

// The log holds all that snapshots do, so losing one costs time and nothing else.
func TestDamagedSnapshotIsPassedOver(t *testing.T) {
	f := newFixture(t)
	j, m := f.open()
	fill(t, j, 50)
	if err := j.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	files := f.snapshots()
	b, err := os.ReadFile(files[0] + "/state.bin")
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-2] ^= 1
	if err := os.WriteFile(files[0]+"/state.bin", b, 0o600); err != nil {
		t.Fatal(err)
	}
	j2, m2 := f.open()
	if diff := cmp.Diff(m.sorted(), m2.sorted()); diff != "" {
		t.Error(diff)
	}
	if s := j2.Stats(); s.Replayed != 50 {
		t.Errorf("%d replayed, want all 50", s.Replayed)
	}
}

func (f *fixture) snapshots() []string {
	f.t.Helper()
	dirs, err := os.ReadDir(f.path(snapName))
	if err != nil || len(dirs) == 0 {
		f.t.Fatalf("snapshots: %v, %v", dirs, err)
	}
	var paths []string
	for _, d := range dirs {
		paths = append(paths, f.path(snapName)+"/"+d.Name())
	}
	return paths
}

func TestSnapshotsThatCannotBelong(t *testing.T) {
	donor := newFixture(t)
	j, _ := donor.open()
	fill(t, j, 30)
	if err := j.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("of another journal", func(t *testing.T) {
		f := newFixture(t)
		j, _ := f.open()
		for i := range 60 {
			if _, err := j.Propose(context.Background(), putRecord("other", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(f.path(snapName), os.DirFS(donor.path(snapName))); err != nil {
			t.Fatal(err)
		}
		_, _, err := f.try()
		wantErr(t, err, ErrCorrupt)
	})
	t.Run("newer than the log", func(t *testing.T) {
		f := newFixture(t)
		f.closed(3)
		if err := os.CopyFS(f.path(snapName), os.DirFS(donor.path(snapName))); err != nil {
			t.Fatal(err)
		}
		_, _, err := f.try()
		wantErr(t, err, ErrCorrupt)
	})
	t.Run("half written", func(t *testing.T) {
		f := newFixture(t)
		f.closed(3)
		if err := os.MkdirAll(f.path(snapName)+"/2-30-1.tmp", 0o700); err != nil {
			t.Fatal(err)
		}
		f.open()
		if exists(f.path(snapName) + "/2-30-1.tmp") {
			t.Error("it was left")
		}
	})
}

func TestEnvelope(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := Record{
			Kind: rapid.Uint16().Draw(rt, "kind"), Version: rapid.Byte().Draw(rt, "version"),
			Body: []byte(fmt.Sprintf("%q", hex.EncodeToString(rapid.SliceOf(rapid.Byte()).Draw(rt, "body")))),
		}
		b, err := seal(r)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := unseal(b)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			rt.Fatal(diff)
		}
		// Whatever is in the log, reading it fails or not, and never panics.
		noise := rapid.SliceOf(rapid.Byte()).Draw(rt, "noise")
		_, _ = unseal(noise)
		p := player{m: newTables(), every: 4}
		_, _ = p.apply(&raft.Log{Index: 1, Data: noise})
	})
}
