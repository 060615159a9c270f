package table

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"groom/api"
)

type fruit struct {
	Name string `json:"name"`
	N    int    `json:"n,omitempty"`
}

// shop is a store with a table that keeps all and one that keeps the newest three.
type shop struct {
	store   *Store
	machine *Machine
	fruits  *Table[fruit]
	newest  *Table[fruit]
	sold    *Subset[fruit] // of both tables: those without a number
	recent  *Subset[fruit]
	index   uint64
}

const kindFruit = 16

func open() *shop {
	s := NewStore()
	fruits, newest := New[fruit](s, "fruits", 0), New[fruit](s, "newest", 3)
	return &shop{
		store: s, machine: NewMachine("shop", Kinds{kindFruit: "fruit"}, s, nil), fruits: fruits, newest: newest,
		sold: fruits.Where(isSold), recent: newest.Where(isSold),
	}
}

func isSold(f fruit) bool { return f.N == 0 }

func (s *shop) apply(t fataler, d *Draft) any {
	t.Helper()
	e := Entry{Obs: []byte(`{}`), Changes: d.Changes()}
	body, err := e.Encode()
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	s.index++
	result, err := s.machine.Apply(s.index, kindFruit, 1, body)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return result
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func (s *shop) put(t fataler, table *Table[fruit], names ...string) {
	t.Helper()
	for _, name := range names {
		d := NewDraft()
		Put(d, table, name, fruit{Name: name})
		s.apply(t, d)
	}
}

// A draft sees what it has changed itself, and leaves one change for each row.
func TestDraft(t *testing.T) {
	s := open()
	s.put(t, s.fruits, "apple", "pear")
	d := NewDraft()
	Put(d, s.fruits, "apple", fruit{"apple", 1})
	Put(d, s.fruits, "apple", fruit{"apple", 2})
	Put(d, s.fruits, "plum", fruit{"plum", 1})
	Delete(d, s.fruits, "pear")
	Delete(d, s.fruits, "nothing")
	Put(d, s.fruits, "fig", fruit{"fig", 1})
	Delete(d, s.fruits, "plum") // put by this draft: nothing is left of it
	if got, _ := Get(d, s.fruits, "apple"); got.N != 2 {
		t.Errorf("the draft sees %+v", got)
	}
	if _, ok := Get(d, s.fruits, "pear"); ok {
		t.Error("the draft sees a row that it deleted")
	}
	if _, ok := s.fruits.Get("fig"); ok {
		t.Error("the table has a row before the entry was applied")
	}
	Put(d, s.fruits, "fig", fruit{"fig", 3}) // its change has moved
	want := []Change{
		{"fruits", "apple", 1, []byte(`{"name":"apple","n":2}`)},
		{"fruits", "pear", 1, nil},
		{"fruits", "fig", 0, []byte(`{"name":"fig","n":3}`)},
	}
	if diff := cmp.Diff(want, d.Changes()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	s.apply(t, d)
	got := maps.Collect(s.fruits.All())
	if diff := cmp.Diff(map[string]fruit{"apple": {"apple", 2}, "fig": {"fig", 3}}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if s.fruits.Rev("apple") != 2 || s.fruits.Index("apple") != 3 || s.fruits.Rev("pear") != 0 || s.fruits.Index("pear") != 0 {
		t.Errorf("apple at revision %d of entry %d", s.fruits.Rev("apple"), s.fruits.Index("apple"))
	}
}

func TestApplyRefuses(t *testing.T) {
	cases := []struct {
		name    string
		kind    uint16
		version uint8
		body    string
		stale   bool
		err     string
	}{
		{"a kind from the future", 99, 1, `{}`, false, "kind 99 version 1"},
		{"a version from the future", kindFruit, 2, `{}`, false, "kind 16 version 2"},
		{"no JSON", kindFruit, 1, `{`, false, "decode entry"},
		{"an unknown table", kindFruit, 1, `{"changes":[{"t":"roots","k":"x"}]}`, false, `table "roots"`},
		{"a row of another shape", kindFruit, 1, `{"changes":[{"t":"fruits","k":"fig","row":{"n":"many"}}]}`, false, "row fruits/fig"},
		{"a good change before a bad one", kindFruit, 1, `{"changes":[{"t":"fruits","k":"fig","row":{}},{"t":"fruits","k":"x","row":[]}]}`, false, "row fruits/x"},
		{"an older revision", kindFruit, 1, `{"changes":[{"t":"fruits","k":"fig","row":{}},{"t":"fruits","k":"apple","row":{}}]}`, true, ""},
		{"a row that is not there any more", kindFruit, 1, `{"changes":[{"t":"fruits","k":"fig","rev":1}]}`, true, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open()
			s.put(t, s.fruits, "apple")
			before := s.machine.Digest()
			result, err := s.machine.Apply(2, c.kind, c.version, []byte(c.body))
			if _, stale := result.(*Stale); stale != c.stale {
				t.Errorf("result %v", result)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if s.machine.Digest() != before || s.fruits.Len() != 1 {
				t.Error("the tables changed")
			}
		})
	}
}

// What is watched is what was applied, and nothing else.
func TestWatch(t *testing.T) {
	var seen []uint64
	s := NewStore()
	fruits := New[fruit](s, "fruits", 0)
	m := NewMachine("shop", Kinds{kindFruit: "fruit"}, s, func(index uint64, _ uint16, _ *Entry) { seen = append(seen, index) })
	d := NewDraft()
	Put(d, fruits, "fig", fruit{"fig", 1})
	e := Entry{Now: api.Moment{}, Obs: []byte(`{}`), Changes: d.Changes()}
	body, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for index := range uint64(3) {
		if _, err := m.Apply(index+1, kindFruit, 1, body); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(seen, []uint64{1}) {
		t.Errorf("saw %v, want the first, which the others are stale after", seen)
	}
	if m.Name() != "shop" || m.KindName(kindFruit) != "fruit" || m.KindName(1) != "" {
		t.Error("names")
	}
}

// A table with a window forgets what was changed longest ago.
func TestWindow(t *testing.T) {
	s := open()
	s.put(t, s.newest, "apple", "pear", "plum", "apple") // apple is the newest again
	d := NewDraft()
	Put(d, s.newest, "pear", fruit{"pear", 1})
	s.apply(t, d)
	d = NewDraft()
	Put(d, s.newest, "fig", fruit{"fig", 1})
	s.apply(t, d)
	var order []string
	for key := range s.newest.ByIndex() {
		order = append(order, key)
	}
	if diff := cmp.Diff([]string{"apple", "pear", "fig"}, order); diff != "" {
		t.Errorf("rows by age (-want +got):\n%s", diff)
	}
}

func (s *shop) snapshot(t fataler) []byte {
	t.Helper()
	snap, err := s.machine.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	var b bytes.Buffer
	if n, err := snap.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("write %d of %d bytes: %v", n, b.Len(), err)
	}
	return b.Bytes()
}

// A snapshot is of the moment it was taken at, not of that at which it is written.
func TestSnapshotIsFrozen(t *testing.T) {
	s := open()
	s.put(t, s.fruits, "apple")
	snap, err := s.machine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	then := s.machine.Digest()
	s.put(t, s.fruits, "pear")
	var b bytes.Buffer
	if _, err := snap.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	other := open()
	if err := other.machine.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if other.machine.Digest() != then || other.fruits.Len() != 1 {
		t.Errorf("restored %d rows", other.fruits.Len())
	}
}

// A snapshot that cannot be read back whole changes nothing.
func TestRestoreRefuses(t *testing.T) {
	s := open()
	s.put(t, s.fruits, "apple", "pear")
	good := s.snapshot(t)
	altered := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrSnapshot},
		{"cut", good[:len(good)-10], ErrSnapshot},
		{"a row altered", altered(`{"name":"pear"}`, `{"name":"bear"}`), ErrSnapshot},
		{"a revision altered", altered(`"rev":1`, `"rev":2`), ErrSnapshot},
		{"a row left out", altered(`"rows":2`, `"rows":1`), ErrSnapshot},
		{"a version from the future", altered(`"v":1`, `"v":2`), nil},
		{"a table from the future", altered(`"t":"fruits"`, `"t":"roots"`), nil},
		{"a row of another shape", altered(`{"name":"pear"}`, `{"name":7}`), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := open()
			other.put(t, other.fruits, "fig")
			before := other.machine.Digest()
			err := other.machine.Restore(bytes.NewReader(c.b))
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
			if _, ok := other.fruits.Get("fig"); !ok || other.machine.Digest() != before {
				t.Error("the rows are not what they were")
			}
		})
	}
}

