package journal

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A write that takes longer than slowWrite is told of; one that takes longer than stalledWrite is a journal that does
// not move, and its health says so until the write returns.
const (
	slowWrite    = time.Second
	stalledWrite = 30 * time.Second
)

// slow watches the write that is under way. There is one at a time: Raft's main loop waits for it.
type slow struct {
	log   *slog.Logger
	warn  time.Duration
	limit time.Duration
	since atomic.Pointer[time.Time] // nil between writes
	count atomic.Uint64             // writes that were slow
}

// begins notes that a write begins; what it returns notes the end.
func (s *slow) begins() (done func()) {
	began := time.Now()
	s.since.Store(&began)
	warn := time.AfterFunc(s.warn, func() {
		s.count.Add(1)
		s.log.Warn("the disk is slow: a write of the journal has been under way for too long", "since", began)
	})
	return func() {
		s.since.Store(nil)
		if !warn.Stop() {
			s.log.Warn("the slow write of the journal has ended", "took", time.Since(began))
		}
	}
}

// stalled says why the journal does not move, or nil.
func (s *slow) stalled() error {
	since := s.since.Load()
	if since == nil || time.Since(*since) < s.limit {
		return nil
	}
	return fmt.Errorf("a write has been under way since %s: the disk does not answer", since.Format(time.RFC3339))
}
