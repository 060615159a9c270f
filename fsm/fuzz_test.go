package fsm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"groom/fsm/table"
)

// Apply is total: whatever stands in an entry, it is applied, refused, or told to be none, and an entry that was not
// applied changed nothing. What was applied survives a snapshot, digest by digest.
func FuzzApply(f *testing.F) {
	for kind, name := range Kinds() {
		body, err := os.ReadFile(filepath.Join("testdata", name+".v1.json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, uint8(1), body)
	}
	f.Add(KindBooted, uint8(2), []byte(`{}`))
	f.Add(uint16(9999), uint8(1), []byte(`{}`))
	for _, body := range []string{
		``, `null`, `[]`, `{"changes":[{}]}`, `{"changes":[{"t":"tasks","k":"x"}]}`,
		`{"changes":[{"t":"tasks","k":"x","row":null}]}`, `{"changes":[{"t":"tasks","k":"x","row": { "id" : "y" } }]}`,
		`{"changes":[{"t":"tasks","k":"x","row":{"since":{"wall":"never"}}}]}`,
		`{"changes":[{"t":"dirs","k":"x","row":{}},{"t":"dirs","k":"x"},{"t":"nowhere","k":"x"}]}`,
		`{"changes":[{"t":"dirs","k":"x","row":{}},{"t":"dirs","k":"x","row":{"ok":true}}]}`,
		`{"changes":[{"t":"directives","k":"x","row":{}},{"t":"directives","k":"x"}]}`,
		"{\"changes\":[{\"t\":\"dirs\",\"k\":\"\xff\",\"row\":{\"reason\":\"\xff\"}}]}",
	} {
		f.Add(KindDir, uint8(1), []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind uint16, version uint8, body []byte) {
		w := newWorld(t)
		w.must(t, plain(3, 0), due(0))
		before, rows := w.machine.Digest(), w.machine.StateJSON()
		result, err := w.machine.Apply(99, kind, version, body)
		if err != nil || result != nil {
			if w.machine.Digest() != before || !bytes.Equal(rows, w.machine.StateJSON()) {
				t.Fatalf("not applied (%v, %v), and changed the tables", result, err)
			}
			return
		}
		snap, err := w.machine.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := snap.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		other := NewMachine(NewState(), nil)
		if err := other.Restore(&b); err != nil || other.Digest() != w.machine.Digest() {
			t.Fatalf("restore: %v", err)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(`{"now":{"wall":"2026-11-24T09:15:00Z","boot":1},"obs":{},"because":"","changes":[]}`))
	f.Add([]byte(`{"obs":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := table.DecodeEntry(body)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil {
			return // a time beyond what JSON can tell, or no observation at all
		}
		if _, err := table.DecodeEntry(again); err != nil {
			t.Fatalf("%q was read, %q is not: %v", body, again, err)
		}
	})
}

// Restore is total too: a snapshot that was altered or cut is refused, and leaves the tables as they were.
func FuzzRestore(f *testing.F) {
	w := newWorld(f)
	w.must(f, plain(3, 0), due(0))
	snap, err := w.machine.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	var good bytes.Buffer
	if _, err := snap.WriteTo(&good); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:good.Len()/2])
	f.Add(bytes.Replace(good.Bytes(), []byte("pending"), []byte("running"), 1))
	f.Add([]byte(`{"v":1,"rows":-1,"digest":""}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := NewMachine(NewState(), nil)
		if err := m.Restore(bytes.NewReader(b)); err != nil && m.Digest() != [32]byte{} {
			t.Fatalf("refused (%v), and changed the tables", err)
		}
	})
}