// Rows keep fields of a newer build: the digest is over what the entry said, not over what this build understands.
func TestDigestCoversUnknownFields(t *testing.T) {
	digests := map[[32]byte]bool{}
	for _, row := range []string{`{"name":"fig"}`, `{"name":"fig","taste":"sweet"}`} {
		s := open()
		if _, err := s.machine.Apply(1, kindFruit, 1, fmt.Appendf(nil, `{"changes":[{"t":"fruits","k":"fig","row":%s}]}`, row)); err != nil {
			t.Fatal(err)
		}
		digests[s.machine.Digest()] = true
		if !bytes.Contains(s.snapshot(t), []byte(row)) || !bytes.Contains(s.machine.StateJSON(), []byte(row)) {
			t.Errorf("%s is not kept", row)
		}
	}
	if len(digests) != 2 {
		t.Error("the digest passes the unknown field over")
	}
}

// walked fails unless a table and its subset yield the rows that are there, in the order of their keys.
func walked(t fataler, table *Table[fruit], subset *Subset[fruit]) {
	t.Helper()
	var some []string
	want := slices.Sorted(maps.Keys(table.rows))
	for _, key := range want {
		if isSold(table.rows[key].value) {
			some = append(some, key)
		}
	}
	if got := slices.Collect(keysOf(table.All())); !slices.Equal(got, want) {
		t.Fatalf("walked %q, the table has %q", got, want)
	}
	if got := slices.Collect(keysOf(subset.All())); !slices.Equal(got, some) {
		t.Fatalf("walked %q, the subset has %q", got, some)
	}
}

