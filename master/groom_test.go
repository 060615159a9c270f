package master

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"groom/api"
	"groom/job"
	"groom/server/home"
	"groom/wire"
)

// fakeGroom is a groom as its master sees it: a worker server that takes directives and remembers them, and heartbeats
// that the test sends. It runs nothing.
type fakeGroom struct {
	t      *testing.T
	status api.GroomStatus
	reject string // of every directive, when set

	mu    sync.Mutex
	taken []api.Directive // in order, each once
	came  chan struct{}
	rev   int
	queue []api.Report // not acknowledged yet
}

func newFakeGroom(t *testing.T, name string, places int) *fakeGroom {
	return &fakeGroom{
		t: t, came: make(chan struct{}, 100),
		status: api.GroomStatus{ID: "id-" + name, Name: name, Incarnation: 1, MaxTasks: places, Health: api.HealthOK},
	}
}

func (g *fakeGroom) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/directives", func(w http.ResponseWriter, r *http.Request) {
		var d api.Directive
		if err := wire.Read(r, wire.Limit, &d); err != nil {
			wire.Answer(w, nil, err)
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.reject != "" {
			wire.Answer(w, api.DirectiveReply{Version: 1, Rejected: g.reject}, nil)
			return
		}
		if !slices.ContainsFunc(g.taken, func(have api.Directive) bool { return have.ID == d.ID }) {
			g.taken = append(g.taken, d)
			g.came <- struct{}{}
		}
		wire.Answer(w, api.DirectiveReply{Version: 1, Accepted: true, Index: uint64(len(g.taken))}, nil)
	})
	mux.HandleFunc("GET /v1/steps", func(w http.ResponseWriter, r *http.Request) {
		wire.Answer(w, []api.Superstep{{Epoch: 1, Step: 41}}, nil)
	})
	mux.HandleFunc("GET /v1/task", func(w http.ResponseWriter, r *http.Request) {
		id := api.TaskID(r.URL.Query().Get("id"))
		d := api.TaskDetail{TaskView: api.TaskView{ID: id, Attempt: 1, State: api.TaskRunning, Words: "as its groom tells it"}}
		d.Attempts = []api.AttemptView{{ID: id.Attempt(1), N: 1}}
		wire.Answer(w, d, nil)
	})
	mux.HandleFunc("GET /v1/logs", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		wire.AnswerLines(w, func(yield func(api.LogChunk, error) bool) {
			yield(api.LogChunk{Stream: q.Get("stream"), Data: []byte("hello from " + q.Get("attempt")), End: true}, nil)
		})
	})
	return mux
}

// await waits until the groom has taken n directives, and returns the n-th.
func (g *fakeGroom) await(n int) api.Directive {
	g.t.Helper()
	for {
		g.mu.Lock()
		if len(g.taken) >= n {
			defer g.mu.Unlock()
			return g.taken[n-1]
		}
		g.mu.Unlock()
		select {
		case <-g.came:
		case <-time.After(10 * time.Second):
			g.t.Fatalf("directive %d never came; there were %+v", n, g.taken)
		}
	}
}

// cluster is a master with fake grooms, all in one process.
type testCluster struct {
	t    *testing.T
	dir  string
	o    Options
	m    *Master
	home *home.Home
	asks *wire.Client
	// grooms by worker address; the one with the address "" is the embedded one
	grooms map[string]*fakeGroom
}

// spec is a job that would run, were there processes.
func spec(kind api.JobType, tasks int) api.JobSpec {
	s := api.JobSpec{Name: "test", Type: kind, Tasks: tasks, Command: []string{"true"}, Env: map[string]string{"API_TOKEN": "hush"}}
	job.Defaults(&s)
	return s
}

func openCluster(t *testing.T, o Options, embedded *fakeGroom) *testCluster {
	t.Helper()
	c := &testCluster{t: t, dir: t.TempDir(), o: o, grooms: map[string]*fakeGroom{}}
	if embedded != nil {
		c.grooms[""] = embedded
		c.o.Embedded = embedded.handler()
	}
	c.start()
	t.Cleanup(func() { c.end() })
	return c
}

