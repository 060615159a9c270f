package journal

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

func TestRebuild(t *testing.T) {
	remove := func(names ...string) func(*testing.T, *fixture) {
		return func(t *testing.T, f *fixture) {
			for _, name := range names {
				if err := os.RemoveAll(f.path(name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	mirror := func(f *fixture) string {
		paths, _, err := mirrors(f.dir)
		if err != nil || len(paths) == 0 {
			f.t.Fatal(paths, err)
		}
		return paths[len(paths)-1]
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, f *fixture)
		whole  bool // the tables are what they were
		says   string
	}{
		{"the log is gone", remove(dbName), true, "nothing that is known of is lost"},
		{"the log and the tail are gone", remove(dbName, tailName), true, "nothing that is known of is lost"},
		{"the log and all snapshots are gone", remove(dbName, snapName), true, "nothing that is known of is lost"},
		{"the log is cut", func(t *testing.T, f *fixture) {
			if err := os.Truncate(f.path(dbName), 20<<10); err != nil {
				t.Fatal(err)
			}
		}, true, "kept as raft.db.damaged-1"},
		{"the log is noise", func(t *testing.T, f *fixture) {
			if err := os.WriteFile(f.path(dbName), bytes.Repeat([]byte("noise"), 10000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true, "kept as raft.db.damaged-1"},
		{"a digit in the log", func(t *testing.T, f *fixture) {
			h := f.history()
			last := h.Stats().Last
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			f.edit(func(logs *bbolt.Bucket) error {
				v := bytes.Clone(logs.Get(key(last - 1)))
				v[len(v)/2] ^= 1
				return logs.Put(key(last-1), v)
			})
		}, true, "nothing that is known of is lost"},
		{"log and mirror are gone", func(t *testing.T, f *fixture) {
			paths, _, _ := mirrors(f.dir)
			remove(dbName)(t, f)
			for _, p := range paths {
				if err := os.Remove(p); err != nil {
					t.Fatal(err)
				}
			}
		}, false, "are lost: the tables are those of entry"},
		{"the log is gone, the mirror's end as well", func(t *testing.T, f *fixture) {
			remove(dbName)(t, f)
			shorten(t, mirror(f), 500)
		}, false, "are lost: the tables are those of entry"},
		{"log and archive are gone", remove(dbName, archiveName), false, "but a snapshot holds what came of them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := small(t)
			j, m := f.open()
			f.grow(j, m, 4, 60)
			fill(t, j, 7)
			still(t, j)
			last := j.Stats().Last
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			old, _ := os.ReadFile(f.path(dbName))
			c.damage(t, f)
			bad, readErr := os.ReadFile(f.path(dbName))
			_, _, err := f.try()
			wantErr(t, err, ErrCorrupt)
			if !strings.Contains(err.Error(), "groom journal rebuild") {
				t.Errorf("it says: %v", err)
			}
			r, err := Rebuild(f.dir, "b2", nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(r.String(), c.says) {
				t.Errorf("it says: %s", r)
			}
			if c.whole != (r.Last == last) {
				t.Errorf("%s; the journal ended at %d", r, last)
			}
			if readErr == nil {
				if kept, err := os.ReadFile(f.path(r.Aside)); err != nil || !bytes.Equal(kept, bad) {
					t.Errorf("the old file is not what it was: %v", err)
				}
			} else if r.Aside != "" || len(old) == 0 {
				t.Errorf("aside: %q", r.Aside)
			}
			j2, m2 := f.open()
			if c.whole {
				if diff := cmp.Diff(m.sorted(), m2.sorted()); diff != "" {
					t.Error(diff)
				}
			}
			f.grow(j2, m2, 2, 60)
			if err := j2.Close(); err != nil {
				t.Fatal(err)
			}
			h := f.history()
			if c.whole {
				if err := proven(h, newTables()); err != nil {
					t.Error(err)
				}
			}
			v, err := h.Verify(VerifyOptions{Machine: func() Machine { return newTables() }})
			if err := errors.Join(err, v.Err()); err != nil {
				t.Error(err)
			}
			if hole := r.Hole != [2]uint64{}; hole != (len(v.Notes) > 0) {
				t.Errorf("notes: %v", v.Notes)
			}
			said := false
			for e, err := range h.Entries(r.Last+1, r.Last+1) {
				said = err == nil && e.Kind == kindRebuilt && strings.Contains(string(e.Body), `"build":"b2"`)
			}
			if !said {
				t.Error("no entry tells of the rebuild")
			}
		})
	}
}

func TestRebuildOfNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := Rebuild(dir, "", nil)
	wantErr(t, err, ErrMissing)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestRebuildOfALivingJournalIsRefused(t *testing.T) {
	f := newFixture(t)
	f.open()
	_, err := Rebuild(f.dir, "", nil)
	wantErr(t, err, ErrInUse)
}

// A journal that has not lived to its first anchor, whose log has been shortened, starts without any snapshot.
func TestOpenWithoutSnapshotsBeforeTheFirstAnchor(t *testing.T) {
	f := small(t)
	j, m := f.open()
	f.grow(j, m, 4, 60)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := f.history()
	if h.Stats().Anchors > 0 || h.Stats().LogFirst == 1 {
		t.Fatalf("%+v", h.Stats())
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(f.path(snapName)); err != nil {
		t.Fatal(err)
	}
	_, again := f.open()
	if diff := cmp.Diff(m.sorted(), again.sorted()); diff != "" {
		t.Error(diff)
	}
}

// The mirror may be what is damaged. A start looks at its end alone, so after a rebuild it has to be written anew.
func TestRebuildHasADamagedMirrorWrittenAnew(t *testing.T) {
	f := newFixture(t)
	f.closed(40)
	paths, _, err := mirrors(f.dir)
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[0], bytes.Replace(b, []byte(`"v":`), []byte(`"w":`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	found := func() error {
		h, err := OpenHistory(f.dir)
		if err != nil {
			return err
		}
		return errors.Join(proven(h, newTables()), h.Close())
	}
	wantErr(t, found(), ErrCorrupt)
	if _, err := Rebuild(f.dir, "", nil); err != nil {
		t.Fatal(err)
	}
	f.closed(1)
	if err := found(); err != nil {
		t.Error(err)
	}
	if paths, _, err := mirrors(f.dir); err != nil || len(paths) != 1 {
		t.Errorf("mirror: %v, %v", paths, err)
	}
}
