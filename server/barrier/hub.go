// Package barrier is a groom's part in the barriers of BSP jobs: it fences old epochs, gathers the arrivals of its own
// tasks to one message for the root, and is the root of the jobs whose barriers meet here. See DESIGN.md.
package barrier

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"groom/api"
)

// Options is what a hub needs of its groom.
type Options struct {
	Log *slog.Logger
	// Dial opens a stream to the groom where a job's barriers meet.
	Dial func(ctx context.Context, root api.RootAddr, id api.JobID, epoch int) (io.ReadWriteCloser, error)
	// OnStep hears of each superstep that ended at a root here, before any peer is released from it. After a start of
	// the groom it may hear of the newest one again.
	OnStep func(id api.JobID, step api.Superstep)
}

// Hub is the barriers of one groom. It keeps nothing that a crash could lose for good: see root.
type Hub struct {
	o    Options
	life context.Context
	die  context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	closed bool
	rounds map[api.JobID]*round
	begun  chan struct{} // closed and replaced when a round begins
}

// New makes a hub without rounds.
func New(o Options) *Hub {
	h := &Hub{o: o, rounds: map[api.JobID]*round{}, begun: make(chan struct{})}
	h.life, h.die = context.WithCancel(context.Background())
	return h
}

// Begin opens the round of a job's epoch, and fences those before it. To begin an epoch again changes nothing.
func (h *Hub) Begin(job Job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.rounds[job.ID]
	if h.closed || old != nil && old.job.Epoch >= job.Epoch {
		return
	}
	r := newRound(h, job)
	h.rounds[job.ID] = r
	close(h.begun)
	h.begun = make(chan struct{})
	if old != nil {
		old.stop("a newer epoch has begun")
	}
	if r.root == nil {
		h.work.Go(r.reach)
	}
}

// End closes the round of an epoch: peers that are still there are told to end.
func (h *Hub) End(id api.JobID, epoch int, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rounds[id]; r != nil && r.job.Epoch == epoch {
		r.stop(reason)
		delete(h.rounds, id)
	}
}

// Close closes every stream without a word: the peers go on, and come back when the groom does.
func (h *Hub) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.die()
	h.work.Wait()
	return nil
}

// ServeTask serves the control stream of an attempt, which runs in this epoch, until it ends.
func (h *Hub) ServeTask(ctx context.Context, stream io.ReadWriteCloser, a api.AttemptID, epoch int) {
	h.serve(ctx, stream, a.Task().Job(), epoch, func(r *round, c *conn) { r.serveTask(c, a.Task().Index()) })
}

// ServeGroom serves the stream of another groom whose peers meet here, until it ends.
func (h *Hub) ServeGroom(ctx context.Context, stream io.ReadWriteCloser, job api.JobID, epoch int, groom string) {
	h.serve(ctx, stream, job, epoch, func(r *round, c *conn) { r.serveGroom(c, groom) })
}

// serve finds the round that a stream belongs to and lets it work.
func (h *Hub) serve(ctx context.Context, stream io.ReadWriteCloser, id api.JobID, epoch int, work func(*round, *conn)) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		stream.Close()
		return
	}
	h.work.Add(1)
	h.mu.Unlock()
	defer h.work.Done()

	c := newConn(stream)
	written := make(chan struct{})
	go func() { defer close(written); c.write() }()
	defer func() { c.close(); <-written }()
	defer onDone(ctx, c.close)()
	defer onDone(h.life, c.close)()

	r, fenced := h.find(ctx, id, epoch)
	switch {
	case fenced:
		c.dismiss(api.Rollback{Epoch: epoch, Reason: "a newer epoch has begun"})
		c.drain()
	case r != nil:
		work(r, c)
	}
}

// patience is how long a stream waits for its epoch to begin here: the directive that begins it is on its way, or the
// reconciler has not come to it yet. A stream that waited in vain is closed, and tries again.
const patience = 10 * time.Second

// find is the round of an epoch. fenced says that a newer one has begun.
func (h *Hub) find(ctx context.Context, id api.JobID, epoch int) (_ *round, fenced bool) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		h.mu.Lock()
		r, begun := h.rounds[id], h.begun
		h.mu.Unlock()
		if r != nil && r.job.Epoch >= epoch {
			return r, r.job.Epoch > epoch
		}
		select {
		case <-begun:
		case <-late.C:
			return nil, false
		case <-ctx.Done():
			return nil, false
		case <-h.life.Done():
			return nil, false
		}
	}
}

// onDone calls f when the context ends; the function that it returns takes that back.
func onDone(ctx context.Context, f func()) (cancel func()) {
	stop := context.AfterFunc(ctx, f)
	return func() { stop() }
}
