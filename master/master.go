// Package master is the BSPMaster: it takes jobs, places their tasks on grooms, decides epochs and commits, and keeps
// the grooms' leases. See DESIGN.md.
package master

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"groom/api"
	"groom/clock"
	"groom/fsm/cluster"
	"groom/fsm/table"
	"groom/journal"
	"groom/server/home"
	"groom/story"
)

// Options is what a master needs of its surroundings.
type Options struct {
	Home   *home.Home
	Name   string // for people
	Build  string
	WebURL string
	Addr   string // host:port where grooms reach it; "" when its only groom is in this process
	// Embedded is the worker server of the groom in this process: of the one that registers without an address.
	Embedded http.Handler
	Registry *prometheus.Registry
	Log      *slog.Logger
	Retain   journal.Retention // of the journal's history
	// Progress tells what the start is doing, for the page that waits for it.
	Progress func(phase string, applied, last uint64)

	// For tests of this package.
	lease, beat time.Duration
}

// Periods of the conversation with grooms.
const (
	heartbeat = time.Second
	lease     = 15 * time.Second
)

// Master is a BSPMaster.
type Master struct {
	o     Options
	log   *slog.Logger
	began time.Time

	state     *cluster.State
	machine   *table.Machine
	journal   *journal.Journal
	stories   *story.Teller
	upTo      uint64 // of a past: the entry after which it stands
	specs     *shelf
	events    *story.Feed
	grooms    *contacts
	couriers  *couriers
	kicks     chan struct{}
	transport *http.Transport // to grooms in other processes

	api     http.Handler
	l       net.Listener // nil without one
	stop    context.CancelFunc
	running sync.WaitGroup // what works on the tables
	closers []func() error // what Close undoes, newest last
}

// Open starts a master: its journal first, then the loops that act on the tables, then the server through which the
// world changes them. What has been started when a step fails is closed again, in reverse.
func Open(ctx context.Context, o Options) (_ *Master, err error) {
	if o.lease == 0 {
		o.lease, o.beat = lease, heartbeat
	}
	m := &Master{
		o: o, log: o.Log, began: time.Now(), state: cluster.NewState(), events: story.NewFeed(), grooms: newContacts(),
		couriers: newCouriers(), kicks: make(chan struct{}, 1), transport: new(http.Transport),
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	m.api = m.routes()
	if m.specs, err = openShelf(o.Home); err != nil {
		return nil, err
	}
	if err := m.recoverTables(ctx); err != nil {
		return nil, err
	}
	for _, c := range []prometheus.Collector{newMonitor(m), m.journal} {
		if err := o.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	if !m.safe() { // else what there is can be looked at, and nothing is decided
		m.running.Go(func() { m.loop(life) })
		m.running.Go(func() { m.watchLeases(life) })
	}
	if err := m.serve(); err != nil {
		return nil, err
	}
	return m, nil
}

// Close stops the master; grooms and their tasks go on. The order is the start's, reversed: first nobody asks, then
// nothing is carried out, then nothing is recorded.
func (m *Master) Close() error {
	m.stop()
	var errs []error
	for i := len(m.closers) - 1; i >= 0; i-- {
		errs = append(errs, m.closers[i]())
	}
	m.closers = nil
	m.transport.CloseIdleConnections()
	return errors.Join(errs...)
}

func (m *Master) recoverTables(ctx context.Context) error {
	m.machine = cluster.NewMachine(m.state, m.applied)
	j, err := journal.Open(ctx, journal.Options{
		Dir: m.o.Home.Path("master"), Machine: m.machine, Log: m.log, Build: m.o.Build, Retain: m.o.Retain,
		OnProgress: func(applied, last uint64) {
			if m.o.Progress != nil {
				m.o.Progress("replaying the master's journal", applied, last)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	m.journal = j
	m.stories = story.NewTeller(j.Entries, m.machine.Name(), m.machine.KindName)
	m.closers = append(m.closers, j.Close, func() error { m.running.Wait(); return nil })
	if m.safe() {
		return nil
	}
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails
	booted := cluster.Booted{Cluster: hex.EncodeToString(raw), Name: m.o.Name, BootID: clock.BootID(), Build: m.o.Build}
	if _, err := m.observe(ctx, booted); err != nil {
		return fmt.Errorf("record start: %w", err)
	}
	m.journal.Started()
	m.machine.View(func() {
		for id := range m.state.Grooms.All() {
			m.grooms.expect(id) // it has a whole lease to be heard of, since this process did not listen before
		}
	})
	// A kill between a spec and the entry that names it left a file that nobody will ask for.
	return m.specs.sweep(m.named())
}

// serve listens for grooms and clients in other processes, if there can be any.
func (m *Master) serve() error {
	if m.o.Addr == "" {
		return nil
	}
	l, err := m.o.Home.Listen("master", m.o.Addr)
	if err != nil {
		return err
	}
	m.l = l
	srv := &http.Server{Handler: m.api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			m.log.Error("serve grooms", "err", err)
		}
	})
	m.closers = append(m.closers, func() error {
		err := srv.Close()
		serving.Wait()
		return err
	})
	return nil
}

// Addr is where the master listens, "" when it does not.
func (m *Master) Addr() string {
	if m.l == nil {
		return ""
	}
	return m.l.Addr().String()
}

// Alive returns nil while the master gets on with its work.
func (m *Master) Alive(ctx context.Context) error { return m.journal.Turns(ctx) }

// safe says that the journal holds what this build cannot apply.
func (m *Master) safe() bool { return m.journal.Stats().Health == string(api.HealthSafeMode) }

// me is the row that says who this master is.
func (m *Master) me() cluster.Self {
	var self cluster.Self
	m.machine.View(func() { self = m.state.Me() })
	return self
}

// Status describes the master.
func (m *Master) Status() api.MasterStatus {
	self := m.me()
	return api.MasterStatus{
		Cluster: self.Cluster, Name: m.o.Name, Incarnation: self.Incarnation, Build: m.o.Build, StartedAt: m.began.UTC(),
		Health: api.Health(m.journal.Stats().Health), Reachable: true,
	}
}

// JournalInfo is the state of the journal.
func (m *Master) JournalInfo() api.JournalInfo {
	return story.Info(m.machine.Name(), m.o.Home.Path("master"), m.journal.Stats(), m.machine.Digest(), m.me().Incarnation)
}

// State is every table.
func (m *Master) State() json.RawMessage { return m.machine.StateJSON() }

// Events is every entry after index after, as it is applied, and progress that no journal holds.
func (m *Master) Events(ctx context.Context, after uint64) <-chan api.Event {
	return m.events.Listen(ctx, after)
}

// applied sees each entry after the tables changed, replayed ones included, from the goroutine that applies.
func (m *Master) applied(index uint64, kind uint16, e *table.Entry) {
	m.events.Publish(story.Event(m.machine.Name(), index, m.machine.KindName(kind), e))
	m.kick()
}

// kick wakes the loop: the tables may ask for something that is not done yet.
func (m *Master) kick() {
	select {
	case m.kicks <- struct{}{}:
	default: // it is awake, and reads the tables after this
	}
}
