package journal

// (contract for the authors; to be replaced by the real thing)

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"time"
)

// Record is what is proposed: an entry before it has an index.
type Record struct {
	Kind    uint16 // below 16 is the journal's own
	Version uint8  // of the kind
	Body    []byte // canonical JSON, at most 64 KiB with the envelope
}

// Entry is a record that the journal holds.
type Entry struct {
	Index uint64
	Term  uint64
	Record
	Hash [32]byte // chain
	Size int
	// Own is true of raft's own entries (no-op, configuration), which have no record.
	Own bool
}

// Machine is a deterministic state machine. Apply is total: it records, and never fails halfway.
type Machine interface {
	Name() string // "groom" or "master"
	// Apply changes the tables. The error means that this build cannot apply the record (unknown kind or version,
	// malformed body): the journal goes into safe mode. A refusal (stale revision) is a result, not an error.
	Apply(index uint64, kind uint16, version uint8, body []byte) (result any, err error)
	Digest() [32]byte
	// Snapshot is called between two Applies and returns quickly with a frozen copy, written later.
	Snapshot() (io.WriterTo, error)
	Restore(r io.Reader) error
	// KindName names a kind for people, or "" when unknown.
	KindName(kind uint16) string
}

// Receipt says where a record stands, and what applying it returned.
type Receipt struct {
	Index  uint64
	Result any
}

var (
	ErrNoSpace        = errors.New("no space for the journal")
	ErrUnknownOutcome = errors.New("outcome unknown")
	ErrSafeMode       = errors.New("journal in safe mode")
	ErrTooLarge       = errors.New("entry too large")
	ErrClosed         = errors.New("journal closed")
	ErrCorrupt        = errors.New("journal altered or cut")
	ErrInUse          = errors.New("journal in use")
)

type Options struct {
	Dir     string
	Machine Machine
	Log     *slog.Logger
	// OnApplied is called after each applied record, in order, from the apply goroutine. It must not block.
	OnApplied func(Entry)
	// OnProgress tells how far the replay is.
	OnProgress func(applied, last uint64)
	// Fatal ends the process after a sync error (default os.Exit(70)); tests replace it.
	Fatal func(error)
}

type Journal struct{}

func Open(ctx context.Context, o Options) (*Journal, error)              { return nil, nil }
func (j *Journal) Propose(ctx context.Context, r Record) (Receipt, error) { return Receipt{}, nil }
func (j *Journal) Go(r Record) *Future                                    { return nil }
func (j *Journal) Entries(from, to uint64) iter.Seq2[Entry, error]        { return nil }
func (j *Journal) Stats() Stats                                           { return Stats{} }
func (j *Journal) Close() error                                           { return nil }

type Future struct{}

func (f *Future) Wait(ctx context.Context) (Receipt, error) { return Receipt{}, nil }

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

// OpenHistory reads the journal in dir without changing it and without raft; fails with ErrInUse when a living process holds it.
func OpenHistory(dir string) (*History, error) { return nil, nil }

type History struct{}

func (h *History) Entries(from, to uint64) iter.Seq2[Entry, error] { return nil }
func (h *History) Replay(m Machine, to uint64) error               { return nil }
func (h *History) Verify(m Machine) error                          { return nil }
func (h *History) Stats() Stats                                    { return Stats{} }
func (h *History) Close() error                                    { return nil }
