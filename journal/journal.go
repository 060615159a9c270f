// Package journal makes records durable, in order, and applies them to a state machine: bbolt below a Raft log of one
// voter. It knows no tables; it is given a Machine. DESIGN.md says why each part is as it is, and what a kill leaves.
package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// What a journal's directory holds:
//
//	DIR/raft.db          the log and Raft's term and vote, in bbolt; it appears by a rename, whole or not at all
//	DIR/raft.db.new      a journal that is being made; a leftover is removed
//	DIR/snapshots/       frozen copies of the Machine, which bound the replay
//	DIR/archive/         the whole history, and a mirror of its newest entries (manifest.go)
//	DIR/tail             how far the log had come for certain, so that a lost tail is noticed
//	DIR/reserve          space kept for the day the disk is full
//	DIR/fatal            why the last process gave up, if it did
const (
	dbName      = "raft.db"
	newName     = "raft.db.new"
	snapName    = "snapshots" // FileSnapshotStore's own choice
	tailName    = "tail"
	reserveName = "reserve"
	fatalName   = "fatal"
)

const (
	// voter is the one server of the cluster, and its address on the in-memory transport.
	voter = "self"
	// inFlight bounds the proposals between Go and their end. It is Raft's batch and the size of its queue, so that
	// handing over a proposal never blocks, and whoever waits for room can stop waiting.
	inFlight = 512
	// lockTimeout is how long Open waits for a predecessor to let go of the file.
	lockTimeout = 2 * time.Second
	// retainedSnapshots are kept. The archive holds everything anyway; more than one saves a long replay when the newest
	// is bad.
	retainedSnapshots = 3
	// trailing entries stay in the log after a snapshot: enough for every snapshot that is kept, of a busy journal too,
	// whose snapshots lie further apart.
	trailing = 40 << 10
)

// Machine is a deterministic state machine. Apply is total: it records, and never fails halfway.
type Machine interface {
	Name() string // "groom" or "master"
	// Apply changes the tables. The error means that this build cannot apply the record (unknown kind or version,
	// malformed body): the journal goes into safe mode. A refusal (stale revision) is a result, not an error.
	// It must not keep body.
	Apply(index uint64, kind uint16, version uint8, body []byte) (result any, err error)
	Digest() [32]byte
	// Snapshot is called between two Applies and returns quickly with a frozen copy, written later.
	Snapshot() (io.WriterTo, error)
	Restore(r io.Reader) error
	// KindName names a kind for people, or "" when unknown.
	KindName(kind uint16) string
}

// Options say where a journal is and what it drives.
type Options struct {
	Dir     string
	Machine Machine
	Log     *slog.Logger // nil is silent
	// Build is recorded in checkpoints, so that a digest that differs can be traced to the build that wrote it.
	Build string
	// Retain says how much history the archive keeps; the zero value keeps all of it.
	Retain Retention
	// OnProgress tells how far the replay is. It is called from the goroutine that applies.
	OnProgress func(applied, last uint64)
	// Fatal ends the process after a write whose outcome is unknown (default: a marker file and os.Exit(70)).
	// When it returns, as in tests, nothing more is written or acknowledged.
	Fatal func(error)

	// For tests of this package.
	wrap          func(store) store
	every         uint64 // applied records between checkpoints
	snapshotAfter uint64 // entries between snapshots
	trailing      uint64 // entries that stay in the log
	compactAt     int64  // size of a file that is worth it
	compactRatio  int64
	slowWrite     time.Duration
	stalledWrite  time.Duration
	reserve       int64 // bytes
	spaceWait     time.Duration
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { giveUp(o.Dir, o.Log, err) }
	}
	if o.wrap == nil {
		o.wrap = func(s store) store { return s }
	}
	if o.every == 0 {
		o.every = checkpointEvery
	}
	if o.snapshotAfter == 0 {
		o.snapshotAfter = 8192
	}
	if o.trailing == 0 {
		o.trailing = trailing
	}
	if o.compactAt == 0 {
		o.compactAt = compactAt
	}
	if o.compactRatio == 0 {
		o.compactRatio = compactRatio
	}
	if o.slowWrite == 0 {
		o.slowWrite, o.stalledWrite = slowWrite, stalledWrite
	}
	if o.reserve == 0 {
		o.reserve = reserveSize
	}
	if o.spaceWait == 0 {
		o.spaceWait = 200 * time.Millisecond
	}
}

