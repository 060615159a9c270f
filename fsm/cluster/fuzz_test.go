package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
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
	f.Add(uint16(9999), uint8(1), []byte(`{"changes":[{}]}`))
	f.Add(KindPlaced, uint8(1), []byte(`{"changes":[{"t":"jobs","k":"x","row":{"tasks":-1}}]}`))
	f.Fuzz(func(t *testing.T, kind uint16, version uint8, body []byte) {
		w := newWorld(t, 2)
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
