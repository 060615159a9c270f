package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"groom/fault"
)

// store is what the guard stands before.
type store interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

var (
	_ store = (*raftboltdb.BoltStore)(nil)
	_ store = (*guard)(nil)
)

var errStopped = errors.New("the journal writes nothing more")

// guard stands between Raft and the log. It chains entries, waits where waiting helps, and ends the process where the
// outcome of a write is unknown, before Raft can make anything of it: Raft would answer, step down and use the same
// index again, while the entry may be durable.
type guard struct {
	store
	log     *slog.Logger
	fatal   func(error)
	space   *space        // nil while a journal is being made: then every error is returned
	closing chan struct{} // no more waiting
	dead    chan struct{} // closed after Fatal has returned
	stopped atomic.Bool   // nothing more is written
	archive *archive      // nil while a journal is being made
	slow    slow
	// found holds the entries that the opening has read, until Raft has read them too; nil afterwards.
	found atomic.Pointer[found]

	mu    sync.Mutex
	first uint64
	last  uint64
	tip   [32]byte
	why   error // of dead
}

func newGuard(o Options, s store, f *found, sp *space, closing chan struct{}) *guard {
	g := &guard{
		store: s, log: o.Log, fatal: o.Fatal, space: sp, closing: closing, dead: make(chan struct{}),
		first: f.first, last: f.last, tip: f.tip, slow: slow{log: o.Log, warn: o.slowWrite, limit: o.stalledWrite},
	}
	g.found.Store(f)
	return g
}

// kept is an entry that the opening has read and that is still in memory, or nil.
func (g *guard) kept(index uint64) *raft.Log {
	if f := g.found.Load(); f != nil {
		return f.at(index)
	}
	return nil
}

func (g *guard) position() (last uint64, tip [32]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last, g.tip
}

// oldest is the first entry of the log.
func (g *guard) oldest() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.first
}

func (g *guard) cause() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why
}

// GetLog reads an entry.
func (g *guard) GetLog(index uint64, l *raft.Log) error {
	if have := g.kept(index); have != nil {
		*l = *have
		return nil
	}
	return g.store.GetLog(index, l)
}

// StoreLog stores one entry.
func (g *guard) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs chains entries to those before them, and stores them. When it returns nil they are durable.
func (g *guard) StoreLogs(logs []*raft.Log) error {
	last, tip := g.position()
	before := last
	for _, l := range logs {
		if l.Index != last+1 {
			return g.die(fmt.Errorf("store entry %d after entry %d", l.Index, last))
		}
		tip, last = link(tip, l), l.Index
		l.Extensions = bytes.Clone(tip[:])
	}
	if g.stopped.Load() {
		return errStopped
	}
	fault.Point("journal.before-store")
	err := g.write(func() error { return g.store.StoreLogs(logs) }, func() bool {
		now, err := g.store.LastIndex()
		return err == nil && now == before
	})
	if err != nil {
		return err
	}
	fault.Point("journal.after-store")
	g.mu.Lock()
	g.last, g.tip = last, tip
	g.mu.Unlock()
	// On a full disk the mirror leaves the rest of the reserve to the log, and catches up later.
	if g.archive != nil && g.space.reason() == nil {
		g.archive.mirror.add(logs)
	}
	return nil
}

// Set stores Raft's term or vote. Raft panics when that fails, so once nothing more is written it is told that all is
// well: as no entry is stored from then on either, nothing can come of it.
func (g *guard) Set(key, val []byte) error {
	if g.stopped.Load() {
		return nil
	}
	// Raft stores the term that it has just read, each time it starts. That must not wait for a full disk.
	if have, err := g.store.Get(key); err == nil && bytes.Equal(have, val) {
		return nil
	}
	fault.Point("journal.before-set")
	err := g.write(func() error { return g.store.Set(key, val) }, func() bool { return true })
	if g.stopped.Load() {
		return nil
	}
	fault.Point("journal.after-set")
	return err
}

// SetUint64 stores Raft's term.
func (g *guard) SetUint64(key []byte, val uint64) error {
	return g.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// chunk is how many entries are deleted at once: a proposal waits for a few milliseconds at most.
const chunk = 1024

// DeleteRange drops the oldest entries, after a snapshot, when the log is longer than its trailing part. It deletes
// what the archive holds, durably, and no snapshot that is kept has to be followed by; it stops at the end of a
// segment, so that the log goes on where one ends. A kill in between leaves the log with an older beginning.
func (g *guard) DeleteRange(first, last uint64) error {
	end := g.archive.deletable(last)
	for from := first; from <= end; from += chunk {
		if g.stopped.Load() {
			return errStopped
		}
		to := min(from+chunk-1, end)
		fault.Point("journal.before-delete")
		err := g.store.DeleteRange(from, to)
		switch {
		case definite(err):
			return full("delete what is archived", err) // nothing was deleted; the next snapshot tries again
		case err != nil:
			return g.die(err)
		}
		fault.Point("journal.after-delete")
		g.mu.Lock()
		g.first = to + 1
		g.mu.Unlock()
	}
	return nil
}

// write repeats a write for as long as it fails for want of space and nothing of it counts. Raft's main loop waits
// with it, which is harmless for a single voter: nobody else can become leader, and its clients wait anyway.
func (g *guard) write(op func() error, unchanged func() bool) error {
	for pause := time.Duration(0); ; {
		done := g.slow.begins()
		err := op()
		done()
		if err == nil {
			return nil
		}
		if g.space == nil {
			g.why = err // Raft keeps its words, but not the error
			return err
		}
		if !definite(err) || !unchanged() {
			return g.die(err)
		}
		if g.space.full(err) {
			continue // the reserve was released: what is pending can land
		}
		pause = min(max(2*pause, g.space.pause), 25*g.space.pause)
		g.space.stalled.Store(true)
		select {
		case <-time.After(pause):
			g.space.stalled.Store(false)
		case <-g.closing:
			g.stopped.Store(true)
			return errStopped
		}
	}
}

// die ends the process. Should Fatal return, nothing more is written, and nobody is told that anything was.
func (g *guard) die(err error) error {
	if g.space == nil {
		return err
	}
	err = fmt.Errorf("write journal: %w", err)
	g.fatal(err)
	g.mu.Lock()
	first := g.why == nil
	if first {
		g.why = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	g.mu.Unlock()
	if first {
		close(g.dead)
	}
	<-g.closing
	g.stopped.Store(true)
	return errStopped
}
