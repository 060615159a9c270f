// Package bsptest runs BSP programs in tests, without a groom: every peer in this process, over the same barriers and
// the same sockets as in a job.
package bsptest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"groom/api"
	"groom/bsp"
	"groom/server/barrier"
	"groom/wire"
)

// Result is what a job did.
type Result struct {
	Errs   []error         // by peer; nil for one that is done
	Output string          // the directory that every peer was given
	Steps  []api.Superstep // oldest first
}

// Run runs a program as n peers, and fails the test when one of them fails.
func Run(t testing.TB, n int, config map[string]string, program func(*bsp.Peer) error) Result {
	t.Helper()
	res := Try(t, n, config, program)
	for i, err := range res.Errs {
		if err != nil {
			t.Fatalf("peer %d: %v", i, err)
		}
	}
	return res
}

// Try is Run for a program that may fail: as in a job, the first peer that fails ends the epoch of the others.
func Try(t testing.TB, n int, config map[string]string, program func(*bsp.Peer) error) Result {
	t.Helper()
	g := Start(t.TempDir(), n, config)
	defer g.Close()
	return g.Try(program)
}

// Groom stands for the groom of one job, or for all of them when the job spans several: peer i is on groom i modulo
// their number, and the barriers meet on the first.
type Groom struct {
	n      int
	config map[string]string
	socket string
	output string

	mu    sync.Mutex
	epoch int
	hubs  []*barrier.Hub
	srv   *http.Server
	steps []api.Superstep
	work  sync.WaitGroup
}

// Start starts a groom for a job of n peers, whose output goes to a directory. What keeps it from starting is a panic:
// there is no test that could go on.
func Start(dir string, n int, config map[string]string) *Groom { return Spread(dir, 1, n, config) }

// Spread is Start for a job that spans grooms: peers of different ones send each other data over TCP.
func Spread(dir string, grooms, n int, config map[string]string) *Groom {
	g := &Groom{
		n: n, config: config, epoch: 1, output: dir, socket: "@bsptest-" + rand.Text(),
		hubs: make([]*barrier.Hub, grooms),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open()
	return g
}

func (g *Groom) open() {
	l, err := net.Listen("unix", g.socket)
	if err != nil {
		panic(err)
	}
	root := barrier.New(barrier.Options{
		Log:    slog.New(slog.DiscardHandler),
		OnStep: func(_ api.JobID, s api.Superstep) { g.steps = append(g.steps, s) },
	})
	g.hubs[0] = root
	for i := 1; i < len(g.hubs); i++ {
		dial := func(ctx context.Context, _ api.RootAddr, id api.JobID, epoch int) (io.ReadWriteCloser, error) {
			near, far := net.Pipe()
			g.work.Go(func() { root.ServeGroom(context.WithoutCancel(ctx), far, id, epoch, name(i)) })
			return near, nil
		}
		g.hubs[i] = barrier.New(barrier.Options{Log: slog.New(slog.DiscardHandler), Dial: dial})
	}
	g.begin()
	srv := &http.Server{Handler: g.mux(slices.Clone(g.hubs), g.epoch)}
	g.srv = srv
	g.work.Go(func() { _ = srv.Serve(l) }) // ends by Close
}

func name(i int) string { return fmt.Sprint("groom-", i) }

func (g *Groom) begin() {
	for i, hub := range g.hubs {
		j := barrier.Job{ID: job, Epoch: g.epoch, Tasks: g.n, Self: name(i), Root: api.RootAddr{Groom: name(0)}}
		for k := i; k < g.n; k += len(g.hubs) {
			j.Local = append(j.Local, k)
		}
		hub.Begin(j)
	}
}

// Restart kills the groom, or all of them, and starts it again, knowing nothing of what its peers said.
func (g *Groom) Restart() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut()
	g.open()
}

func (g *Groom) shut() {
	err := g.srv.Close()
	for _, hub := range g.hubs {
		err = errors.Join(err, hub.Close())
	}
	if err != nil {
		panic(err)
	}
}

// EndEpoch rolls the peers back, as a master does when one of them is lost.
func (g *Groom) EndEpoch() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch++
	g.begin()
}

// Close ends the groom.
func (g *Groom) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut()
	g.work.Wait()
}

// Env is the environment that makes a process one of the peers.
func (g *Groom) Env(peer int) map[string]string {
	return map[string]string{api.EnvSocket: g.socket, api.EnvToken: fmt.Sprint(peer)}
}

// Try runs a program as the peers of the job. The first one that fails ends the epoch.
func (g *Groom) Try(program func(*bsp.Peer) error) Result {
	res := Result{Errs: make([]error, g.n), Output: g.output}
	var peers, programs sync.WaitGroup
	var failed sync.Once
	for i := range g.n {
		env := g.Env(i)
		var turn atomic.Bool // taken by the program when it begins, or by the end of an epoch that was quicker
		programs.Add(1)
		peers.Go(func() {
			res.Errs[i] = bsp.Run(func(name string) string { return env[name] }, func(p *bsp.Peer) error {
				if turn.Swap(true) {
					return nil
				}
				defer programs.Done()
				return program(p)
			})
			if !turn.Swap(true) {
				programs.Done()
			}
			if res.Errs[i] != nil {
				failed.Do(g.EndEpoch)
			}
		})
	}
	peers.Wait()
	programs.Wait() // one may have been computing when its epoch ended
	g.mu.Lock()
	defer g.mu.Unlock()
	res.Steps = g.steps
	return res
}

const (
	job         = api.JobID("job_202601010000_0001")
	epochSecret = "bsptest"
)

// mux answers peers as the task report server does. A peer's token is its index.
func (g *Groom) mux(hubs []*barrier.Hub, epoch int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/task", func(w http.ResponseWriter, r *http.Request) {
		i := caller(r)
		wire.Answer(w, api.TaskInfo{
			Version: api.Version, Job: job, Name: "bsptest", Task: job.Task(i), Attempt: job.Task(i).Attempt(1),
			Index: i, Tasks: g.n, Epoch: epoch, Config: g.config, Output: g.output, Secret: epochSecret,
			Ping: api.Ping{Period: api.Duration(50 * time.Millisecond)},
		}, nil)
	})
	for _, path := range []string{"/v1/ping", "/v1/done", "/v1/fail"} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) { wire.Answer(w, nil, nil) })
	}
	mux.HandleFunc("POST /v1/stream", func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			wire.Answer(w, nil, err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+ // a peer that is gone is seen by the hub
			"Connection: Upgrade\r\nUpgrade: groom-bsp/1\r\n\r\n")
		i := caller(r)
		a := job.Task(i).Attempt(1)
		hubs[i%len(hubs)].ServeTask(context.WithoutCancel(r.Context()), &stream{conn, buffered.Reader}, a, epoch)
	})
	return mux
}

func caller(r *http.Request) (i int) {
	_, _ = fmt.Sscan(wire.Bearer(r), &i) // ours, and a number
	return i
}

// stream reads what came with the request first.
type stream struct {
	net.Conn
	r *bufio.Reader
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }
