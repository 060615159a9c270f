package bsp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"groom/api"
	"groom/bsp/frame"
)

// streamProtocol is what the control stream is upgraded to.
const streamProtocol = "groom-bsp/1"

// Pauses between two tries to reach the groom, doubled from the first to the last.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// control is the peer's stream to its groom. The stream may break at any moment, since a groom may be killed and
// started again: it is opened again for as long as it takes, and the hello repeats the last two arrivals, from which
// a groom that knows nothing computes the same release again.
type control struct {
	p        *Peer
	welcomed chan struct{} // closed once the peers are known
	peers    []api.PeerAddr
	released chan api.Release

	mu      sync.Mutex
	conn    net.Conn  // nil while there is none
	since   time.Time // when it was opened
	hello   api.Hello
	waiting int // step whose release is waited for, -1 when none is
	out     []byte
}

func newControl(p *Peer, hello api.Hello) *control {
	return &control{
		p: p, hello: hello, waiting: -1,
		welcomed: make(chan struct{}), released: make(chan api.Release, 1),
	}
}

// run keeps the stream open for the life of the peer.
func (c *control) run() {
	pause := firstPause
	for c.p.life.Err() == nil {
		conn, r, err := c.dial()
		if err == nil {
			pause = firstPause
			err = c.follow(conn, r)
		}
		if c.p.life.Err() != nil {
			return
		}
		c.p.Log.Debug("control stream", "err", err)
		select {
		case <-c.p.life.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, lastPause)
	}
}

// dial opens the stream. The answer has to come soon: a groom that is stopped, or busy with its start, is asked again.
func (c *control) dial() (net.Conn, *bufio.Reader, error) {
	conn, err := c.p.agent.dial(c.p.life)
	if err != nil {
		return nil, nil, fmt.Errorf("reach groom: %w", err)
	}
	defer onDone(c.p.life, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(askWithin)) // an error shows in what follows
	r := bufio.NewReader(conn)
	if err := c.upgrade(conn, r); err != nil {
		conn.Close()
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, r, nil
}

func (c *control) upgrade(conn net.Conn, r *bufio.Reader) error {
	req, err := http.NewRequest(http.MethodPost, c.p.agent.client.Base+"/v1/stream", http.NoBody)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", streamProtocol)
	req.Header.Set("Authorization", "Bearer "+c.p.agent.client.Token)
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("ask for stream: %w", err)
	}
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return fmt.Errorf("ask for stream: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // for the error alone
	if problem := new(api.Problem); json.Unmarshal(body, problem) == nil && problem.Code == api.CodeForbidden {
		c.p.die(fmt.Errorf("%w: %s", ErrRolledBack, problem.Detail)) // the groom has given this attempt up
	}
	return fmt.Errorf("ask for stream: %s: %s", resp.Status, body)
}

// follow says hello and takes what the groom says until the stream breaks.
func (c *control) follow(conn net.Conn, r io.Reader) error {
	defer conn.Close()
	defer onDone(c.p.life, func() { conn.Close() })()
	c.mu.Lock()
	c.conn, c.since = conn, time.Now()
	err := c.write(api.FrameHello, c.hello)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.conn = nil
		c.mu.Unlock()
	}()
	for err == nil {
		var t api.FrameType
		var body []byte
		if t, body, err = frame.Read(r); err == nil {
			c.p.agent.touch()
			err = c.take(t, body)
		}
	}
	return err
}

// write sends a frame. Its error is the end of the stream, which follow sees too.
func (c *control) write(t api.FrameType, body any) error {
	out, err := frame.Append(c.out[:0], t, body)
	if err != nil {
		return err
	}
	c.out = out
	_, err = c.conn.Write(out)
	return err
}

func (c *control) take(t api.FrameType, body []byte) error {
	switch t {
	case api.FrameWelcome:
		var w api.Welcome
		if err := json.Unmarshal(body, &w); err != nil {
			return fmt.Errorf("decode welcome: %w", err)
		}
		return c.welcome(w)
	case api.FrameRelease:
		var rel api.Release
		if err := json.Unmarshal(body, &rel); err != nil {
			return fmt.Errorf("decode release: %w", err)
		}
		c.release(rel)
	case api.FrameRollback:
		var back api.Rollback
		if err := json.Unmarshal(body, &back); err != nil {
			return fmt.Errorf("decode rollback: %w", err)
		}
		c.p.die(fmt.Errorf("%w: %s", ErrRolledBack, back.Reason))
		return ErrRolledBack
	default:
		return fmt.Errorf("frame of unknown type %d", t)
	}
	return nil
}

// welcome learns the peers, once: after a reconnect the groom tells the same again.
func (c *control) welcome(w api.Welcome) error {
	select {
	case <-c.welcomed:
		return nil
	default:
	}
	if w.Epoch != c.hello.Epoch || len(w.Peers) != c.p.info.Tasks {
		return fmt.Errorf("welcome to %d peers in epoch %d, want %d in epoch %d",
			len(w.Peers), w.Epoch, c.p.info.Tasks, c.hello.Epoch)
	}
	for _, other := range w.Peers {
		if other.Groom != w.Peers[0].Groom {
			c.p.spans.Store(true)
		}
	}
	c.peers = w.Peers
	close(c.welcomed)
	return nil
}

// release hands over what is waited for. Anything else was told before.
func (c *control) release(rel api.Release) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rel.Epoch == c.hello.Epoch && rel.Index == c.hello.Index && rel.Step == c.waiting {
		c.waiting = -1
		c.released <- rel
	}
}

// arrive says that the peer has arrived, now or, while there is no stream, in the next hello.
func (c *control) arrive(a api.Arrive) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hello.Arrivals = append(c.hello.Arrivals, a)
	c.hello.Arrivals = c.hello.Arrivals[max(0, len(c.hello.Arrivals)-2):]
	c.waiting = a.Step
	if c.conn != nil {
		_ = c.write(api.FrameArrive, a) // a stream that broke is opened again, and the hello repeats it
	}
}

// await waits for the release from the step in which the peer arrived.
func (c *control) await() (api.Release, error) {
	select {
	case rel := <-c.released:
		return rel, nil
	case <-c.p.alive.Done():
		return api.Release{}, c.p.cause()
	}
}

// open is for how long the stream has been.
func (c *control) open() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return 0
	}
	return time.Since(c.since)
}
