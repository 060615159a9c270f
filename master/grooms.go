package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fsm/cluster"
	"groom/wire"
)

// contact is what this process knows of a groom beyond its row: soft state, rebuilt by registrations and heartbeats.
type contact struct {
	client *wire.Client // of its worker server; nil until it has registered with this process
	remote bool         // not in this process
	status api.GroomStatus
	seen   time.Duration // on the boot clock, when it was heard of last
	wall   time.Time
}

type contacts struct {
	mu    sync.Mutex
	by    map[string]*contact
	beats atomic.Uint64
}

func newContacts() *contacts { return &contacts{by: map[string]*contact{}} }

// expect begins the lease of a groom that has not been heard of in this life of the master.
func (c *contacts) expect(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[id] = &contact{seen: clock.Boot()}
}

// heard takes a groom's status, and returns the one before. ok is false for a groom that has to register first.
func (c *contacts) heard(s api.GroomStatus) (before api.GroomStatus, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.by[s.ID]
	if k == nil || k.client == nil || k.status.Incarnation != s.Incarnation {
		return before, false
	}
	before, k.status, k.seen, k.wall = k.status, s, clock.Boot(), time.Now().UTC()
	return before, true
}

func (c *contacts) registered(s api.GroomStatus, client *wire.Client, remote bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[s.ID] = &contact{client: client, remote: remote, status: s, seen: clock.Boot(), wall: time.Now().UTC()}
}

// get is a copy of what is known.
func (c *contacts) get(id string) contact {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.by[id]; k != nil {
		return *k
	}
	return contact{}
}

