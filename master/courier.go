package master

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"groom/api"
	"groom/fsm/cluster"
	"groom/wire"
)

// couriers says which grooms are being told their directives. One courier serves one groom, in order, so that what was
// decided first reaches it first.
type couriers struct {
	mu   sync.Mutex
	busy map[string]bool
	// later holds back directives that a groom cannot follow yet, by their ids, so that others pass.
	later map[string]time.Time
}

func newCouriers() *couriers {
	return &couriers{busy: map[string]bool{}, later: map[string]time.Time{}}
}

// held is how long a directive is to be held back still.
func (c *couriers) held(id string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := time.Until(c.later[id])
	if left <= 0 {
		delete(c.later, id)
		return 0
	}
	return left
}

func (c *couriers) hold(id string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later[id] = time.Now().Add(d)
}

// tellPatience bounds one try to hand over a directive. The groom makes it durable before it answers.
const tellPatience = 30 * time.Second

// forgetAgain is when a groom that cannot forget a job yet is told again.
const forgetAgain = 5 * time.Second

// send makes sure that somebody tells the groom its outstanding directives.
func (m *Master) send(ctx context.Context, groom string) {
	m.couriers.mu.Lock()
	defer m.couriers.mu.Unlock()
	if m.couriers.busy[groom] {
		return
	}
	m.couriers.busy[groom] = true
	m.running.Go(func() {
		m.deliver(ctx, groom)
		m.couriers.mu.Lock()
		delete(m.couriers.busy, groom)
		m.couriers.mu.Unlock()
		m.kick() // a directive that came after the last look was not seen by this courier
	})
}

// deliver tells a groom one directive after another until none is outstanding. What a groom does not answer it is told
// again, under the same id, for as long as the tables hold it: a groom that is lost is told when it is back.
func (m *Master) deliver(ctx context.Context, groom string) {
	var wait time.Duration
	for ctx.Err() == nil {
		o, ok, _ := m.next(groom)
		if !ok {
			return
		}
		err := m.tell(ctx, o)
		if err == nil {
			wait = 0
			continue
		}
		if ctx.Err() != nil {
			return
		}
		wait = min(max(2*wait, 20*time.Millisecond), 2*time.Second)
		m.log.Debug("tell directive; trying again", "groom", groom, "kind", o.Kind, "job", o.Job, "err", err, "wait", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// next is the directive that the groom is to be told first, or how long it is until there is one, 0 for none at all.
func (m *Master) next(groom string) (o cluster.Order, ok bool, wait time.Duration) {
	var all []cluster.Order
	m.machine.View(func() { all = m.state.Outstanding(groom) })
	for _, o := range all {
		left := m.couriers.held(o.ID)
		if left == 0 {
			return o, true, 0
		}
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return cluster.Order{}, false, wait
}

// tell hands over one directive and records the answer. An error means that it has to be told again.
func (m *Master) tell(ctx context.Context, o cluster.Order) error {
	var dir api.Directive
	var job cluster.Job
	var ok bool
	m.machine.View(func() {
		dir, ok = m.state.Directive(o)
		job, _ = m.state.Jobs.Get(string(o.Job))
	})
	if !ok {
		return m.settle(ctx, cluster.Answered{Order: o.ID})
	}
	if dir.Launch != nil {
		spec, err := m.specs.spec(job.Spec)
		if err != nil {
			return m.settle(ctx, cluster.Answered{Order: o.ID, Rejected: err.Error()})
		}
		dir.Launch.Spec = spec
		if job.Type == api.BSP {
			// Derived each time, so that it is the same for every groom, after every restart, and stored nowhere here.
			dir.Launch.Secret = m.o.Home.Derive("epoch", string(job.ID), strconv.Itoa(dir.Epoch))
		}
	}
	reply, err := m.post(ctx, m.grooms.get(o.Groom), dir)
	if err != nil {
		return err
	}
	answer := cluster.Answered{Order: o.ID, Index: reply.Index}
	if !reply.Accepted {
		if o.Kind == api.DirectiveForget { // something still ends there
			m.log.Info("forget later", "groom", o.Groom, "job", o.Job, "why", reply.Rejected)
			m.couriers.hold(o.ID, forgetAgain)
			return nil
		}
		answer.Rejected = reply.Rejected
		if answer.Rejected == "" {
			answer.Rejected = "for a reason that it does not tell"
		}
		m.log.Warn("directive rejected", "groom", o.Groom, "kind", o.Kind, "job", o.Job, "why", answer.Rejected)
	}
	return m.settle(ctx, answer)
}

// post asks the groom. A message that it will never understand is as good as rejected.
func (m *Master) post(ctx context.Context, k contact, dir api.Directive) (api.DirectiveReply, error) {
	var reply api.DirectiveReply
	if k.client == nil {
		return reply, errors.New("the groom has not registered yet")
	}
	ctx, cancel := context.WithTimeout(ctx, tellPatience)
	defer cancel()
	err := k.client.Post(ctx, "/v1/directives", dir, &reply)
	if p, ok := errors.AsType[*api.Problem](err); ok && (p.Code == api.CodeInvalid || p.Code == api.CodeTooLarge) {
		return api.DirectiveReply{Rejected: strings.TrimSpace(p.Detail)}, nil
	}
	return reply, err
}

// settle records an answer. A kill before it tells the directive again, which the groom answers as it did.
func (m *Master) settle(ctx context.Context, a cluster.Answered) error {
	_, err := m.observe(ctx, a)
	return err
}

// clientOf is how to ask the groom that has a job's task, or had it last.
func (m *Master) clientOf(groom string) *wire.Client {
	return m.grooms.get(groom).client
}