func (c *testCluster) start() {
	c.t.Helper()
	var err error
	if c.home, err = home.Open(c.dir); err != nil {
		c.t.Fatal(err)
	}
	c.o.Home, c.o.Name, c.o.Build, c.o.Registry = c.home, "master", "test", prometheus.NewRegistry()
	c.o.Log = slog.New(slog.DiscardHandler)
	if c.m, err = Open(context.Background(), c.o); err != nil {
		c.t.Fatal(err)
	}
	c.asks = &wire.Client{
		Base: "http://in-process", Token: c.home.Token, HTTP: &http.Client{Transport: wire.InProcess{Handler: c.m.API()}},
	}
}

func (c *testCluster) end() {
	c.t.Helper()
	if c.m == nil {
		return
	}
	if err := c.m.Close(); err != nil {
		c.t.Error(err)
	}
	if err := c.home.Close(); err != nil {
		c.t.Error(err)
	}
	c.m = nil
}

// again ends the master and starts it on the same data directory. What it had not made durable it has lost.
func (c *testCluster) again() {
	c.t.Helper()
	c.end()
	c.start()
}

func (c *testCluster) register(g *fakeGroom, addr string) {
	c.t.Helper()
	var reply api.RegistrationReply
	r := api.Registration{Version: 1, Groom: g.status, WorkerAddr: addr, WorkerToken: "secret-of-the-worker"}
	if err := c.asks.Post(context.Background(), "/v1/register", r, &reply); err != nil {
		c.t.Fatal(err)
	}
	if reply.Cluster == "" || reply.Lease == 0 || reply.Heartbeat == 0 {
		c.t.Fatalf("reply %+v", reply)
	}
}

// beat sends what the groom has to report, and registers it first when the master asks for it. Reports that come again
// are part of every heartbeat.
func (c *testCluster) beat(g *fakeGroom) {
	c.t.Helper()
	for range 2 {
		var reply api.HeartbeatReply
		h := api.Heartbeat{Version: 1, Groom: g.status, Reports: g.queue}
		if err := c.asks.Post(context.Background(), "/v1/heartbeat", h, &reply); err != nil {
			c.t.Fatal(err)
		}
		if reply.Register {
			c.register(g, "")
			continue
		}
		if len(reply.Acked) != len(g.queue) {
			c.t.Fatalf("acknowledged %v of %+v", reply.Acked, g.queue)
		}
		return
	}
	c.t.Fatal("the master does not keep the registration")
}

// report tells of a task as the groom would, and keeps telling until forgotten.
func (g *fakeGroom) report(r api.Report) {
	g.rev++
	r.ID = fmt.Sprintf("%s/%d", r.Task, g.rev)
	g.queue = append(g.queue, r)
}

func (c *testCluster) submit(s api.JobSpec) api.JobID {
	c.t.Helper()
	reply, err := c.m.Submit(context.Background(), api.SubmitRequest{Version: 1, Request: c.t.Name(), Spec: s})
	if err != nil {
		c.t.Fatal(err)
	}
	return reply.Job
}

func (c *testCluster) job(id api.JobID) api.JobDetail {
	c.t.Helper()
	d, err := c.m.Job(context.Background(), string(id))
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// awaitState waits for the next entries of the journal until the job is in a state.
func (c *testCluster) awaitState(id api.JobID, state api.JobState) api.JobDetail {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	events := c.m.Events(ctx, 0)
	for {
		d := c.job(id)
		if d.State == state {
			return d
		}
		if _, ok := <-events; !ok {
			c.t.Fatalf("%s is %s (%s), want %s; tables: %s", id, d.State, d.Reason, state, pretty(c.m.State()))
		}
	}
}

func pretty(raw json.RawMessage) string {
	var v any
	_ = json.Unmarshal(raw, &v)
	b, _ := json.MarshalIndent(v, "", " ")
	return string(b)
}
