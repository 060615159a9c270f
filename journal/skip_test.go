package journal

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestSkip(t *testing.T) {
	f := small(t)
	j, _ := f.open()
	fill(t, j, 20)
	if err := j.Skip(t.Context(), 3, "me", "why not"); err == nil {
		t.Error("skipped an entry of a journal that is well")
	}
	_, err := j.Propose(context.Background(), Record{Kind: kindBroken, Version: 1, Body: []byte("{}")})
	wantErr(t, err, ErrSafeMode)
	poison := j.Stats().Last
	// One that was under way when the journal went into safe mode: it is durable, and was not applied.
	data, err := seal(putRecord("behind", 5))
	if err != nil {
		t.Fatal(err)
	}
	_ = j.raft.Apply(data, 0).Error()
	for _, c := range []struct {
		index    uint64
		who, why string
	}{{poison - 1, "me", "wrong entry"}, {poison, "", "nobody"}, {poison, "me", ""}} {
		if err := j.Skip(t.Context(), c.index, c.who, c.why); err == nil {
			t.Errorf("skipped %+v", c)
		}
	}
	if err := j.Skip(t.Context(), poison, "operator", "written by a build that was withdrawn"); err != nil {
		t.Fatal(err)
	}
	by := j.Stats().Last
	if s := j.Stats(); s.Health != healthSafe {
		t.Errorf("health %s before the next start", s.Health)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j, m := f.open()
	if s := j.Stats(); s.Health != healthOK || s.Total != 21 || len(m.sorted()) != 21 {
		t.Errorf("stats %+v, %d rows", s, len(m.sorted()))
	}
	for e, err := range j.Entries(by, by) {
		if err != nil || e.Kind != kindSkip || !strings.Contains(string(e.Body), `"who":"operator","why":"written by`) {
			t.Errorf("entry %+v, %v", e, err)
		}
	}
	// The override outlives the log: it is in the archive, and any replay honours it.
	f.grow(j, m, 4, 60)
	if s := j.Stats(); s.LogFirst < by {
		t.Errorf("the log begins at %d", s.LogFirst)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := f.history()
	whole := newTables()
	r, err := h.Verify(VerifyOptions{Deep: true, Machine: func() Machine { return newTables() }})
	if err := errors.Join(err, r.Err(), h.Replay(whole, 0)); err != nil || whole.Digest() != m.Digest() {
		t.Error(err)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "is skipped") {
		t.Errorf("notes %v", r.Notes)
	}
	if h.Stats().Total != 20+1+240 {
		t.Errorf("%d records", h.Stats().Total)
	}
}

// An override speaks of one entry by its hash, not of whatever has its index.
func TestSkipOfAnotherEntryIsIgnored(t *testing.T) {
	p := player{m: newTables(), every: 4, skips: map[uint64]skip{7: {index: 7, hash: [32]byte{1}}}}
	data, err := seal(putRecord("a", 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hash [32]byte
		want any
	}{{[32]byte{2}, 1}, {[32]byte{1}, nil}} {
		got, err := p.apply(logOf(7, data, c.hash))
		if err != nil || got != c.want {
			t.Errorf("%x: %v, %v", c.hash[:1], got, err)
		}
	}
}