// Journal is an open journal. It owns its directory: nobody else writes there.
type Journal struct {
	o     Options
	guard *guard
	arch  *archive
	space *space
	fsm   *fsm
	raft  *raft.Raft
	meter *meter

	// room holds a token for each proposal in flight.
	room chan struct{}
	// mu keeps a proposal from starting after Close has begun to wait for those in flight.
	mu      sync.RWMutex
	closed  bool
	closing chan struct{} // closed with it
	running sync.WaitGroup

	replayed uint64
	took     time.Duration
}

// Open opens the journal in o.Dir, or makes one; it checks the whole chain, brings the Machine up to date, and returns
// when the Machine holds all that was ever acknowledged. A record that the Machine cannot apply is no error here: the
// journal is open in safe mode, so that what there is can be shown.
func Open(ctx context.Context, o Options) (*Journal, error) {
	o.defaults()
	start := time.Now()
	if err := prepare(o); err != nil {
		return nil, err
	}
	found, err := examine(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := compact(o, found); err != nil {
		return nil, err
	}
	db, err := openStore(filepath.Join(o.Dir, dbName))
	if errors.Is(err, ErrNoSpace) && os.Remove(filepath.Join(o.Dir, reserveName)) == nil {
		db, err = openStore(filepath.Join(o.Dir, dbName)) // opening commits a transaction, too
	}
	if err != nil {
		return nil, err
	}
	// The lock was let go of between looking and opening.
	if last, err := db.LastIndex(); err != nil || last != found.last {
		return nil, errors.Join(fmt.Errorf("%w: another process has just written to it", ErrInUse), err, db.Close())
	}
	closing := make(chan struct{})
	sp := newSpace(o, closing)
	j := &Journal{
		o: o, space: sp, closing: closing, room: make(chan struct{}, inFlight),
		guard: newGuard(o, o.wrap(db), found, sp, closing),
		meter: newMeter(o.Machine.Name()),
	}
	j.fsm = newFSM(o, j.guard, found.skips)
	// The reserve comes before anything is written, so that on a full disk the health is known from the start.
	sp.refill()
	if err := j.openArchive(found); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	if err := j.start(ctx); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	j.guard.found.Store(nil)
	j.replayed, j.took = j.fsm.replayed(), time.Since(start)
	j.running.Go(j.checkpoints)
	j.running.Go(j.snapshots)
	j.witness()
	warnOfFatal(o)
	return j, nil
}

// Started says that whoever opened the journal has recorded what belongs to its start: from here on the last of the
// reserve is kept for the next one. A start that was killed before may use it up; the next waits for space then.
func (j *Journal) Started() { j.space.opening.Store(false) }

// openArchive opens the second copy, and goes on with the mirror.
func (j *Journal) openArchive(f *found) error {
	a, err := openArchive(j.o, f)
	if err != nil {
		return err
	}
	if a.mirror, err = openMirror(j.o.Dir, j.o.Log, f, j.guard.GetLog); err != nil {
		return err
	}
	j.arch, j.guard.archive = a, a
	j.fsm.archived = j.archive
	return nil
}

// start hands the log to Raft and waits until all of it is applied.
func (j *Journal) start(ctx context.Context) error {
	logger := raftLogger(j.o.Log)
	addr, transport := raft.NewInmemTransport(voter)
	snaps, err := openSnapshots(j.o, logger, j.guard.oldest(), j.fsm.last)
	if err != nil {
		return err
	}
	if err := j.remake(snaps, transport); err != nil {
		return err
	}
	transport.Connect(addr, transport)
	r, err := raft.NewRaft(j.config(logger), j.fsm, j.guard, j.guard, snaps, transport)
	if err != nil {
		if why := j.fsm.unusable; why != nil {
			return fmt.Errorf("start raft: %w: %w; move %s away, and the next start replays the archive",
				err, why, filepath.Join(j.o.Dir, snapName))
		}
		return fmt.Errorf("start raft: %w", err)
	}
	j.raft = r
	conf := r.GetConfiguration()
	if err := conf.Error(); err != nil { // it is at hand, and does not wait
		return fmt.Errorf("start raft: %w", err)
	}
	// A voter that is alone need not wait for a leader that cannot come. With others in the configuration this would
	// override a living leader, so it is done for one voter only, and the timeouts stay those of a real cluster.
	if servers := conf.Configuration().Servers; len(servers) == 1 && servers[0].ID == voter {
		var resp raft.TimeoutNowResponse
		req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
		if err := transport.TimeoutNow(voter, addr, req, &resp); err != nil {
			return fmt.Errorf("start election: %w", err)
		}
	}
	for leads := false; !leads; {
		select {
		case leads = <-r.LeaderCh():
		case <-ctx.Done():
			return j.gaveUpWaiting(ctx)
		case <-j.guard.dead:
			return j.guard.cause()
		}
	}
	// Entries after the snapshot are applied only when the new term's first entry is durable; the barrier comes back
	// when the Machine has seen all of them.
	j.room <- struct{}{}
	return j.await(ctx, r.Barrier(0))
}

// await waits for one of Raft's futures, until ctx ends or nothing more can be written. It gives back a token of room
// when the future has ended, which Close waits for.
func (j *Journal) await(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() {
		done <- f.Error()
		<-j.room
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("start raft: %w", err)
		}
		return nil
	case <-ctx.Done():
		return j.gaveUpWaiting(ctx)
	case <-j.guard.dead:
		return j.guard.cause()
	}
}

