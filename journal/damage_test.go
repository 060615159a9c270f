package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// closed makes a journal with n records and closes it.
func (f *fixture) closed(n int) []string {
	f.t.Helper()
	j, m := f.open()
	fill(f.t, j, n)
	if err := j.Close(); err != nil {
		f.t.Fatal(err)
	}
	return m.sorted()
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// edit changes the log as an intruder would, through bbolt.
func (f *fixture) edit(change func(logs *bbolt.Bucket) error) {
	f.t.Helper()
	db, err := bbolt.Open(f.path(dbName), 0o600, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(logsBucket)) }); err != nil {
		f.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		f.t.Fatal(err)
	}
}

func key(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

func TestAlteredJournalIsRefused(t *testing.T) {
	const n = 40
	last := func(logs *bbolt.Bucket) uint64 {
		k, _ := logs.Cursor().Last()
		return binary.BigEndian.Uint64(k)
	}
	for _, c := range []struct {
		name   string
		change func(logs *bbolt.Bucket) error
		says   string
	}{
		{"a digit in a body", func(logs *bbolt.Bucket) error {
			v := bytes.Replace(logs.Get(key(20)), []byte(`"v":`), []byte(`"v":1`), 1)
			v = bytes.Replace(v, []byte(`"v":11`), []byte(`"v":2`), 1)
			return logs.Put(key(20), v)
		}, "entry 20"},
		{"one entry in place of another", func(logs *bbolt.Bucket) error {
			return logs.Put(key(21), bytes.Clone(logs.Get(key(22))))
		}, "entry 21"},
		{"an entry that is gone", func(logs *bbolt.Bucket) error { return logs.Delete(key(22)) }, "entry 23 follows entry 21"},
		{"the first entry is gone", func(logs *bbolt.Bucket) error { return logs.Delete(key(1)) }, "entry 2"},
		{"the newest entries are gone", func(logs *bbolt.Bucket) error {
			end := last(logs)
			for i := range uint64(3) {
				if err := logs.Delete(key(end - i)); err != nil {
					return err
				}
			}
			return nil
		}, "once held entry"},
		{"all entries are gone", func(logs *bbolt.Bucket) error {
			for i := last(logs); i > 0; i-- {
				if err := logs.Delete(key(i)); err != nil {
					return err
				}
			}
			return nil
		}, "empty"},
		{"noise in place of an entry", func(logs *bbolt.Bucket) error { return logs.Put(key(9), []byte{0xff, 1}) }, "entry 9"},
		{"a key that is no index", func(logs *bbolt.Bucket) error { return logs.Put([]byte("k"), []byte("v")) }, "key of 1 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.closed(n)
			f.edit(c.change)
			_, _, err := f.try()
			wantErr(t, err, ErrCorrupt)
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("it says: %v", err)
			}
			h, err := OpenHistory(f.dir)
			if err != nil {
				wantErr(t, err, ErrCorrupt)
				return
			}
			defer h.Close()
			if c.says != "empty" { // an empty history proves nothing, and is caught by the tail
				wantErr(t, proven(h, newTables()), ErrCorrupt)
			}
		})
	}
}

