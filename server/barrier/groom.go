package barrier

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"groom/api"
	"groom/bsp/frame"
)

// serveGroom serves the stream of another groom, when the root is here.
func (r *round) serveGroom(c *conn, groom string) {
	defer c.close()
	r.mu.Lock()
	if r.root == nil {
		r.log.Warn("another groom takes this one for the root", "groom", groom, "root", r.job.Root.Groom)
		r.mu.Unlock()
		return
	}
	if r.ended != "" {
		r.rollback(c)
		r.mu.Unlock()
		c.drain()
		return
	}
	if old := r.grooms[groom]; old != nil {
		old.close()
	}
	r.grooms[groom] = c
	r.mu.Unlock()
	for {
		t, body, err := frame.Read(c.r)
		if err == nil {
			err = r.fromGroom(groom, t, body)
		}
		if err != nil {
			r.log.Info("groom left the barrier", "groom", groom, "err", err) // it dials again
			return
		}
	}
}

func (r *round) fromGroom(groom string, t api.FrameType, body []byte) error {
	var h api.Hello
	var arrivals []api.Arrive
	switch t {
	case frameHello:
		if err := json.Unmarshal(body, &h); err != nil {
			return fmt.Errorf("decode hello: %w", err)
		}
		if h.Epoch != r.job.Epoch || h.Index < 0 || h.Index >= r.job.Tasks {
			return fmt.Errorf("hello of peer %d in epoch %d: %w", h.Index, h.Epoch, ErrDisagree)
		}
	case frameArrives:
		if err := json.Unmarshal(body, &arrivals); err != nil {
			return fmt.Errorf("decode arrivals: %w", err)
		}
	default:
		return fmt.Errorf("read frame: unknown type %d", t)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended != "":
	case t == frameHello:
		r.hear(r.root.hello(groom, h, time.Now()))
	default:
		r.hear(r.root.arrive(arrivals, time.Now()))
	}
	return nil
}

// Pauses between two tries to reach the root, doubled from the first to the last.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// reach keeps a stream to the root for the life of the round. A root that says this epoch is over knows more than this
// groom's tables do; its own directive is on the way, and until then its tasks are left alone.
func (r *round) reach() {
	pause := firstPause
	for r.life.Err() == nil {
		rwc, err := r.hub.o.Dial(r.life, r.job.Root, r.job.ID, r.job.Epoch)
		if err == nil {
			var heard bool
			if heard, err = r.follow(newConn(rwc)); heard {
				pause = firstPause
			}
		}
		if r.life.Err() != nil {
			return
		}
		r.log.Warn("root of the barrier", "groom", r.job.Root.Groom, "err", err)
		select {
		case <-r.life.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, lastPause)
	}
}

// follow tells a root that was just reached all that this groom's peers said, and hands on what it says.
func (r *round) follow(c *conn) (heard bool, err error) {
	written := make(chan struct{})
	go func() { defer close(written); c.write() }()
	defer func() { c.close(); <-written }()
	stop := onDone(r.life, c.close)
	defer stop()

	r.mu.Lock()
	r.up = c
	for _, i := range r.job.Local {
		if p := r.peers[i]; p.hello != nil {
			c.send(frameHello, encode(p.whole()))
		}
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.up = nil
		r.mu.Unlock()
	}()
	for {
		t, body, err := frame.Read(c.r)
		switch {
		case err != nil:
			return heard, fmt.Errorf("read root: %w", err)
		case t == api.FrameRollback:
			return false, fmt.Errorf("the root has left the epoch: %s", body)
		case t != frameParcel:
			return heard, fmt.Errorf("read root: unknown frame type %d", t)
		}
		var parcels []parcel
		if err := json.Unmarshal(body, &parcels); err != nil {
			return heard, fmt.Errorf("decode parcels: %w", err)
		}
		heard = true
		r.mu.Lock()
		if r.ended == "" {
			for _, p := range parcels {
				r.hand(p)
			}
		}
		r.mu.Unlock()
	}
}
