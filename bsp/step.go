package bsp

import (
	"errors"
	"fmt"
	"math"
	"time"

	"groom/api"
)

// Vote says whether a peer wants to go on. The job ends after the step in which all vote to halt.
type Vote bool

// The votes.
const (
	Continue Vote = false
	Halt     Vote = true
)

// ErrEnded is returned by a Sync after the step in which all voted to halt.
var ErrEnded = errors.New("the job has halted")

// Program is a program in steps.
type Program struct {
	// State points to all that a later step needs of the earlier ones; everything else is made before Run. It is what
	// a checkpoint will hold. There are none yet: after a failure the job starts again at step 0.
	State any
	// Step is called with 0, 1, 2 … until all peers vote to halt in the same step. What it sends arrives in the next
	// one. A peer that voted to halt is called again as long as another did not.
	Step func(k int) (Vote, error)
	// Finish is called after the last step, and can still receive what was sent in it. It writes the peer's part of
	// the result. It may be nil.
	Finish func() error
}

// Run runs a program to its end.
func (p *Peer) Run(program Program) error {
	select { // step 0 starts when every peer is there
	case <-p.ctl.welcomed:
	case <-p.alive.Done():
		return p.cause()
	}
	p.began = time.Now()
	for halt := false; !halt; {
		k := p.Superstep()
		vote, err := program.Step(k)
		if err != nil {
			return fmt.Errorf("step %d: %w", k, err)
		}
		if halt, err = p.sync(vote); err != nil {
			return err
		}
	}
	if program.Finish == nil {
		return nil
	}
	if err := program.Finish(); err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	return nil
}

// Sync ends the step: it returns once all peers have come to the same point, and everything sent to this one in the
// step is here to be read. It is the lower layer; Program calls it by itself.
func (p *Peer) Sync() error {
	_, err := p.sync(Continue)
	return err
}

// sync sends what is left, arrives, waits for the release, and then for exactly the messages that it announces.
func (p *Peer) sync(vote Vote) (halt bool, err error) {
	if p.halted {
		return true, ErrEnded
	}
	for _, a := range p.aggs {
		if math.IsNaN(a.part) || math.IsInf(a.part, 0) {
			return false, fmt.Errorf("aggregator %q: %v cannot be aggregated", a.name, a.part)
		}
	}
	a := p.arrival(vote, p.flush())
	p.ctl.arrive(a)
	arrived := time.Now()
	rel, err := p.ctl.await()
	if err != nil {
		return false, err
	}
	if err := p.receiveAll(rel); err != nil {
		p.die(err) // the others must not wait for a peer that cannot go on
		return false, p.cause()
	}
	for _, agg := range p.aggs {
		agg.turn(rel.Aggs)
	}
	p.step.Add(1)
	p.halted = rel.Halt
	p.began = time.Now()
	p.synced = p.began.Sub(arrived)
	return rel.Halt, nil
}

// flush hands what channels still hold to the routes. Each peer begins with its right-hand neighbour, so that not all
// send to the same one at once.
func (p *Peer) flush() map[int]api.Count {
	sent := map[int]api.Count{}
	for i := range p.N() {
		to := (p.Index() + 1 + i) % p.N()
		for _, c := range p.channels {
			c.flush(to)
		}
		if n := p.routes[to].turn(); n != (api.Count{}) {
			sent[to] = n
			p.Counter("messages sent").Add(n.Messages)
			p.Counter("bytes sent").Add(n.Bytes)
		}
	}
	return sent
}

func (p *Peer) arrival(vote Vote, sent map[int]api.Count) api.Arrive {
	a := api.Arrive{
		Epoch: p.info.Epoch, Index: p.info.Index, Step: p.Superstep(), Halt: bool(vote), Sent: sent,
		Stats: api.StepStats{ComputeNS: time.Since(p.began).Nanoseconds(), SyncNS: p.synced.Nanoseconds()},
	}
	for _, agg := range p.aggs {
		if agg.added {
			if a.Aggs == nil {
				a.Aggs = map[string]api.Agg{}
			}
			a.Aggs[agg.name] = api.Agg{Op: string(agg.op), Value: agg.part}
		}
	}
	return a
}

// receiveAll waits until exactly what the release announces is here, and makes it readable.
func (p *Peer) receiveAll(rel api.Release) error {
	if err := p.checkRead(); err != nil {
		return err
	}
	var late <-chan time.Time
	for {
		done, lost, err := p.in.complete(rel.Expect)
		if err != nil {
			return err
		}
		if done {
			break
		}
		if lost != nil && late == nil {
			// The sender died after it arrived: its epoch ends, and this peer with it.
			t := time.NewTimer(patience)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-p.in.news:
		case <-p.alive.Done():
			return p.cause()
		case <-late:
			return fmt.Errorf("the connection from peers %v ended before all was here, and nobody ended the epoch: %w", lost, ErrLost)
		}
	}
	p.in.turn()
	if n := p.in.unread(); n > 0 {
		p.Counter("messages received").Add(n)
	}
	return nil
}

// checkRead makes sure that what came for the step that ends was for channels that this peer has.
func (p *Peer) checkRead() error {
	for from, r := range p.in.current {
	next:
		for _, b := range r.blocks {
			for _, c := range p.channels {
				if c.number() == b.channel() {
					continue next
				}
			}
			return fmt.Errorf("peer %d sent on a channel that this peer does not have: %w", from, ErrLost)
		}
	}
	return nil
}
