package bsp

import (
	"fmt"
	"net"
	"time"

	"groom/api"
)

// route is the way to one peer. The program fills blocks, and a writer of its own sends them meanwhile, so that
// computing and sending overlap. At most routeDepth blocks wait: then the program waits too.
type route struct {
	p     *Peer
	to    int
	queue chan block // nil for the peer itself

	step  int
	seq   int
	held  block // the newest one, back until it is known whether it is the last of the step
	count api.Count
}

const routeDepth = 4

// put takes a filled block over.
func (r *route) put(b block, channel uint32, messages int, form byte) {
	b.head(r.p.info.Epoch, r.step, channel, r.seq, messages, form)
	r.seq++
	r.count.Messages += int64(messages)
	r.count.Bytes += int64(len(b.payload()))
	if r.held != nil {
		r.push(r.held)
	}
	r.held = b
}

// turn ends the step and says what was sent in it.
func (r *route) turn() api.Count {
	if r.held != nil {
		r.held.set(24, r.held.u32(24)|lastBlock)
		r.push(r.held)
	}
	count := r.count
	r.step, r.seq, r.held, r.count = r.step+1, 0, nil, api.Count{}
	return count
}

func (r *route) push(b block) {
	if r.queue == nil { // to itself: no socket, but counted
		if err := r.p.in.add(r.to, b); err != nil {
			r.p.die(err)
		}
		return
	}
	select {
	case r.queue <- b:
	case <-r.p.alive.Done(): // the next Sync says why
	}
}

// write sends what the program queued, until the peer ends. A connection that breaks means that the other peer died,
// and then this one is about to be rolled back: to end for the broken connection would charge the wrong one. So
// what follows is dropped, no barrier can complete, and only when nobody ends the epoch this peer fails.
func (r *route) write() {
	var c net.Conn
	broken := false
	for {
		var b block
		select {
		case b = <-r.queue:
		case <-r.p.life.Done():
			return
		}
		if broken {
			continue
		}
		var err error
		if c == nil {
			if c, err = r.p.dialPeer(r.to); err == nil {
				defer onDone(r.p.life, func() { c.Close() })() // a write may be waiting for the other peer
				defer c.Close()
			}
		}
		if err == nil {
			_, err = c.Write(b)
		}
		r.p.pool.put(b)
		if err != nil {
			broken = true
			r.p.loseTouch(r.to, err)
		}
	}
}

// greetWithin bounds the handshake of a data connection.
const greetWithin = 10 * time.Second

// dialPeer connects to another peer, by the unix socket when it is a neighbour on the same groom.
func (p *Peer) dialPeer(to int) (net.Conn, error) {
	select {
	case <-p.ctl.welcomed:
	case <-p.life.Done():
		return nil, net.ErrClosed
	}
	me, other := p.ctl.peers[p.info.Index], p.ctl.peers[to]
	network, addr := "tcp", other.TCP
	if other.Groom == me.Groom && other.Unix != "" {
		network, addr = "unix", other.Unix
	}
	d := net.Dialer{Timeout: greetWithin}
	c, err := d.DialContext(p.life, network, addr)
	if err != nil {
		return nil, fmt.Errorf("reach peer %d: %w", to, err)
	}
	defer onDone(p.life, func() { c.Close() })()
	_ = c.SetDeadline(time.Now().Add(greetWithin)) // an error shows in what follows
	if err := p.secret().greet(c, p.info.Index, to); err != nil {
		c.Close()
		return nil, fmt.Errorf("reach peer %d: %w", to, err)
	}
	_ = c.SetDeadline(time.Time{})
	return c, nil
}

// patience is how long a peer that lost touch with another waits to be told that the epoch has ended.
const patience = 60 * time.Second

// loseTouch waits for the end of the epoch in the background.
func (p *Peer) loseTouch(with int, cause error) {
	if p.life.Err() != nil {
		return
	}
	p.Log.Warn("lost touch with a peer; waiting for the end of the epoch", "with", with, "err", cause)
	p.work.Go(func() {
		select {
		case <-p.alive.Done():
		case <-time.After(patience):
			p.die(fmt.Errorf("lost touch with peer %d, and nobody ended the epoch within %v: %w", with, patience, cause))
		}
	})
}
