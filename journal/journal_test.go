package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProposeThenReopen(t *testing.T) {
	f := newFixture(t)
	j, m := f.open()
	r, err := j.Propose(context.Background(), putRecord("a", 1))
	if err != nil {
		t.Fatal(err)
	}
	if r.Result != 1 || r.Index == 0 {
		t.Errorf("receipt %+v", r)
	}
	r, err = j.Propose(context.Background(), putRecord("a", 1))
	if _, ok := r.Result.(*stale); err != nil || !ok {
		t.Errorf("a refusal comes back as %v, %v", r.Result, err)
	}
	s := j.Stats()
	if s.Health != "ok" || s.Total != 2 || s.Records != 2 || s.Last < r.Index || s.Applied != r.Index {
		t.Errorf("stats %+v", s)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Propose(context.Background(), putRecord("b", 1)); err == nil {
		t.Error("proposed after close")
	} else {
		wantErr(t, err, ErrClosed)
	}
	j2, m2 := f.open()
	if diff := cmp.Diff(m.sorted(), m2.sorted()); diff != "" {
		t.Error(diff)
	}
	if s := j2.Stats(); s.Replayed != 2 || s.Total != 2 || s.OpenTook <= 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestPipelinedRecordsKeepTheirOrder(t *testing.T) {
	f := newFixture(t)
	j, m := f.open()
	const n = 3000
	futures := make([]*Future, n)
	for i := range futures {
		futures[i] = j.Go(putRecord(fmt.Sprint(i), i))
	}
	last := uint64(0)
	for i, fu := range futures {
		r, err := fu.Wait(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if r.Index <= last {
			t.Fatalf("record %d stands at %d, after %d", i, r.Index, last)
		}
		last = r.Index
	}
	for i, v := range m.order {
		if v != i {
			t.Fatalf("applied %d in place of %d", v, i)
		}
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	j, _ := newFixture(t).open()
	before := j.Stats().Last
	big, _ := json.Marshal(strings.Repeat("x", maxEntry))
	for name, r := range map[string]Record{
		"too large":        {Kind: kindPut, Version: 1, Body: big},
		"no JSON":          {Kind: kindPut, Version: 1, Body: []byte("{")},
		"the journal's":    {Kind: kindCheckpoint, Version: 1, Body: []byte("{}")},
		"nothing whatever": {},
	} {
		if _, err := j.Propose(context.Background(), r); err == nil {
			t.Errorf("%s: taken", name)
		} else if name == "too large" {
			wantErr(t, err, ErrTooLarge)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := j.Propose(ctx, putRecord("a", 1))
	wantErr(t, err, context.Canceled)
	if now := j.Stats().Last; now != before {
		t.Errorf("the journal grew from %d to %d", before, now)
	}
}

func TestSecondProcessIsTurnedAway(t *testing.T) {
	f := newFixture(t)
	j, m := f.open()
	fill(t, j, 20)
	_, _, err := f.try()
	wantErr(t, err, ErrInUse)
	// But it may read.
	h, err := OpenHistory(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	read := newTables()
	if err := proven(h, read); err != nil {
		t.Error(err)
	}
	if a, b := h.Stats(), j.Stats(); !h.Living() || a.Last != b.Last || a.ChainTip != b.ChainTip || read.Digest() != m.Digest() {
		t.Errorf("living %v: history %+v, journal %+v", h.Living(), a, b)
	}
}

func TestEntriesOfALiveJournal(t *testing.T) {
	j, _ := newFixture(t).open()
	fill(t, j, 50)
	var kinds []uint16
	var own int
	next := uint64(1)
	for e, err := range j.Entries(0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index != next {
			t.Fatalf("entry %d, want %d", e.Index, next)
		}
		next++
		if e.Own {
			own++
			continue
		}
		kinds = append(kinds, e.Kind)
	}
	if len(kinds) != 50 || own < 3 || next-1 != j.Stats().Last {
		t.Errorf("%d records, %d of raft's own, up to %d of %d", len(kinds), own, next-1, j.Stats().Last)
	}
	var got []uint64
	for e, err := range j.Entries(5, 7) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Index)
	}
	if diff := cmp.Diff([]uint64{5, 6, 7}, got); diff != "" {
		t.Error(diff)
	}
	for range j.Entries(1, 0) { // a reader may leave
		break
	}
}

func TestEntriesAfterClose(t *testing.T) {
	j, _ := newFixture(t).open()
	fill(t, j, 5)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var got error
	for _, err := range j.Entries(2, 0) {
		got = err
	}
	wantErr(t, got, ErrClosed)
}

func TestOpenThatIsCalledOff(t *testing.T) {
	f := newFixture(t)
	f.closed(5)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := f.o
	o.Machine = newTables()
	j, err := Open(ctx, o)
	if err == nil {
		_ = j.Close()
		return // it was faster
	}
	wantErr(t, err, context.Canceled)
	f.open()
}

func TestProgressOfAReplay(t *testing.T) {
	f := newFixture(t)
	j, _ := f.open()
	fill(t, j, 2000)
	last := j.Stats().Last
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var seen []uint64
	f.o.OnProgress = func(applied, of uint64) {
		if of != last {
			t.Errorf("progress of %d, want %d", of, last)
		}
		seen = append(seen, applied)
	}
	f.open()
	if len(seen) < 3 || seen[len(seen)-1] < last-2 {
		t.Errorf("progress %v of %d", seen, last)
	}
}

func TestOpenWhereNoJournalCanBe(t *testing.T) {
	for name, dir := range map[string]string{
		"a file system without directories of ours": "/proc/self/journal",
		"below a file": filepath.Join("/proc/self/stat", "journal"),
	} {
		_, err := Open(context.Background(), Options{Dir: dir, Machine: newTables()})
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
