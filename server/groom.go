// Package server is the GroomServer: it recovers the tables, adopts what still runs, takes the master's directives,
// keeps the world as the tables say, and reports. See DESIGN.md.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"groom/api"
	"groom/fsm"
	"groom/fsm/table"
	"groom/journal"
	"groom/server/barrier"
	"groom/server/disk"
	"groom/server/home"
	"groom/story"
	"groom/supervisor"
	"groom/wire"
)

// ErrNoDirectory is returned when no local directory can take a task.
var ErrNoDirectory = errors.New("no usable local directory")

// Options is what a groom needs of its surroundings.
type Options struct {
	Home       *home.Home
	Name       string   // for people; the host's name unless told
	LocalDirs  []string // where attempts work; DATA/local unless told
	MaxTasks   int
	WorkerAddr string // host:port to listen on for directives; "" when the only master is in this process
	ReportAddr string // host:port on loopback for tasks that cannot use the unix socket
	// Masters are asked in turn. The embedded master is one whose client answers in process.
	Masters  []*wire.Client
	WebURL   string
	Build    string
	Registry *prometheus.Registry
	Log      *slog.Logger
	Retain   journal.Retention // of the journal's history
	// Progress tells what the start is doing, for the page that waits for it.
	Progress func(phase string, applied, last uint64)
}

// Groom is a GroomServer.
type Groom struct {
	o        Options
	log      *slog.Logger
	began    time.Time
	host     host
	sameBoot bool // as the incarnation before

	state   *fsm.State
	machine *table.Machine
	journal *journal.Journal
	super   *supervisor.Supervisor
	hub     *barrier.Hub
	dirs    []*disk.Dir

	hands   *hands
	pulses  *pulses
	probes  *probes
	tokens  *tokens
	commits *busy
	claims  *claims
	steps   *stepFiles
	removed *removals
	events  *story.Feed
	stories *story.Teller
	upTo    uint64 // of a past: the entry after which it stands
	link    *link

	instructing sync.Mutex  // directives are taken one at a time
	unswept     atomic.Bool // a job was forgotten since the last sweep
	kicks       chan struct{}
	reports     chan struct{}
	endings     chan struct{} // an attempt has ended, whose directory will go some day
	looks       chan struct{} // the reconciler takes what is sent, and does nothing with it

	socket string       // of the task report server, as tasks see it
	report net.Listener // the same on loopback
	worker net.Listener // nil when the only master is in this process

	unsettled []fsm.Attempt // could not be looked for when the groom started

	life    context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup // what works on the tables
	closers []func() error // what Close undoes, newest last
}

