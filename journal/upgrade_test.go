package journal

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// pack puts a directory into a file, and unpack takes it out again.
func pack(t *testing.T, dir, path string) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(out, gzip.BestCompression)
	w := tar.NewWriter(z)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), z.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, path, dir string) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(name, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, fs.FileMode(h.Mode)|0o600))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The directory of a journal of each release, with its archive, its mirror, snapshots, and an override, is proven,
// replays to the digest that it had then, and is gone on with. They are only added to.
func TestJournalsOfEachRelease(t *testing.T) {
	const newest = "testdata/release-1.tar.gz"
	if *update && !exists(newest) {
		writeRelease(t, newest)
	}
	all, err := filepath.Glob("testdata/release-*.tar.gz")
	if err != nil || len(all) == 0 {
		t.Fatalf("no releases, %v", err)
	}
	for _, path := range all {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := small(t)
			unpack(t, path, f.dir)
			digest, err := os.ReadFile(f.path("digest"))
			if err != nil || os.Remove(f.path("digest")) != nil {
				t.Fatal(err)
			}
			h, m := f.history(), newTables()
			s := h.Stats()
			if s.Segments == 0 || s.Anchors == 0 || s.LogFirst == 1 || len(h.skips) == 0 {
				t.Fatalf("it lacks something: %+v", s)
			}
			if err := errors.Join(proven(h, newTables()), h.Replay(m, 0), h.Close()); err != nil {
				t.Fatal(err)
			}
			sum := m.Digest()
			if got := hex.EncodeToString(sum[:]); got != strings.TrimSpace(string(digest)) {
				t.Errorf("the tables hash to %s, and did to %s", got, digest)
			}
			j, m := f.open()
			if m.Digest() != sum {
				t.Error("opened, the tables are others")
			}
			f.grow(j, m, 2, 40)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			h = f.history()
			if err := proven(h, newTables()); err != nil {
				t.Error(err)
			}
		})
	}
}

func writeRelease(t *testing.T, path string) {
	t.Helper()
	f := small(t)
	j, m := f.open()
	j.arch.every = 100
	f.grow(j, m, 3, 60)
	if _, err := j.Propose(t.Context(), Record{Kind: kindBroken, Version: 1, Body: []byte("{}")}); !errors.Is(err, ErrSafeMode) {
		t.Fatal(err)
	}
	if err := errors.Join(j.Skip(t.Context(), j.Stats().Last, "operator", "of a build that was withdrawn"), j.Close()); err != nil {
		t.Fatal(err)
	}
	j, m = f.open()
	j.arch.every = 100
	f.grow(j, m, 3, 60)
	fill(t, j, 7)
	still(t, j)
	digest := m.Digest()
	if err := errors.Join(j.Close(), os.Remove(f.path(reserveName)), os.WriteFile(f.path("digest"), fmt.Appendf(nil, "%x\n", digest), 0o600)); err != nil {
		t.Fatal(err)
	}
	pack(t, f.dir, path)
}

// What a newer build may have written is refused, and told apart from damage where that can be known.
func TestNewerFormatsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, f *fixture)
		words  string
	}{
		"a manifest": {func(t *testing.T, f *fixture) {
			b, err := os.ReadFile(f.path(archiveName + "/" + manifestName))
			if err != nil {
				t.Fatal(err)
			}
			text := "v=2\n" + string(b[len(versionLine):])
			text = text[:strings.LastIndex(text, "sum=")]
			text += fmt.Sprintf(sumLine, sha256.Sum256([]byte(text)))
			if err := os.WriteFile(f.path(archiveName+"/"+manifestName), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "version 1, which this build reads"},
		"an envelope":                 {func(t *testing.T, f *fixture) { f.append(t, []byte{magic, 2, 0, kindPut, 1, 0, '{', '}'}) }, "envelope is of version 2"},
		"flags":                       {func(t *testing.T, f *fixture) { f.append(t, []byte{magic, 1, 0, kindPut, 1, 4, '{', '}'}) }, "flags 0x4"},
		"a kind":                      {func(t *testing.T, f *fixture) { f.append(t, []byte{magic, 1, 0, kindBroken, 1, 0, '{', '}'}) }, "kind 99"},
		"a kind of the journal's own": {func(t *testing.T, f *fixture) { f.append(t, []byte{magic, 1, 0, 9, 1, 0, '{', '}'}) }, "which this build does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			f := small(t)
			j, m := f.open()
			f.grow(j, m, 3, 60)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			c.change(t, f)
			j, _, err := f.try()
			words := fmt.Sprint(err)
			if err == nil {
				s := j.Stats()
				if s.Health != healthSafe {
					t.Errorf("health %s", s.Health)
				}
				words = s.Reason
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(words, c.words) {
				t.Errorf("it says %q", words)
			}
		})
	}
}

// append adds an entry as another build would have.
func (f *fixture) append(t *testing.T, data []byte) {
	t.Helper()
	db, err := openStore(f.path(dbName))
	if err != nil {
		t.Fatal(err)
	}
	last, err := db.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	var before raft.Log
	if err := db.GetLog(last, &before); err != nil {
		t.Fatal(err)
	}
	l := &raft.Log{Index: last + 1, Term: before.Term, Type: raft.LogCommand, Data: data}
	hash := link([32]byte(before.Extensions), l)
	l.Extensions = hash[:]
	if err := errors.Join(db.StoreLog(l), db.Close()); err != nil {
		t.Fatal(err)
	}
}
