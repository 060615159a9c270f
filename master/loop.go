package master

import (
	"cmp"
	"context"
	"time"

	"groom/clock"
	"groom/fsm/cluster"
)

// work is what the tables ask for. It is derived from them alone, each time they change, so a kill at any moment loses
// nothing of it.
type work struct {
	decide  []cluster.Observation
	deliver []string      // grooms with directives to be told
	wait    time.Duration // until the next deadline, 0 for none
}

// retryEvery is when what could not be recorded is tried again.
const retryEvery = time.Second

// loop decides what is due and has directives delivered, each time the tables change, a groom registers, or a deadline
// passes.
func (m *Master) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.kicks:
		case <-timer.C:
		}
		w := m.derive()
		for _, o := range w.decide {
			if _, err := m.observe(ctx, o); err != nil && ctx.Err() == nil {
				m.log.Warn("decide", "kind", cluster.Kinds()[o.Kind()], "err", err)
				w.wait = min(cmp.Or(w.wait, retryEvery), retryEvery)
			}
			if _, ok := o.(cluster.Forgetting); ok {
				m.clearShelf()
			}
		}
		if !m.safe() {
			for _, groom := range w.deliver {
				m.send(ctx, groom)
			}
		}
		timer.Stop()
		if w.wait > 0 {
			timer.Reset(w.wait)
		}
	}
}

// clearShelf removes specs of jobs that are forgotten. A kill before it leaves them to the next start.
func (m *Master) clearShelf() {
	m.specs.mu.Lock()
	defer m.specs.mu.Unlock()
	if err := m.specs.sweep(m.named()); err != nil {
		m.log.Warn("clear away specs", "err", err)
	}
}

// named are the specs of all jobs.
func (m *Master) named() []string {
	var named []string
	m.machine.View(func() {
		for _, j := range m.state.Jobs.All() {
			named = append(named, j.Spec)
		}
	})
	return named
}

// derive reads from the tables what is due.
func (m *Master) derive() work {
	var w work
	present, now := m.grooms.present(), clock.Now()
	m.machine.View(func() { w.decide, w.wait = m.state.Due(present, now) })
	for _, id := range present {
		_, ok, wait := m.next(id)
		if ok {
			w.deliver = append(w.deliver, id)
		} else if wait > 0 && (w.wait == 0 || wait < w.wait) {
			w.wait = wait
		}
	}
	return w
}
