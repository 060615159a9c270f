package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"groom/fsm"
	"groom/journal"
)

// A groom whose reconciler hangs is not alive, although its journal turns.
func TestAliveOnlyWhileTheReconcilerComesRound(t *testing.T) {
	g := &Groom{state: fsm.NewState(), looks: make(chan struct{}), link: &link{}}
	g.machine = fsm.NewMachine(g.state, nil)
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir() + "/groom", Machine: g.machine})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	g.journal = j
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.Alive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a reconciler: %v", err)
	}
	go func() { <-g.looks }()
	if err := g.Alive(t.Context()); err != nil {
		t.Errorf("with one: %v", err)
	}
	if words := g.Words(); !strings.HasPrefix(words, "0 tasks run") {
		t.Errorf("it says %q", words)
	}
}
