package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fsm"
)

// pulses is what living attempts tell of themselves. It is soft state: after a start of the groom the tasks fill it
// again, and the ping window of each begins anew.
type pulses struct {
	mu   sync.Mutex
	by   map[api.AttemptID]*pulse
	wake chan struct{} // an attempt has come, whose period may be the shortest
}

type pulse struct {
	ping    api.Ping
	watched bool          // must ping
	since   time.Duration // boot clock at which the window began: the launch, the adoption, or the newest ping
	first   bool          // it was heard of
	told    bool          // its silence was observed
	at      time.Time     // of the newest ping, for people
	api.PingMessage
}

func newPulses() *pulses {
	return &pulses{by: map[api.AttemptID]*pulse{}, wake: make(chan struct{}, 1)}
}

// watch begins the window of an attempt that was launched or adopted.
func (p *pulses) watch(id api.AttemptID, job fsm.Job, spec *api.JobSpec) {
	p.mu.Lock()
	p.by[id] = &pulse{ping: spec.Ping, watched: job.Pings, since: clock.Boot(), PingMessage: api.PingMessage{Step: -1}}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pulses) drop(id api.AttemptID) {
	p.mu.Lock()
	delete(p.by, id)
	p.mu.Unlock()
}

// beat takes a ping.
func (p *pulses) beat(id api.AttemptID, m api.PingMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x, ok := p.by[id]; ok {
		x.first, x.since, x.at, x.PingMessage = true, clock.Boot(), time.Now(), m
	}
}

// get is the newest that an attempt told.
func (p *pulses) get(id api.AttemptID) (pulse, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x, ok := p.by[id]; ok {
		return *x, true
	}
	return pulse{PingMessage: api.PingMessage{Step: -1}}, false
}

// period is the shortest period that a watched attempt has to ping in, 0 when none is watched.
func (p *pulses) period() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var shortest time.Duration
	for _, x := range p.by {
		if d := time.Duration(x.ping.Period); x.watched && !x.told && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	return shortest
}

// forgive moves every window on by a time in which the groom itself did not run.
func (p *pulses) forgive(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.by {
		x.since += d
	}
}

// silent lists the attempts that are out of contact, each with why.
func (p *pulses) silent(now time.Duration) map[api.AttemptID]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[api.AttemptID]string{}
	for id, x := range p.by {
		if !x.watched || x.told {
			continue
		}
		missed, period := x.ping.Missed, time.Duration(x.ping.Period)
		why := fmt.Sprintf("%d pings of %s missed", missed, period)
		if !x.first {
			missed = x.ping.First
			why = fmt.Sprintf("no ping in the first %d periods of %s", missed, period)
		}
		if now-x.since > time.Duration(missed)*period {
			out[id] = why
		}
	}
	return out
}

func (p *pulses) tell(id api.AttemptID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x, ok := p.by[id]; ok {
		x.told = true
	}
}

// watchPings looks for attempts that fell silent. It sleeps while none has to ping. A tick of its own that comes late
// by more than a period says that the groom, or its host, did not run: that time is not held against the tasks.
func (g *Groom) watchPings(ctx context.Context) {
	for {
		period := g.pulses.period()
		if period == 0 {
			select {
			case <-ctx.Done():
				return
			case <-g.pulses.wake:
			}
			continue
		}
		began := clock.Boot()
		select {
		case <-ctx.Done():
			return
		case <-g.pulses.wake: // one with a shorter period must not wait for this one
		case <-time.After(period):
		}
		now := clock.Boot() // runs on while the host sleeps, and never steps
		if late := now - began - period; late > period {
			g.pulses.forgive(late)
		}
		for id, why := range g.pulses.silent(now) {
			if err := g.observe(ctx, fsm.Silent{Attempt: id, Why: why}); err != nil {
				g.log.Warn("record silence", "attempt", id, "err", err)
				continue
			}
			g.pulses.tell(id)
		}
	}
}
