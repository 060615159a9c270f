package bsp

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"groom/api"
)

// Peer is one of the N processes of a job. Its methods belong to the goroutine of the program, except for Counter and
// Progress, which any may use.
type Peer struct {
	Log *slog.Logger

	info  api.TaskInfo
	agent *agent
	ctl   *control
	in    *inbox
	pool  blocks

	// life ends with the peer, and everything that works beside the program with it. alive ends earlier when there is
	// a reason to give up, which is its cause.
	life      context.Context
	end       context.CancelFunc
	alive     context.Context
	kill      context.CancelCauseFunc
	work      sync.WaitGroup
	listeners []net.Listener
	spans     atomic.Bool // the job runs on more than one groom

	routes   []*route
	channels []channel
	aggs     []*Agg
	messages *Chan[[]byte]
	step     atomic.Int64
	halted   bool
	began    time.Time     // of the step, for the program's own part
	synced   time.Duration // what the barrier before it took

	counting sync.Mutex
	counters map[string]*Counter
	progress atomic.Uint64 // bits of a float64
}

func newPeer(a *agent, info api.TaskInfo) *Peer {
	p := &Peer{Log: newLog(info), info: info, agent: a, counters: map[string]*Counter{}}
	p.life, p.end = context.WithCancel(context.Background())
	p.alive, p.kill = context.WithCancelCause(p.life)
	p.in = newInbox(info.Tasks, info.Epoch, &p.pool)
	for i := range info.Tasks {
		r := &route{p: p, to: i}
		if i != info.Index {
			r.queue = make(chan block, routeDepth)
		}
		p.routes = append(p.routes, r)
	}
	p.messages = NewChan(p, "bsp.messages", Bytes, None)
	p.began = time.Now()
	return p
}

// die gives the peer up. The first reason counts.
func (p *Peer) die(err error) { p.kill(err) }

// close ends everything beside the program.
func (p *Peer) close() {
	p.end()
	for _, l := range p.listeners {
		l.Close()
	}
	p.work.Wait()
}

func (p *Peer) secret() secret { return secret{key: p.info.Secret, epoch: p.info.Epoch} }

// Index is this peer's number among the peers of the job, from 0.
func (p *Peer) Index() int { return p.info.Index }

// N is the number of peers of the job.
func (p *Peer) N() int { return p.info.Tasks }

// Job is the id of the job.
func (p *Peer) Job() string { return string(p.info.Job) }

// Superstep is the number of the step that the peer is in, from 0.
func (p *Peer) Superstep() int { return int(p.step.Load()) }

// Output is the directory for this peer's part of the result. What stands there appears in the job's output when the
// job commits, and never before: names have to differ between peers.
func (p *Peer) Output() string { return p.info.Output }

// Progress tells people how far the program is, from 0 to 1.
func (p *Peer) Progress(share float64) { p.progress.Store(math.Float64bits(share)) }

// Config is the config section of the job file.
func (p *Peer) Config() Config { return Config(p.info.Config) }

// Config is what a job file says to its program. A value that cannot be understood ends the program with an error that
// names it.
type Config map[string]string

// badConfig is a value that cannot be understood, as a panic that ends the program.
type badConfig struct{ error }

// String is the value of a key, or def when the job file does not have it.
func (c Config) String(key, def string) string {
	if v, ok := c[key]; ok {
		return v
	}
	return def
}

// Int is the value of a key as a whole number.
func (c Config) Int(key string, def int) int {
	return parse(c, key, def, "a whole number", strconv.Atoi)
}

// Float is the value of a key as a number.
func (c Config) Float(key string, def float64) float64 {
	return parse(c, key, def, "a number", func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
}

// Bool is the value of a key as true or false.
func (c Config) Bool(key string, def bool) bool {
	return parse(c, key, def, "true or false", strconv.ParseBool)
}

func parse[V any](c Config, key string, def V, want string, read func(string) (V, error)) V {
	s, ok := c[key]
	if !ok {
		return def
	}
	v, err := read(s)
	if err != nil {
		panic(badConfig{fmt.Errorf("config %s: %q is not %s", key, s, want)})
	}
	return v
}

// Counter is a number that people see grow. Counters of one name are added up over the peers.
type Counter struct{ n atomic.Int64 }

// Add adds to the counter.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Counter is the counter of a name.
func (p *Peer) Counter(name string) *Counter {
	p.counting.Lock()
	defer p.counting.Unlock()
	c := p.counters[name]
	if c == nil {
		c = new(Counter)
		p.counters[name] = c
	}
	return c
}

// pulse is what a ping tells.
func (p *Peer) pulse() api.PingMessage {
	m := api.PingMessage{
		Version: api.Version, Step: p.Superstep(), Progress: math.Float64frombits(p.progress.Load()),
		Counters: map[string]int64{},
	}
	p.counting.Lock()
	defer p.counting.Unlock()
	for name, c := range p.counters {
		m.Counters[name] = c.n.Load()
	}
	return m
}

// onDone calls f when the context ends; the function that it returns takes that back.
func onDone(ctx context.Context, f func()) (cancel func()) {
	stop := context.AfterFunc(ctx, f)
	return func() { stop() }
}

// cause is why the peer was given up.
func (p *Peer) cause() error { return context.Cause(p.alive) }