func keysOf(rows iter.Seq2[string, fruit]) iter.Seq[string] {
	return func(yield func(string) bool) {
		for key := range rows {
			if !yield(key) {
				return
			}
		}
	}
}

// Whatever is put and deleted, in whatever order: a digest depends on the rows alone, and a snapshot carries all of
// them, also the order in which a window forgets.
func TestRandomChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, other := open(), open()
		for range rapid.IntRange(0, 30).Draw(t, "entries") {
			d := NewDraft()
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				table := rapid.SampledFrom([]*Table[fruit]{s.fruits, s.newest}).Draw(t, "table")
				key := rapid.SampledFrom([]string{"apple", "pear", "plum", "fig", "a \"quoted\" <one>\u2028"}).Draw(t, "key")
				if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
					Delete(d, table, key)
				} else {
					Put(d, table, key, fruit{key, rapid.IntRange(0, 3).Draw(t, "n")})
				}
			}
			if result := s.apply(t, d); result != nil {
				t.Fatalf("refused: %v", result)
			}
			other.index = s.index - 1
			other.apply(t, d)
			if s.newest.Len() > 3 {
				t.Fatalf("%d rows in a window of 3", s.newest.Len())
			}
			for _, x := range []*shop{s, other} {
				walked(t, x.fruits, x.sold)
				walked(t, x.newest, x.recent)
			}
			if rapid.IntRange(0, 4).Draw(t, "restore") > 0 {
				continue
			}
			// The other one goes on from a snapshot.
			other = open()
			if err := other.machine.Restore(bytes.NewReader(s.snapshot(t))); err != nil {
				t.Fatal(err)
			}
			for key := range s.fruits.All() {
				if s.fruits.Rev(key) != other.fruits.Rev(key) || s.fruits.Index(key) != other.fruits.Index(key) {
					t.Fatalf("%s has another revision, or another entry", key)
				}
			}
		}
		if s.machine.Digest() != other.machine.Digest() || string(s.machine.StateJSON()) != string(other.machine.StateJSON()) {
			t.Fatalf("they differ:\n%s\n%s", s.machine.StateJSON(), other.machine.StateJSON())
		}
		empty := NewDraft()
		for key := range s.fruits.All() {
			Delete(empty, s.fruits, key)
		}
		for key := range s.newest.All() {
			Delete(empty, s.newest, key)
		}
		s.apply(t, empty)
		if s.machine.Digest() != [32]byte{} {
			t.Fatal("no row is left, and the digest is not that of nothing")
		}
	})
}

// View keeps entries from being applied meanwhile.
func TestViewHoldsOffApply(t *testing.T) {
	s := open()
	s.put(t, s.fruits, "apple")
	applied := make(chan struct{})
	s.machine.View(func() {
		go func() {
			s.put(t, s.fruits, "pear")
			close(applied)
		}()
		if s.fruits.Len() != 1 {
			t.Error("an entry was applied within a view")
		}
	})
	<-applied
	if s.fruits.Len() != 2 {
		t.Error("the entry was lost")
	}
}
