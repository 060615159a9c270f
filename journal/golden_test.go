package journal

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

var update = flag.Bool("update", false, "write the golden files that are not there yet; those that are stay as they are")

// Golden files hold the format as it was released. They are never written again, only added to.
func TestGoldenFormat(t *testing.T) {
	sealed := func(r Record) []byte {
		b, err := seal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("conf")}
	second := raft.Log{Index: 2, Term: 1, Data: sealed(putRecord("a", 1))}
	tip := link([32]byte{}, &first)
	next := link(tip, &second)
	for name, got := range map[string][]byte{
		"envelope-1": sealed(putRecord("a", 1)),
		"checkpoint-1": sealed(Record{
			Kind: kindCheckpoint, Version: 1,
			Body: []byte(`{"at":4097,"digest":"` + strings.Repeat("ab", 32) + `","records":4096,"build":"b1"}`),
		}),
		"chain-1": append(tip[:], next[:]...),
	} {
		path := filepath.Join("testdata", name+".hex")
		if *update && !exists(path) {
			if err := os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimSpace(string(want)), hex.EncodeToString(got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A journal that the first release wrote is opened, and replayed to the digest that it had then.
func TestJournalOfTheFirstRelease(t *testing.T) {
	f := newFixture(t)
	f.o.every, f.o.Build = 16, "v1"
	path := "testdata/journal-1.db.gz"
	if *update && !exists(path) {
		f.closed(40)
		b, err := os.ReadFile(f.path(dbName))
		if err != nil {
			t.Fatal(err)
		}
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		_, _ = w.Write(b)
		_ = w.Close()
		if err := os.WriteFile(path, zipped.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	zipped, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer zipped.Close()
	r, err := gzip.NewReader(zipped)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tailName, dbName} {
		_ = os.Remove(f.path(name))
	}
	if err := os.WriteFile(f.path(dbName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	j, m := f.open()
	if s := j.Stats(); s.Total != 40 || s.Health != "ok" {
		t.Errorf("stats %+v", s)
	}
	want := newTables()
	for i := range 40 {
		if _, err := want.Apply(0, kindPut, 1, putRecord(fmt.Sprintf("key-%d", i), i).Body); err != nil {
			t.Fatal(err)
		}
	}
	if want.Digest() != m.Digest() {
		t.Errorf("rows %v", m.sorted())
	}
}
