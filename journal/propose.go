package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Receipt says where a record stands, and what applying it returned.
type Receipt struct {
	Index  uint64
	Result any
}

// Future is a proposal under way.
type Future struct {
	done    chan struct{}
	dead    <-chan struct{}
	cause   func() error
	receipt Receipt
	err     error
}

// Wait returns when the record is durable and applied. When ctx ends first the outcome is unknown, and stays so for
// the caller: only the tables can tell later.
func (f *Future) Wait(ctx context.Context) (Receipt, error) {
	select {
	case <-f.done:
		return f.receipt, f.err
	default:
	}
	select {
	case <-f.done:
		return f.receipt, f.err
	case <-ctx.Done():
		return Receipt{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	case <-f.dead:
		return Receipt{}, f.cause()
	}
}

// Propose makes a record durable and applies it. An error that is not ErrUnknownOutcome says that it was not written,
// or, with ErrSafeMode, that it may be but is not applied.
func (j *Journal) Propose(ctx context.Context, r Record) (Receipt, error) {
	if err := j.enter(ctx); err != nil {
		return Receipt{}, err
	}
	return j.handOver(r, false).Wait(ctx)
}

// enter takes a token of room. Whoever has to wait for it has not proposed anything yet.
func (j *Journal) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("propose: %w", err)
	}
	select {
	case j.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("propose: %w", ctx.Err())
	case <-j.closing:
		return ErrClosed
	case <-j.guard.dead:
		return j.guard.cause()
	}
}

// Go proposes a record and does not wait for it. Records that one goroutine proposes stand in the journal in the order
// of the calls. It blocks while 512 proposals are under way.
func (j *Journal) Go(r Record) *Future {
	if err := j.enter(context.Background()); err != nil {
		return refused(err)
	}
	return j.handOver(r, false)
}

func refused(err error) *Future {
	f := &Future{done: make(chan struct{}), err: err}
	close(f.done)
	return f
}

// handOver gives a record to Raft. The caller holds a token of room, and passes it on.
func (j *Journal) handOver(r Record, own bool) *Future {
	refuse := func(err error) *Future {
		<-j.room
		return refused(err)
	}
	if !own && r.Kind < firstKind {
		return refuse(fmt.Errorf("propose: kinds below %d are the journal's own", firstKind))
	}
	data, err := seal(r)
	if err != nil {
		return refuse(fmt.Errorf("propose: %w", err))
	}
	if bad := j.fsm.safe(); bad != nil && !(own && r.Kind == kindSkip) {
		return refuse(safeMode(bad))
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return refuse(ErrClosed)
	}
	start := time.Now()
	applying := j.raft.Apply(data, 0)
	f := &Future{done: make(chan struct{}), dead: j.guard.dead, cause: j.guard.cause}
	go func() { // Close waits for it by its token
		f.receipt, f.err = settle(applying)
		if f.err == nil {
			j.meter.committed(time.Since(start))
		}
		close(f.done)
		<-j.room
	}()
	return f
}

// settle waits for Raft's answer and says what it means.
func settle(a raft.ApplyFuture) (Receipt, error) {
	err := a.Error()
	switch {
	case err == nil:
		o := a.Response().(*outcome)
		return Receipt{Index: a.Index(), Result: o.result}, o.err
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return Receipt{}, fmt.Errorf("%w: not written", ErrClosed) // a single voter steps down when it stops
	default:
		return Receipt{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
}

// checkpoints records the digests that the player takes. It sleeps until one is due.
func (j *Journal) checkpoints() {
	var done uint64 // index of the newest digest that was recorded
	for {
		for _, d := range j.dueAfter(done) {
			if err := j.record(d); errors.Is(err, ErrClosed) {
				return
			} else if err != nil {
				// The digest stays due, and is recorded with the next one or after the next start.
				j.o.Log.Warn("record a checkpoint", "entry", d.At, "err", err)
				break
			}
			done = d.At
			j.witness()
		}
		select {
		case <-j.fsm.due:
		case <-j.closing:
			return
		}
	}
}

func (j *Journal) dueAfter(done uint64) []checkpoint {
	j.fsm.mu.Lock()
	defer j.fsm.mu.Unlock()
	var all []checkpoint
	for i, d := range j.fsm.player.due {
		if d.At > done {
			behind := uint64(len(j.fsm.player.due) - 1 - i)
			records := (j.fsm.player.records/j.fsm.player.every - behind) * j.fsm.player.every
			all = append(all, checkpoint{digestAt: d, Records: records, Build: j.o.Build})
		}
	}
	return all
}

func (j *Journal) record(c checkpoint) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	if err := j.enter(context.Background()); err != nil {
		return err
	}
	_, err = j.handOver(Record{Kind: kindCheckpoint, Version: 1, Body: body}, true).Wait(context.Background())
	return err
}