// Open starts a groom: the list of the boot order, top to bottom. What has been started when a step fails is closed
// again, in reverse.
func Open(ctx context.Context, o Options) (_ *Groom, err error) {
	g := &Groom{
		o: o, log: o.Log, began: time.Now(), state: fsm.NewState(), hands: newHands(), pulses: newPulses(), probes: newProbes(),
		tokens:  &tokens{by: map[string]api.AttemptID{}},
		commits: &busy{jobs: map[api.JobID]bool{}}, claims: newClaims(), steps: newStepFiles(o.Home),
		removed: newRemovals(o.Home), events: story.NewFeed(), link: &link{},
		kicks: make(chan struct{}, 1), reports: make(chan struct{}, 1), endings: make(chan struct{}, 1), looks: make(chan struct{}),
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.life, g.stop = life, stop
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	if g.host, err = thisHost(); err != nil {
		return nil, err
	}
	// 1. Local directories, before anything relies on one.
	if err := g.checkDirs(); err != nil {
		return nil, err
	}
	// 2. The web server is up already: whoever opens a groom shows Progress meanwhile.
	// 3. Tables recovered, and this start journaled.
	if err := g.recoverTables(ctx); err != nil {
		return nil, err
	}
	for _, c := range []prometheus.Collector{newMonitor(g), g.journal} {
		if err := o.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	// 4. Living tasks reconnect; what the tables hold as alive is looked for, and the findings are journaled.
	g.super = supervisor.New(supervisor.Options{Log: o.Log, Groom: o.Home.ID})
	g.hub = barrier.New(barrier.Options{Log: o.Log, Dial: g.dialRoot, OnStep: g.stepped})
	g.closers = append(g.closers, g.steps.close, g.removed.close, g.claims.close, g.super.Close, g.hub.Close)
	if err := g.serveReports(); err != nil {
		return nil, err
	}
	if g.safe() {
		// Tasks run on and their synced exit records wait. Nothing is decided until a build that can read the journal
		// starts here; the master hears why.
		g.running.Go(func() { g.enrol(life) })
		return g, nil
	}
	if err := g.adopt(ctx); err != nil {
		return nil, err
	}
	// 5. What nothing owns is removed, only after adoption said what is owned.
	g.sweep()
	g.journal.Started()
	// 6. The world may change the tables from here on.
	if err := g.serveWorker(); err != nil {
		return nil, err
	}
	for _, work := range []func(context.Context){
		g.followProcesses, g.reconcile, g.watchPings, g.watchDirs, g.collect, g.enrol,
	} {
		g.running.Go(func() { work(life) })
	}
	for _, a := range g.unsettled {
		g.running.Go(func() { g.settleLater(life, a) })
	}
	return g, nil
}

// Close stops the groom and leaves its tasks running. The order is the start's, reversed: first nobody gives orders,
// then nothing is carried out, then nothing is recorded.
func (g *Groom) Close() error {
	g.stop()
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i]())
	}
	return errors.Join(errs...)
}

func (g *Groom) recoverTables(ctx context.Context) error {
	g.machine = fsm.NewMachine(g.state, g.applied)
	j, err := journal.Open(ctx, journal.Options{
		Dir: g.o.Home.Path("groom"), Machine: g.machine, Log: g.log, Build: g.o.Build, Retain: g.o.Retain,
		OnProgress: func(applied, last uint64) { g.progress("replaying the journal", applied, last) },
	})
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	g.journal = j
	g.stories = story.NewTeller(j.Entries, g.machine.Name(), g.machine.KindName)
	g.closers = append(g.closers, j.Close, func() error { g.running.Wait(); return nil })
	if g.safe() {
		return nil
	}
	g.sameBoot = g.Me().BootID == g.host.BootID
	booted := fsm.Booted{
		ID: g.o.Home.ID, Name: g.o.Name, BootID: g.host.BootID, PIDNS: g.host.PIDNS, Build: g.o.Build,
		MaxTasks: g.o.MaxTasks,
	}
	if err := g.observe(ctx, booted); err != nil {
		return fmt.Errorf("record start: %w", err)
	}
	return g.recordDirs(ctx)
}

// safe says that the journal holds what this build cannot apply.
func (g *Groom) safe() bool { return g.journal.Stats().Health == string(api.HealthSafeMode) }

func (g *Groom) progress(phase string, applied, last uint64) {
	if g.o.Progress != nil {
		g.o.Progress(phase, applied, last)
	}
}

// kick wakes the reconciler: the tables may ask for something that the world is not.
func (g *Groom) kick() {
	select {
	case g.kicks <- struct{}{}:
	default: // it is awake, and reads the tables after this
	}
}

// Me is the row that says who this groom is.
func (g *Groom) Me() fsm.Self {
	var self fsm.Self
	g.machine.View(func() { self = g.state.Me() })
	return self
}

func (g *Groom) health() (api.Health, []string) {
	stats := g.journal.Stats()
	if stats.Health != "" && stats.Health != string(api.HealthOK) {
		return api.Health(stats.Health), []string{stats.Reason}
	}
	var reasons []string
	if why := g.link.trouble(); why != "" {
		reasons = append(reasons, why)
	}
	failed := 0
	for _, d := range g.dirs {
		if s := d.Status(); !s.OK {
			failed++
			reasons = append(reasons, fmt.Sprintf("local directory %s: %s", s.Path, s.Reason))
		}
	}
	if failed > 0 {
		return api.HealthDegraded, reasons
	}
	return api.HealthOK, reasons
}
