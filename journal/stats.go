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
	healthStalled = "stalled"
)

// Stats are the figures of a journal.
type Stats struct {
	First, Last, Applied, Snapshot uint64
	Records                        uint64 // applied since open, and counted in all (see Total)
	Total                          uint64
	FileBytes                      int64
	LogFirst                       uint64 // the oldest entry in raft.db; older ones are in the archive only
	Sealed                         uint64 // the newest entry in a segment of the archive
	Segments, Anchors              int
	ArchiveBytes                   int64  // of segments and anchors
	SlowWrites                     uint64 // that took longer than a second
	ChainTip                       [32]byte
	Replayed                       uint64        // entries applied while opening
	OpenTook                       time.Duration // open, chain check, replay, barrier
	Health                         string        // "ok", "nospace", "stalled", "safe-mode"
	Reason                         string
}

// Stats tells how the journal is. It is cheap enough for every page and every beat.
func (j *Journal) Stats() Stats {
	s := Stats{Replayed: j.replayed, OpenTook: j.took, Health: healthOK}
	s.Last, s.ChainTip = j.guard.position()
	s.FileBytes = fileBytes(j.o.Dir)
	m := j.arch.manifest()
	s.archived(m, j.guard.oldest())
	s.SlowWrites = j.guard.slow.count.Load()
	if why := j.guard.slow.stalled(); why != nil {
		s.Health, s.Reason = healthStalled, why.Error()
	}
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

// archived fills in what the manifest tells of a journal whose log begins with an entry.
func (s *Stats) archived(m *manifest, first uint64) {
	s.First, s.LogFirst = first, first
	s.Sealed, _ = m.sealed()
	s.Segments, s.Anchors, s.ArchiveBytes = len(m.segments), len(m.anchors), m.sizeAfter(-1)
	if oldest := m.first(); oldest > 0 {
		s.First = oldest // what retention has dropped cannot be replayed, even where the log still has it
	}
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
