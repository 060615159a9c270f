package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"groom/api"
	"groom/fault"
	"groom/fsm"
	"groom/wire"
)

// link is what the registrator knows of the master.
type link struct {
	mu      sync.Mutex
	why     string // what keeps the groom from its master, "" when nothing does
	webURL  string // the master's pages
	since   time.Time
	beats   uint64 // heartbeats that were answered
	reached bool
	met     bool // the tables know that a master answers
}

func (l *link) up(webURL string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why, l.reached, l.since = "", true, time.Now()
	if webURL != "" {
		l.webURL = webURL
	}
}

func (l *link) down(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reached || l.why == "" {
		l.since = time.Now()
	}
	l.why, l.reached = why, false
}

func (l *link) trouble() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

func (l *link) master() (webURL string, reached bool, beats uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.webURL, l.reached, l.beats
}

func (l *link) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beats++
}

// contact records that no master answers, or that one does again, for the jobs that are to stop without one. Where no
// job is, there is nothing to record.
func (g *Groom) contact(ctx context.Context, reached bool) {
	g.link.mu.Lock()
	known := reached && g.link.met
	g.link.mu.Unlock()
	if known {
		return
	}
	err := g.observe(ctx, fsm.Contact{Reached: reached})
	if err != nil && ctx.Err() == nil {
		g.log.Warn("record contact with the masters", "reached", reached, "err", err)
	}
	g.link.mu.Lock()
	g.link.met = reached && err == nil
	g.link.mu.Unlock()
}

// askPatience bounds one question to a master.
const askPatience = 5 * time.Second

// enrol registers with a master and sends heartbeats, for as long as the groom lives. Without a master the tasks run
// on and the outbox waits; each try comes later than the one before, up to a few seconds, and never in step with
// other grooms.
func (g *Groom) enrol(ctx context.Context) {
	var wait time.Duration
	for i := 0; ctx.Err() == nil; i++ {
		master := g.o.Masters[i%len(g.o.Masters)]
		reply, err := g.register(ctx, master)
		if err == nil {
			wait = 0
			err = g.heartbeats(ctx, master, time.Duration(reply.Heartbeat))
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // the master asks for a registration
		}
		g.link.down(fmt.Sprintf("no master: %v", err))
		g.contact(ctx, false)
		g.log.Warn("reach master", "master", master.Base, "err", err)
		wait = min(max(2*wait, 100*time.Millisecond), 5*time.Second)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

func (g *Groom) register(ctx context.Context, master *wire.Client) (api.RegistrationReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	self := g.Me()
	var reply api.RegistrationReply
	message := api.Registration{
		Version: api.Version, Cluster: self.Cluster, Groom: g.status(), WorkerAddr: g.workerAddr(),
		WorkerToken: g.workerToken(), WebURL: g.o.WebURL, Recovery: g.lastRecovery(),
	}
	if err := master.Post(ctx, "/v1/register", message, &reply); err != nil {
		return reply, fmt.Errorf("register: %w", err)
	}
	if err := g.observe(ctx, fsm.Pinned{Cluster: reply.Cluster}); err != nil {
		return reply, fmt.Errorf("register: %w", err)
	}
	g.link.up(reply.WebURL)
	g.log.Info("registered", "cluster", reply.Cluster, "master", master.Base)
	return reply, nil
}

// reportsAtOnce bounds the reports of one heartbeat.
const reportsAtOnce = 256

// heartbeats sends one every period, and at once when there is something to report. It returns nil when the master
// asks for a registration.
func (g *Groom) heartbeats(ctx context.Context, master *wire.Client, period time.Duration) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for missed := 0; ; {
		reply, err := g.heartbeat(ctx, master)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			missed++
			if p, ok := errors.AsType[*api.Problem](err); missed >= 3 || ok && p.Code != api.CodeUnavailable {
				return err
			}
			g.link.down(fmt.Sprintf("heartbeat: %v", err))
			g.contact(ctx, false)
		case reply.Register:
			return nil
		default:
			missed = 0
			g.link.up("")
			g.link.beat()
			g.contact(ctx, true)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-g.reports:
		}
	}
}

func (g *Groom) heartbeat(ctx context.Context, master *wire.Client) (api.HeartbeatReply, error) {
	ask, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	message := api.Heartbeat{Version: api.Version, Cluster: g.Me().Cluster, Groom: g.status(), Reports: g.outbox()}
	var reply api.HeartbeatReply
	if err := master.Post(ask, "/v1/heartbeat", message, &reply); err != nil {
		return reply, err
	}
	if len(reply.Acked) > 0 {
		fault.Point("server.before-acked")
		// A kill before this entry sends the reports again; the master knows them by their ids.
		if err := g.observe(ctx, fsm.Acked{Reports: reply.Acked}); err != nil {
			return reply, fmt.Errorf("record acknowledgement: %w", err)
		}
	}
	return reply, nil
}

// outbox is what the master does not hold yet, oldest first.
func (g *Groom) outbox() []api.Report {
	var reports []api.Report
	g.machine.View(func() {
		for _, r := range g.state.Outbox.ByIndex() {
			if reports = append(reports, r); len(reports) == reportsAtOnce {
				return
			}
		}
	})
	return reports
}

// hasten sends the next heartbeat at once.
func (g *Groom) hasten() {
	select {
	case g.reports <- struct{}{}:
	default: // one is due, and reads the outbox after this
	}
}

// status describes the groom and its living attempts.
func (g *Groom) status() api.GroomStatus {
	self := g.Me()
	health, reasons := g.health()
	s := api.GroomStatus{
		ID: self.ID, Name: self.Name, Incarnation: self.Incarnation, BootID: self.BootID, Build: self.Build,
		StartedAt: g.began.UTC(), MaxTasks: self.MaxTasks, Health: health, Reasons: reasons,
		Dirs: g.dirStatus(), Host: hostStatus(),
	}
	g.machine.View(func() {
		for _, a := range g.state.Living.All() {
			t, _ := g.state.Tasks.Get(string(a.ID.Task()))
			p, _ := g.pulses.get(a.ID)
			s.Attempts = append(s.Attempts, api.AttemptStatus{
				ID: a.ID, Epoch: a.Epoch, State: t.State, Pid: a.Pid, Step: p.Step, Progress: p.Progress,
				LastPing: p.at, Counters: p.Counters,
			})
		}
	})
	return s
}

func (g *Groom) lastRecovery() *api.RecoveryReport {
	var report *api.RecoveryReport
	g.machine.View(func() {
		for _, in := range g.state.Incarnations.All() {
			if in.Recovery != nil {
				report = in.Recovery
			}
		}
	})
	return report
}
