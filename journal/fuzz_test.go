package journal

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// What is read of an envelope is what a build would write again, and nothing makes it panic.
func FuzzUnseal(f *testing.F) {
	f.Add([]byte{magic, envelopeVersion, 0, kindPut, 1, 0, '{', '}'})
	f.Add([]byte{magic, 2, 0, kindPut, 1, 0, '{', '}'})
	f.Add([]byte{magic, envelopeVersion, 0xff, 0xff, 1, 8})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := unseal(b)
		if err != nil {
			return
		}
		again, err := seal(r)
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("%x is read, and written as %x", b, again)
		}
	})
}

// A line of the archive that is read is the line that would be written.
func FuzzParseLine(f *testing.F) {
	for _, l := range []*raft.Log{
		{Index: 7, Term: 2, Type: raft.LogCommand, Data: []byte{magic, 1, 0, kindPut, 1, 0, '{', '}'}, Extensions: make([]byte, 32)},
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte{1, '\n', 3}, Extensions: make([]byte, 32)},
		{Index: 1 << 60, Type: raft.LogNoop, Extensions: make([]byte, 32)},
	} {
		f.Add(appendLine(nil, l))
	}
	f.Add([]byte("1 2 3"))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, err := parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return
		}
		again, err := parseLine(bytes.TrimSuffix(appendLine(nil, l), []byte("\n")))
		if err != nil {
			t.Fatalf("%q: written again it cannot be read: %v", line, err)
		}
		if len(l.Data) == 0 {
			l.Data, again.Data = nil, nil
		}
		if diff := cmp.Diff(l, again); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	})
}

// A manifest that is read is the one that would be written, but for figures in another form.
func FuzzDecodeManifest(f *testing.F) {
	m := manifest{
		segments: []segment{{first: 1, last: 9, records: 7, bytes: 70}, {first: 10, last: 12, lost: true}},
		anchors:  []anchor{{index: 9, bytes: 3}}, skips: []skip{{index: 4, by: 6}},
	}
	f.Add(m.encode())
	f.Add([]byte("v=1\nsum=00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err != nil {
			return
		}
		if _, err := decodeManifest(m.encode()); err != nil {
			t.Errorf("%q: written again it cannot be read: %v", b, err)
		}
	})
}

// The head of a snapshot and the file tail are read without a panic.
func FuzzHeads(f *testing.F) {
	f.Add([]byte(`{"v":1,"index":3,"hash":"` + hexHash([32]byte{}) + `","records":1}` + "\n{}"))
	f.Add(tailText(9, [32]byte{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if head, _, err := readHead(bytes.NewReader(b)); err == nil && head.Version != 1 {
			t.Errorf("a head of version %d is read", head.Version)
		}
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/"+tailName, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, _ = readTail(dir)
	})
}
