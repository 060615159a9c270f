package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The degrees of a journal's health.
const (
	healthOK      = "ok"
	healthNoSpace = "nospace"
	healthSafe    = "safe-mode"
)

// Stats are the figures of a journal.
type Stats struct {
	First, Last, Applied, Snapshot uint64
	Records                        uint64 // applied since open, and counted in all (see Total)
	Total                          uint64
	FileBytes                      int64
	ChainTip                       [32]byte
	Replayed                       uint64        // entries applied while opening
	OpenTook                       time.Duration // open, chain check, replay, barrier
	Health                         string        // "ok", "nospace", "safe-mode"
	Reason                         string
}

// Stats tells how the journal is. It is cheap enough for every page and every beat.
func (j *Journal) Stats() Stats {
	s := Stats{First: 1, Replayed: j.replayed, OpenTook: j.took, Health: healthOK}
	s.Last, s.ChainTip = j.guard.position()
	s.FileBytes = fileBytes(j.o.Dir)
	if why := j.space.reason(); why != nil {
		s.Health, s.Reason = healthNoSpace, why.Error()
	}
	j.fsm.mu.Lock()
	defer j.fsm.mu.Unlock()
	s.Applied, s.Snapshot = j.fsm.applied, j.fsm.snapshot
	s.Records, s.Total = j.fsm.fresh, j.fsm.player.records
	if j.fsm.bad != nil {
		s.Health, s.Reason = healthSafe, safeMode(j.fsm.bad).Error()
	}
	return s
}

func fileBytes(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, dbName))
	if err != nil {
		return 0
	}
	return info.Size()
}

// Turns returns nil once raft's main loop has come round, which it does not while a write hangs; it writes nothing. A
// journal that waits for space turns: that it waits is known, and told.
func (j *Journal) Turns(ctx context.Context) error {
	// It takes the place of a proposal, so that Close waits for it: Raft forgets who waits when it shuts down.
	select {
	case j.room <- struct{}{}:
	case <-ctx.Done():
		return j.stuck(ctx)
	}
	j.mu.Lock()
	closed := j.closed
	j.mu.Unlock()
	if closed {
		<-j.room
		return fmt.Errorf("turn journal: %w", ErrClosed)
	}
	done := make(chan error, 1)
	go func() { // ends when the loop turns again
		done <- j.raft.VerifyLeader().Error()
		<-j.room
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("turn journal: %w", err)
		}
	case <-ctx.Done():
		return j.stuck(ctx)
	}
	return nil
}

// stuck is the error of a loop that does not come round, nil while it waits for space.
func (j *Journal) stuck(ctx context.Context) error {
	if j.space.reason() == nil && !j.space.stalled.Load() {
		return fmt.Errorf("turn journal: %w", ctx.Err())
	}
	return nil
}
