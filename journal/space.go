package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// reserveSize is kept free for a full disk: some ten thousand exits of tasks.
const reserveSize = 16 << 20

// space watches for room. While the disk is full the reserve is given up, so that what has happened already, such as
// the end of a task, can still be recorded. A sixteenth of it stays for the next start, which has to write a term and a
// few entries before it can show anything. The reserve is made again, and the health is good again, when there is room
// for twice as much, so that the health does not flap at the edge.
type space struct {
	dir     string
	size    int64
	pause   time.Duration
	log     *slog.Logger
	closing chan struct{}
	opening atomic.Bool // the last sixteenth may be used: up to Started
	stalled atomic.Bool // a write is waiting

	mu      sync.Mutex
	why     error // nil while there is room
	running sync.WaitGroup
}

func newSpace(o Options, closing chan struct{}) *space {
	s := &space{dir: o.Dir, size: o.reserve, pause: o.spaceWait, log: o.Log, closing: closing}
	s.opening.Store(true)
	return s
}

// reason is why there is no space, or nil.
func (s *space) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

func (s *space) wait() { s.running.Wait() }

// full notes that a write found no room, and gives up the reserve; it returns false when there was none left.
func (s *space) full(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(err)
	released := s.release()
	if released {
		s.log.Warn("the disk is full; the journal's reserve is released for what is pending", "err", err)
	}
	return released
}

func (s *space) release() bool {
	if s.opening.Load() {
		return os.Remove(s.path()) == nil
	}
	info, err := os.Stat(s.path())
	return err == nil && info.Size() > s.size/16 && os.Truncate(s.path(), s.size/16) == nil
}

// refill makes the reserve when there is none.
func (s *space) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := makeReserve(s.path(), s.size); err != nil {
		if noSpace(err) {
			s.enter(err)
			return
		}
		s.log.Warn("keep a reserve for a full disk", "err", err)
	}
}

// enter starts the watch for room, once. The caller holds mu.
func (s *space) enter(err error) {
	began := s.why == nil
	s.why = fmt.Errorf("%w in %s: %w", ErrNoSpace, s.dir, err)
	if began {
		s.log.Error("no space for the journal; waiting for some", "dir", s.dir, "err", err)
		s.running.Go(s.watch)
	}
}

// watch waits until there is room again. It runs only while there is none.
func (s *space) watch() {
	for pause := s.pause; ; pause = min(2*pause, 25*s.pause) {
		select {
		case <-s.closing:
			return
		case <-time.After(pause):
		}
		if s.stalled.Load() || !s.room() {
			continue
		}
		s.mu.Lock()
		err := makeReserve(s.path(), s.size)
		if err == nil {
			s.why = nil
			s.log.Info("there is space for the journal again", "dir", s.dir)
		}
		s.mu.Unlock()
		if err == nil {
			return
		}
	}
}

func (s *space) room() bool {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return false
	}
	return int64(st.Bavail)*st.Bsize >= 2*s.size
}

func (s *space) path() string { return filepath.Join(s.dir, reserveName) }

// makeReserve allocates the reserve, truly: a sparse file would keep nothing. A kill in between leaves a shorter one,
// which the next start makes whole.
func makeReserve(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // no reserve is better than one that is written at every start
	}
	if err != nil {
		err = errors.Join(err, f.Truncate(info.Size())) // what there was of it stays
	}
	return errors.Join(err, f.Close())
}