func TestAnyFlippedBitIsFoundOrHarmless(t *testing.T) {
	f := newFixture(t)
	f.o.every = 16
	want := f.closed(60)
	whole, err := os.ReadFile(f.path(dbName))
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	found := 0
	for i := range 240 {
		b := bytes.Clone(whole)
		at, bit := rnd.IntN(len(b)), rnd.IntN(8)
		b[at] ^= 1 << bit
		what := fmt.Sprintf("bit %d of byte %d (seed %d)", bit, at, seed)
		if err := os.WriteFile(f.path(dbName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		m := newTables()
		err := func() error {
			h, err := OpenHistory(f.dir)
			if err != nil {
				return err
			}
			defer h.Close()
			h.every = 16
			return proven(h, m)
		}()
		if err == nil {
			if diff := cmp.Diff(want, m.sorted()); diff != "" {
				t.Fatalf("%s: not found, and changes the tables:\n%s", what, diff)
			}
		} else {
			found++
		}
		if i%8 != 0 {
			continue
		}
		// A start finds the same, or nothing, and never panics.
		j, m, err := f.try()
		if err != nil {
			continue
		}
		if diff := cmp.Diff(want, m.sorted()); diff != "" {
			t.Fatalf("%s: opened, with other tables:\n%s", what, diff)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{tailName, dbName} {
			if err := os.Remove(f.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d of 240 flips were found, the others hit bytes that mean nothing", found)
	if found == 0 {
		t.Error("no flip was found")
	}
}

func TestTermOlderThanTheLogIsRefused(t *testing.T) {
	f := newFixture(t)
	f.closed(5)
	f.edit(func(logs *bbolt.Bucket) error {
		return logs.Tx().Bucket(confBucket).Put([]byte("CurrentTerm"), key(1))
	})
	_, _, err := f.try()
	wantErr(t, err, ErrCorrupt)
}

func TestTruncatedFileIsRefused(t *testing.T) {
	f := newFixture(t)
	f.closed(200)
	whole, err := os.ReadFile(f.path(dbName))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 100, 4096, 5000, 8192, 16384, len(whole) / 2} {
		if err := os.WriteFile(f.path(dbName), whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := f.try()
		wantErr(t, err, ErrCorrupt)
		h, err := OpenHistory(f.dir) // the mirror stands in
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, proven(h, newTables()), ErrCorrupt)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingLogIsNotStartedAnew(t *testing.T) {
	f := newFixture(t)
	f.closed(5)
	if err := os.Remove(f.path(dbName)); err != nil {
		t.Fatal(err)
	}
	_, _, err := f.try()
	wantErr(t, err, ErrCorrupt)
}

func TestNonsenseInTheTailFile(t *testing.T) {
	f := newFixture(t)
	f.closed(5)
	if err := os.WriteFile(f.path(tailName), []byte("v=9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := f.try()
	wantErr(t, err, ErrCorrupt)
}

func TestTailOfAnotherJournal(t *testing.T) {
	f, g := newFixture(t), newFixture(t)
	f.closed(50)
	g.closed(5)
	b, err := os.ReadFile(g.path(tailName))
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	if _, err := fmt.Sscanf(string(b), "v=1 last=%d", &last); err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, fmt.Appendf(nil, "last=%d ", last), []byte("last=20 "), 1)
	if err := os.WriteFile(f.path(tailName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = f.try()
	wantErr(t, err, ErrCorrupt)
}

// asNobody calls f without the rights of root, on this thread alone.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, err := unix.SetfsuidRetUid(65534)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.SetfsuidRetUid(old) }()
	f()
}

func TestReadOnlyJournal(t *testing.T) {
	f := newFixture(t)
	f.closed(5)
	for _, dir := range []string{filepath.Dir(filepath.Dir(f.dir)), filepath.Dir(f.dir), f.dir, f.path(archiveName), f.path(archiveName + "/" + mirrorName(1))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(f.path(dbName), 0o444); err != nil {
		t.Fatal(err)
	}
	o := f.o
	o.Machine = newTables()
	asNobody(t, func() {
		_, err := Open(context.Background(), o)
		wantErr(t, err, os.ErrPermission)
		h, err := OpenHistory(f.dir) // reading needs no more than the right to read
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := proven(h, newTables()); err != nil && !strings.Contains(err.Error(), "permission") {
			t.Error(err)
		}
	})
}

// An altered entry is not shown as if it were whole, also when nothing else is read.
func TestAlteredEntryAloneIsRefused(t *testing.T) {
	f := newFixture(t)
	f.closed(40)
	f.edit(func(logs *bbolt.Bucket) error {
		return logs.Put(key(20), bytes.Replace(logs.Get(key(20)), []byte(`"v":`), []byte(`"w":`), 1))
	})
	h, err := OpenHistory(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for index, want := range map[uint64]error{1: nil, 19: nil, 20: ErrCorrupt, 21: nil, 40: nil} {
		for _, err := range h.Entries(index, index) {
			if !errors.Is(err, want) {
				t.Errorf("entry %d: %v", index, err)
			}
		}
	}
}

// Entries behind one that was altered are still there, and not told as gone.
func TestVerifyTellsAnAlteredEntryOnce(t *testing.T) {
	f := newFixture(t)
	f.closed(40)
	f.edit(func(logs *bbolt.Bucket) error {
		return logs.Put(key(20), bytes.Replace(logs.Get(key(20)), []byte(`"v":`), []byte(`"w":`), 1))
	})
	h, err := OpenHistory(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r, err := h.Verify(VerifyOptions{Machine: func() Machine { return newTables() }})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Index != 20 {
		t.Errorf("%v, found %v", err, r.Findings)
	}
}
