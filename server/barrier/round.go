package barrier

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"groom/api"
)

// Job is one job's round on this groom: the peers of one epoch, those that run here, and where their barriers meet.
type Job struct {
	ID     api.JobID
	Epoch  int
	Tasks  int    // of the whole job
	Local  []int  // indexes of those on this groom
	Self   string // id of this groom
	Secret string // of the epoch; Options.Dial shows it to the root's groom
	Root   api.RootAddr
}

// round is the barrier of one epoch on one groom.
type round struct {
	hub  *Hub
	job  Job
	log  *slog.Logger
	life context.Context // until the round ends
	die  context.CancelFunc

	mu     sync.Mutex
	ended  string // why; "" while it lasts
	peers  map[int]*peer
	root   *root            // nil when it is on another groom
	grooms map[string]*conn // other grooms' streams, when the root is here
	up     *conn            // stream to the root, when it is not here and reached
}

// peer is what the groom knows of a local one: all that the root has to be told again when it was lost.
type peer struct {
	conn     *conn
	hello    *api.Hello
	arrivals []api.Arrive // the last two, oldest first
}

func newRound(h *Hub, job Job) *round {
	r := &round{
		hub: h, job: job, peers: map[int]*peer{}, grooms: map[string]*conn{},
		log: h.o.Log.With("job", job.ID, "epoch", job.Epoch),
	}
	r.life, r.die = context.WithCancel(h.life)
	for _, i := range job.Local {
		r.peers[i] = &peer{}
	}
	if job.Root.Groom == "" || job.Root.Groom == job.Self {
		r.root = newRoot(job.Tasks, job.Epoch)
	}
	return r
}

// serveTask serves the stream of one local peer until it ends.
func (r *round) serveTask(c *conn, index int) {
	defer c.close()
	var h api.Hello
	if err := c.read(api.FrameHello, &h); err != nil {
		r.log.Warn("read hello", "peer", index, "err", err)
		return
	}
	if err := r.checkHello(h, index); err != nil {
		c.dismiss(api.Rollback{Epoch: h.Epoch, Reason: err.Error()})
		c.drain()
		return
	}
	r.join(c, h)
	for {
		var a api.Arrive
		if err := c.read(api.FrameArrive, &a); err != nil {
			return // the peer is gone, or comes back with a hello
		}
		if a.Index != index {
			r.log.Warn("arrival of another peer", "peer", index, "said", a.Index)
			return
		}
		r.arrive(a)
	}
}

func (r *round) checkHello(h api.Hello, index int) error {
	switch {
	case h.Version > api.Version || h.Version < api.Version-1:
		return fmt.Errorf("the hello has version %d; this build speaks %d", h.Version, api.Version)
	case h.Epoch != r.job.Epoch || h.Index != index:
		return fmt.Errorf("the hello is of peer %d in epoch %d, the attempt is peer %d in epoch %d",
			h.Index, h.Epoch, index, r.job.Epoch)
	case r.peers[index] == nil:
		return fmt.Errorf("peer %d is not one of this groom", index)
	}
	for _, a := range h.Arrivals {
		if a.Epoch != h.Epoch || a.Index != index {
			return fmt.Errorf("the hello repeats an arrival of peer %d in epoch %d", a.Index, a.Epoch)
		}
	}
	return nil
}

// join takes a hello: the peer's newest stream is the one that counts.
func (r *round) join(c *conn, h api.Hello) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != "" {
		r.rollback(c)
		return
	}
	p := r.peers[h.Index]
	if p.conn != nil {
		p.conn.close()
	}
	p.conn, p.hello = c, &h
	slices.SortFunc(h.Arrivals, func(a, b api.Arrive) int { return a.Step - b.Step })
	if r.root != nil {
		r.hear(r.root.hello(r.job.Self, h, time.Now()))
		return
	}
	for _, a := range h.Arrivals {
		p.keep(a)
	}
	if r.up == nil {
		return // the root is told when it is reached
	}
	r.up.send(frameHello, encode(p.whole()))
	if n := len(p.arrivals); n > 0 {
		r.gather(p.arrivals[n-1].Step)
	}
}

// arrive takes an arrival of a local peer. Another groom's root is told when all local peers have arrived.
func (r *round) arrive(a api.Arrive) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != "" {
		return
	}
	if r.root != nil {
		r.hear(r.root.arrive([]api.Arrive{a}, time.Now()))
		return
	}
	r.peers[a.Index].keep(a)
	r.gather(a.Step)
}

// gather sends the arrivals of one step together once there are all. They are not added up here: the root reduces in
// the order of all peers, and a sum of sums would depend on who runs where.
func (r *round) gather(step int) {
	if r.up == nil {
		return
	}
	var all []api.Arrive
	for _, i := range r.job.Local {
		a, ok := r.peers[i].at(step)
		if !ok {
			return
		}
		all = append(all, a)
	}
	r.up.send(frameArrives, encode(all))
}

// keep remembers an arrival among the last two.
func (p *peer) keep(a api.Arrive) {
	p.arrivals = slices.DeleteFunc(p.arrivals, func(b api.Arrive) bool { return b.Step == a.Step })
	p.arrivals = append(p.arrivals, a)
	slices.SortFunc(p.arrivals, func(a, b api.Arrive) int { return a.Step - b.Step })
	p.arrivals = p.arrivals[max(0, len(p.arrivals)-2):]
}

func (p *peer) at(step int) (api.Arrive, bool) {
	for _, a := range p.arrivals {
		if a.Step == step {
			return a, true
		}
	}
	return api.Arrive{}, false
}

// whole is the hello as the peer would say it now.
func (p *peer) whole() api.Hello {
	h := *p.hello
	h.Arrivals = p.arrivals
	return h
}

// hear carries out what the root says. Peers that do not agree end: their groom records it, and the master decides.
func (r *round) hear(t told, err error) {
	if err != nil {
		r.log.Error("barrier", "err", err)
		r.end(err.Error())
		return
	}
	for _, s := range t.steps {
		r.hub.o.OnStep(r.job.ID, s)
	}
	away := map[string][]parcel{}
	for _, p := range t.parcels {
		split := map[string][]int{}
		for _, i := range p.To {
			groom := r.root.grooms[i]
			split[groom] = append(split[groom], i)
		}
		for groom, to := range split {
			p.To = to
			if groom == r.job.Self {
				r.hand(p)
			} else {
				away[groom] = append(away[groom], p)
			}
		}
	}
	for groom, parcels := range away {
		if c := r.grooms[groom]; c != nil { // else it says its hellos again, and is told again
			c.send(frameParcel, encode(parcels))
		}
	}
}

// hand gives a frame to local peers.
func (r *round) hand(p parcel) {
	for _, i := range p.To {
		if q := r.peers[i]; q != nil && q.conn != nil {
			q.conn.send(p.Type, p.Body)
		}
	}
}

// stop ends the round. Its streams end once they have been told.
func (r *round) stop(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(reason)
}

func (r *round) end(reason string) {
	if r.ended != "" {
		return
	}
	r.ended = reason
	r.die()
	for _, p := range r.peers {
		if p.conn != nil {
			r.rollback(p.conn)
		}
	}
	for _, c := range r.grooms {
		r.rollback(c)
	}
}

func (r *round) rollback(c *conn) { c.dismiss(api.Rollback{Epoch: r.job.Epoch, Reason: r.ended}) }
