package journal

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// stuck is a store whose writes hang for as long as gate is closed.
type stuck struct {
	store
	entered chan struct{}
	gate    chan struct{}
}

func (s *stuck) StoreLogs(logs []*raft.Log) error {
	select {
	case s.entered <- struct{}{}:
		<-s.gate
	default: // nobody waits for a write to hang
	}
	return s.store.StoreLogs(logs)
}

func (s *stuck) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func TestTurnsUnlessAWriteHangs(t *testing.T) {
	f := newFixture(t)
	s := &stuck{entered: make(chan struct{}), gate: make(chan struct{})}
	f.o.wrap = func(real store) store { s.store = real; return s }
	j, _ := f.open()
	before := j.Stats().Last
	if err := j.Turns(t.Context()); err != nil {
		t.Fatal(err)
	}
	if last := j.Stats().Last; last != before {
		t.Errorf("looking wrote entries %d to %d", before+1, last)
	}
	go func() { <-s.entered }()
	var proposed *Future
	for hangs := false; !hangs; { // the next write finds somebody who waits for it, sooner or later
		proposed = j.Go(putRecord("a", 1))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		hangs = errors.Is(j.Turns(ctx), context.DeadlineExceeded)
		cancel()
	}
	close(s.gate)
	if _, err := proposed.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := j.Turns(t.Context()); err != nil {
		t.Errorf("after the write: %v", err)
	}
}

// A full disk is known and told: to start the process again would not help.
func TestTurnsWhileItWaitsForSpace(t *testing.T) {
	f := newFixture(t)
	a := newAiling(f)
	j, _ := f.open()
	a.fail(diskFull)
	j.Go(putRecord("a", 1))
	<-a.tried
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := j.Turns(ctx); err != nil {
		t.Error(err)
	}
	a.heal()
}
