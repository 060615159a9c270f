package journal

import (
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/hashicorp/raft"
)

var (
	_ raft.BatchingFSM = (*fsm)(nil)
	_ raft.FSMSnapshot = (*frozen)(nil)
)

// outcome is what applying an entry gives to its proposer.
type outcome struct {
	result any
	err    error
}

// fsm is the machine as Raft sees it. Raft calls it from one goroutine.
type fsm struct {
	log      *slog.Logger
	progress func(applied, last uint64)
	last     uint64                       // index of the newest entry when the journal was opened
	kept     func(index uint64) *raft.Log // entries that the opening has in memory
	due      chan struct{}                // has a token when a checkpoint may be due
	grown    chan struct{}                // has a token when a snapshot may be due
	after    uint64                       // entries between two snapshots
	archived func(head snapshotHead, id string)

	mu       sync.Mutex
	player   player
	applied  uint64 // index of the newest record applied, or passed over in safe mode
	hash     [32]byte
	fresh    uint64 // records applied by this process
	snapshot uint64
	bad      error // safe mode, and why
	poison   *raft.Log
	unusable error // why a snapshot could not be restored
}

func newFSM(o Options, g *guard, skips map[uint64]skip) *fsm {
	return &fsm{
		archived: func(snapshotHead, string) {},
		log:      o.Log, progress: o.OnProgress, last: g.last, kept: g.kept, due: make(chan struct{}, 1),
		grown: make(chan struct{}, 1), after: o.snapshotAfter,
		player: player{m: o.Machine, every: o.every, skips: skips},
	}
}

func (f *fsm) replayed() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fresh
}

// safe is why the journal is in safe mode, or nil.
func (f *fsm) safe() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}

// poisoned is the entry that could not be applied, and why, or 0.
func (f *fsm) poisoned() (index uint64, hash [32]byte, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.poison != nil {
		index = f.poison.Index
		copy(hash[:], f.poison.Extensions)
	}
	return index, hash, f.bad
}

// long says that a snapshot is due.
func (f *fsm) long() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad == nil && f.applied >= f.snapshot+f.after
}

// Apply applies one entry.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries in order. After one that this build cannot apply, none is: what follows was decided on
// tables that this build does not have.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue // a configuration
		}
		out[i] = f.applyOne(l)
	}
	if last := logs[len(logs)-1].Index; f.progress != nil && last <= f.last {
		f.progress(last, f.last)
	}
	if f.long() {
		wake(f.grown)
	}
	return out
}

func (f *fsm) applyOne(l *raft.Log) *outcome {
	if bad := f.safe(); bad != nil {
		return &outcome{err: safeMode(bad)}
	}
	// The machine is called without the lock: it tells its watchers, who may ask for the journal's health. Only this
	// goroutine changes the player.
	p := f.player
	before, due := p.records, len(p.due)
	result, err := p.apply(l)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.bad, f.poison = err, l
		f.log.Error("safe mode: an entry cannot be applied, and nothing after it will be", "entry", l.Index, "err", err)
		return &outcome{err: safeMode(err)}
	}
	f.player = p
	f.applied = l.Index
	copy(f.hash[:], l.Extensions)
	f.fresh += p.records - before
	if len(p.due) > due {
		wake(f.due)
	}
	return &outcome{result: result}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has a token already
	}
}

func safeMode(why error) error {
	return fmt.Errorf("%w: %w; start a build that can apply it, or have it skipped (groom journal skip)", ErrSafeMode, why)
}

// Snapshot freezes the machine between two entries. In safe mode it refuses: Raft would file the tables under an entry
// that they do not contain.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if bad := f.safe(); bad != nil {
		return nil, safeMode(bad)
	}
	w, err := f.player.m.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("freeze tables: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	head := snapshotHead{Version: 1, Index: f.applied, Hash: hexHash(f.hash), Records: f.player.records, Due: f.player.due}
	return &frozen{head, w, f.wrote}, nil
}

// wrote is called when a snapshot is durable.
func (f *fsm) wrote(head snapshotHead, id string) {
	f.mu.Lock()
	f.snapshot = head.Index
	f.mu.Unlock()
	f.archived(head, id)
}

// Restore replaces the machine's tables by those of a snapshot.
func (f *fsm) Restore(r io.ReadCloser) error {
	err := f.restore(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unusable = err // Raft logs it, and goes on with an older one if there is one
	return err
}

func (f *fsm) restore(r io.Reader) error {
	head, body, err := readHead(r)
	if err != nil {
		return err
	}
	// A snapshot of another journal would be taken for this one's, since its index is all that Raft looks at.
	if l := f.kept(head.Index); l != nil && hexHash([32]byte(l.Extensions)) != head.Hash {
		return fmt.Errorf("%w: the snapshot after entry %d belongs to another journal", ErrCorrupt, head.Index)
	}
	if err := f.player.m.Restore(body); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied, f.snapshot = head.Index, head.Index
	f.hash = unhexHash(head.Hash)
	f.player.records, f.player.due = head.Records, head.Due
	return nil
}