// present are the grooms that have registered with this process.
func (c *contacts) present() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id, k := range c.by {
		if k.client != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// silent are the grooms that were not heard of for longer than the lease.
func (c *contacts) silent(lease time.Duration) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id, k := range c.by {
		if clock.Boot()-k.seen > lease {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// forgive moves every lease on by a time in which nobody could have been heard.
func (c *contacts) forgive(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.by {
		k.seen += d
	}
}

// attempts are the living attempts of all grooms, by task, as the newest heartbeats tell them.
func (c *contacts) attempts() map[api.TaskID]living {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[api.TaskID]living{}
	for id, k := range c.by {
		for _, a := range k.status.Attempts {
			task := a.ID.Task()
			// Two grooms may tell of one task while it moves: the later attempt is the one that counts.
			if have, ok := all[task]; !ok || a.ID.N() > have.ID.N() {
				all[task] = living{a, id}
			}
		}
	}
	return all
}

type living struct {
	api.AttemptStatus
	groom string
}

// watchLeases looks for grooms that fell silent. A tick of its own that is late says that this process, or its host,
// slept: that time counts against nobody.
func (m *Master) watchLeases(ctx context.Context) {
	tick := time.NewTicker(m.o.beat)
	defer tick.Stop()
	for last := clock.Boot(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := clock.Boot()
		if late := now - last - m.o.beat; late > m.o.beat {
			m.grooms.forgive(late)
		}
		last = now
		for _, id := range m.grooms.silent(m.o.lease) {
			if m.stateOf(id) == cluster.Lost {
				continue
			}
			if _, err := m.observe(ctx, cluster.LeaseOver{Groom: id}); err != nil && ctx.Err() == nil {
				m.log.Warn("record lost groom", "groom", id, "err", err) // it is still silent at the next tick
				continue
			}
			m.log.Warn("groom is lost", "groom", id, "lease", m.o.lease)
		}
	}
}

func (m *Master) stateOf(groom string) cluster.GroomState {
	var g cluster.Groom
	m.machine.View(func() { g, _ = m.state.Grooms.Get(groom) })
	return g.State
}

// register admits a groom. The journal knows of it before this process sends it anything.
func (m *Master) register(ctx context.Context, r api.Registration) (api.RegistrationReply, error) {
	self := m.me()
	reply := api.RegistrationReply{
		Version: api.Version, Cluster: self.Cluster, Heartbeat: api.Duration(m.o.beat), Lease: api.Duration(m.o.lease),
		WebURL: m.o.WebURL,
	}
	s := r.Groom
	if s.ID == "" || len(s.ID) > 64 || s.MaxTasks < 0 || len(r.WorkerAddr) > 256 {
		return reply, api.Problemf(api.CodeInvalid, "a registration needs the groom's id, its places and its address")
	}
	if err := m.sameCluster(r.Cluster, s.Name); err != nil {
		return reply, err
	}
	client := &wire.Client{Base: "http://" + r.WorkerAddr, Token: r.WorkerToken, HTTP: &http.Client{Transport: m.transport}}
	if r.WorkerAddr == "" {
		if m.o.Embedded == nil {
			return reply, api.Problemf(api.CodeInvalid, "groom %s has no worker server that this master could reach", s.Name).
				WithHint("start it with --worker-addr")
		}
		client.Base, client.HTTP = "http://in-process", &http.Client{Transport: wire.InProcess{Handler: m.o.Embedded}}
	}
	ok, why := healthy(s)
	if _, err := m.observe(ctx, cluster.Registered{
		Groom: s.ID, Name: s.Name, Incarnation: s.Incarnation, MaxTasks: s.MaxTasks, WorkerAddr: r.WorkerAddr,
		WebURL: r.WebURL, Healthy: ok, Reason: why,
	}); err != nil {
		return reply, problem(err)
	}
	m.grooms.registered(s, client, r.WorkerAddr != "")
	m.log.Info("groom registered", "groom", s.Name, "id", s.ID, "incarnation", s.Incarnation, "worker", r.WorkerAddr)
	m.strangers(s)
	m.kick()
	return reply, nil
}

// sameCluster refuses a groom that belongs to another cluster.
func (m *Master) sameCluster(theirs, name string) error {
	if own := m.me().Cluster; theirs != "" && theirs != own {
		return api.Problemf(api.CodeConflict, "groom %s belongs to cluster %s, this master to cluster %s", name, theirs, own).
			WithHint("name the masters of its cluster, or start it on a fresh data directory")
	}
	return nil
}

// strangers tells aloud of attempts that the tables do not know. They are shown with their groom, and never killed for
// it: this master may have lost its memory, while the groom kept its own.
func (m *Master) strangers(s api.GroomStatus) {
	var unknown []string
	m.machine.View(func() {
		for _, a := range s.Attempts {
			if m.state.Jobs.Rev(string(a.ID.Task().Job())) == 0 {
				unknown = append(unknown, string(a.ID))
			}
		}
	})
	if len(unknown) > 0 {
		m.log.Warn("groom runs attempts of jobs that this master does not know", "groom", s.Name, "attempts", unknown)
	}
}

// healthy says whether a groom takes tasks, and else why not.
func healthy(s api.GroomStatus) (bool, string) {
	why := fmt.Sprintf("%s: %s", s.Health, strings.Join(s.Reasons, "; "))
	switch s.Health {
	case api.HealthOK:
		return true, ""
	case api.HealthDegraded:
		if len(s.Dirs) == 0 || slices.ContainsFunc(s.Dirs, func(d api.DirStatus) bool { return d.OK }) {
			return true, ""
		}
	}
	return false, why
}

// reportsAtOnce bounds the reports of one entry, which has to stay below 64 KiB.
const reportsAtOnce = 16

// beat takes a heartbeat. It is journaled only if it carries news: a report, or a change of what the groom can do.
func (m *Master) beat(ctx context.Context, h api.Heartbeat) (api.HeartbeatReply, error) {
	reply := api.HeartbeatReply{Version: api.Version, Cluster: m.me().Cluster}
	if err := m.sameCluster(h.Cluster, h.Groom.Name); err != nil {
		return reply, err
	}
	before, ok := m.grooms.heard(h.Groom)
	if !ok {
		reply.Register = true // its token and address are in the registration alone
		return reply, nil
	}
	m.grooms.beats.Add(1)
	if ok, why := healthy(h.Groom); ok != (m.stateOf(h.Groom.ID) == cluster.Ready) {
		if _, err := m.observe(ctx, cluster.Changed{Groom: h.Groom.ID, Healthy: ok, Reason: why}); err != nil {
			return reply, problem(err)
		}
	}
	for reports := h.Reports; len(reports) > 0; {
		n := min(len(reports), reportsAtOnce)
		if bad := slices.IndexFunc(reports[:n], malformed); bad >= 0 {
			return reply, api.Problemf(api.CodeInvalid, "report %q is about no task", reports[bad].ID)
		}
		if err := m.take(ctx, h.Groom, reports[:n]); err != nil {
			m.log.Warn("take reports", "groom", h.Groom.Name, "err", err)
			break // those that were taken are acknowledged, the others come again
		}
		for _, r := range reports[:n] {
			reply.Acked = append(reply.Acked, r.ID)
		}
		reports = reports[n:]
	}
	m.tellProgress(before, h.Groom)
	return reply, nil
}

// malformed says that a report names no task. No groom makes one: whoever did is told so, and nothing is recorded.
func malformed(r api.Report) bool {
	return r.Task.Index() < 0 || len(r.ID) > 128 || !strings.HasPrefix(r.ID, string(r.Task)+"/")
}

// take records reports. Of a crash right after it the groom hears no acknowledgement: it reports again, and is
// acknowledged then.
func (m *Master) take(ctx context.Context, g api.GroomStatus, reports []api.Report) error {
	_, err := m.observe(ctx, cluster.Reported{Groom: g.ID, Reports: reports})
	if errors.Is(err, cluster.ErrTooLarge) && len(reports) > 1 {
		half := len(reports) / 2
		if err := m.take(ctx, g, reports[:half]); err != nil {
			return err
		}
		return m.take(ctx, g, reports[half:])
	}
	if err != nil {
		return err
	}
	var unknown []string
	m.machine.View(func() {
		for _, r := range reports {
			if m.state.Jobs.Rev(string(r.Task.Job())) == 0 {
				unknown = append(unknown, r.ID)
			}
		}
	})
	if len(unknown) > 0 {
		m.log.Info("reports of jobs that this master does not know", "groom", g.Name, "reports", unknown)
	}
	return nil
}

// tellProgress lets whoever watches know that attempts of a job have come further.
func (m *Master) tellProgress(before, now api.GroomStatus) {
	was := map[api.AttemptID]api.AttemptStatus{}
	for _, a := range before.Attempts {
		was[a.ID] = a
	}
	step := map[api.JobID]int{}
	for _, a := range now.Attempts {
		b, ok := was[a.ID]
		if ok && a.Step == b.Step && a.State == b.State && a.Progress == b.Progress {
			continue
		}
		job := a.ID.Task().Job()
		step[job] = max(step[job], a.Step)
	}
	for _, job := range slices.Sorted(maps.Keys(step)) {
		m.events.Publish(api.Event{
			Of: m.machine.Name(), Kind: "soft", Job: job, At: time.Now().UTC(), Words: fmt.Sprintf("superstep %d", step[job]),
		})
	}
}
