package barrier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"groom/api"
	"groom/bsp/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const job = api.JobID("job_202611250000_0001")

// cluster is several grooms whose hubs can be killed and started again. A killed hub forgets everything.
type cluster struct {
	place []int // groom of each peer; the root is groom 0
	epoch int
	wrap  func(io.ReadWriteCloser) io.ReadWriteCloser // of streams between grooms

	know atomic.Int64 // peers that were released from the halting step

	mu    sync.Mutex
	hubs  []*Hub
	steps []api.Superstep
	work  sync.WaitGroup // streams being served
}

func newCluster(place ...int) *cluster {
	c := &cluster{place: place, epoch: 1, wrap: func(s io.ReadWriteCloser) io.ReadWriteCloser { return s }}
	grooms := 0
	for _, g := range place {
		grooms = max(grooms, g+1)
	}
	c.hubs = make([]*Hub, grooms)
	for g := range c.hubs {
		c.hubs[g] = c.start(g)
	}
	return c
}

func (c *cluster) start(g int) *Hub {
	h := New(Options{Log: slog.New(slog.DiscardHandler), Dial: c.dial, OnStep: c.onStep})
	h.Begin(c.job(g))
	return h
}

func (c *cluster) job(g int) Job {
	j := Job{ID: job, Epoch: c.epoch, Tasks: len(c.place), Self: name(g), Root: api.RootAddr{Groom: name(0)}}
	for i, at := range c.place {
		if at == g {
			j.Local = append(j.Local, i)
		}
	}
	return j
}

func name(g int) string { return fmt.Sprint("groom ", g) }

func (c *cluster) onStep(_ api.JobID, s api.Superstep) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, s)
}

// dial is what grooms reach the root with.
func (c *cluster) dial(_ context.Context, _ api.RootAddr, id api.JobID, epoch int) (io.ReadWriteCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hubs[0] == nil {
		return nil, errors.New("the root is away")
	}
	near, far := net.Pipe()
	root := c.hubs[0]
	c.work.Go(func() { root.ServeGroom(context.Background(), far, id, epoch, name(1)) })
	return c.wrap(near), nil
}

// connect opens the stream of a peer.
func (c *cluster) connect(index, epoch int) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hubs[c.place[index]]
	if h == nil {
		return nil, errors.New("the groom is away")
	}
	near, far := net.Pipe()
	c.work.Go(func() { h.ServeTask(context.Background(), far, job.Task(index).Attempt(1), epoch) })
	return near, nil
}

// restart kills a hub and starts it again, empty.
func (c *cluster) restart(g int) {
	c.mu.Lock()
	old := c.hubs[g]
	c.hubs[g] = nil
	c.mu.Unlock()
	if old == nil {
		return // another peer is at it
	}
	old.Close()
	fresh := c.start(g)
	c.mu.Lock()
	c.hubs[g] = fresh
	c.mu.Unlock()
}

func (c *cluster) close() {
	for _, h := range c.hubs {
		h.Close()
	}
	c.work.Wait()
}

// fake is a peer as the SDK is: it repeats its last two arrivals in each hello.
type fake struct {
	c        *cluster
	index    int
	conn     net.Conn
	arrivals []api.Arrive
}

func (f *fake) lose() {
	if f.conn != nil {
		f.conn.Close()
		f.conn = nil
	}
}

// open says hello, as often as it takes.
func (f *fake) open() {
	for f.conn == nil {
		conn, err := f.c.connect(f.index, f.c.epoch)
		if err != nil {
			time.Sleep(time.Millisecond) // the hub is being started by another goroutine
			continue
		}
		f.conn = conn
		h := api.Hello{Version: api.Version, Epoch: f.c.epoch, Index: f.index, TCP: fmt.Sprint("tcp ", f.index), Arrivals: f.arrivals}
		f.send(api.FrameHello, h)
	}
}

func (f *fake) send(t api.FrameType, body any) {
	b, err := frame.Append(nil, t, body)
	if err != nil {
		panic(err)
	}
	if f.conn != nil {
		if _, err := f.conn.Write(b); err != nil {
			f.lose()
		}
	}
}

var errRolledBack = errors.New("rolled back")

// read reads one frame; ok is false when the stream broke.
func (f *fake) read() (t api.FrameType, body []byte, ok bool) {
	t, body, err := frame.Read(f.conn)
	if err != nil {
		f.lose()
		return 0, nil, false
	}
	return t, body, true
}

// arrive says that the peer has arrived, by a frame or, when there is no stream, by a hello.
func (f *fake) arrive(a api.Arrive) {
	f.arrivals = append(f.arrivals, a)
	f.arrivals = f.arrivals[max(0, len(f.arrivals)-2):]
	f.send(api.FrameArrive, a)
}

// await waits for the release from the newest arrival. A peer that is done waits for the last release only as long as
// another does not know the end; the SDK has a time for that, and here the test knows.
func (f *fake) await(done bool) (api.Release, error) {
	step := f.arrivals[len(f.arrivals)-1].Step
	for {
		f.open()
		if f.conn == nil {
			continue
		}
		if done {
			f.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		}
		t, body, ok := f.read()
		switch {
		case !ok && done && f.c.know.Load() == int64(len(f.c.place)):
			return api.Release{Step: step, Halt: true}, nil
		case !ok:
		case t == api.FrameRollback:
			var back api.Rollback
			if err := json.Unmarshal(body, &back); err != nil {
				return api.Release{}, err
			}
			return api.Release{}, fmt.Errorf("%w: %s", errRolledBack, back.Reason)
		case t == api.FrameRelease:
			var rel api.Release
			if err := json.Unmarshal(body, &rel); err != nil {
				return api.Release{}, err
			}
			if rel.Index != f.index {
				return rel, fmt.Errorf("peer %d got the release of peer %d", f.index, rel.Index)
			}
			if rel.Step == step {
				return rel, nil
			}
			if rel.Step > step {
				return rel, fmt.Errorf("peer %d, in step %d, was released from %d", f.index, step, rel.Step)
			}
		}
	}
}