// gaveUpWaiting says why an Open was still waiting when its context ended.
func (j *Journal) gaveUpWaiting(ctx context.Context) error {
	if why := j.space.reason(); why != nil {
		return fmt.Errorf("open: %w: %w", ctx.Err(), why)
	}
	if j.space.stalled.Load() { // a write is held up, though there seemed to be room a moment ago
		return fmt.Errorf("open: %w: %w in %s", ctx.Err(), ErrNoSpace, j.o.Dir)
	}
	return fmt.Errorf("open: %w", ctx.Err())
}

// Close writes what is in flight, and lets go of the directory. Proposals that a full disk holds up end as
// ErrUnknownOutcome, though the next start may find them written.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	close(j.closing)
	j.mu.Unlock()
	// Raft forgets proposals that wait in its queue when it shuts down, and whoever waits for them would wait for
	// ever. So all of them end first: written, or refused because the guard no longer waits for space.
	for range inFlight {
		j.room <- struct{}{}
	}
	var errs []error
	if j.raft != nil {
		if err := j.raft.Shutdown().Error(); err != nil {
			errs = append(errs, fmt.Errorf("stop raft: %w", err))
		}
	}
	j.running.Wait()
	j.space.wait()
	if j.raft != nil && len(errs) == 0 {
		j.witness()
	}
	if j.arch != nil {
		errs = append(errs, j.arch.mirror.close())
	}
	if err := j.guard.store.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close %s: %w", dbName, err))
	}
	return errors.Join(errs...)
}

// prepare makes the directory and, when there is none, the journal in it. Two processes that make one at the same time
// are kept apart by the lock of the data directory; bbolt's guards a journal that is there.
func prepare(o Options) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return full("make journal directory", err)
	}
	_, err := os.Stat(filepath.Join(o.Dir, dbName))
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("look for journal: %w", err)
	}
	if left := remains(o.Dir); left != "" {
		return fmt.Errorf("%w: %s is gone from %s, though %s says that there was a journal; put it back, "+
			"rebuild it (groom journal rebuild), or move the whole directory away to start without its history", ErrCorrupt, dbName, o.Dir, left)
	}
	return create(o)
}

// openStore opens the log for writing. Freelists are not synced: what is free is found by reading the file at the next
// open, which is read whole anyway, and a commit need not write a list that grows with the file.
func openStore(path string) (*raftboltdb.BoltStore, error) {
	var db *raftboltdb.BoltStore
	err := guarded(path, func() (err error) {
		db, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: boltOptions(lockTimeout)})
		return err
	})
	if err != nil {
		return nil, openError(path, err)
	}
	return db, nil
}
