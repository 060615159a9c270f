package barrier

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"groom/api"
	"groom/bsp/frame"
)

// Frames between grooms. Groom to root: hellos are told one by one, as a peer may have to be told of again alone;
// arrivals of one step go together, when the last of the groom's peers has arrived. Root to groom: frames for peers,
// as the root made them, so that the groom between needs not understand them.
const (
	frameHello   api.FrameType = 16 // api.Hello
	frameArrives api.FrameType = 17 // []api.Arrive, all of one step
	frameParcel  api.FrameType = 18 // []parcel
)

// parcel is a frame for some peers of one groom.
type parcel struct {
	To   []int           `json:"to"`
	Type api.FrameType   `json:"type"`
	Body json.RawMessage `json:"body"`
}

// conn is one stream with a writer of its own, so that a peer that does not read (a stopped process, a dead host)
// never holds up the others. What waits for it is bounded by the protocol: a peer that has not taken the release of a
// step is sent nothing for the next.
type conn struct {
	rwc  io.ReadWriteCloser
	r    *bufio.Reader
	wake chan struct{}
	gone chan struct{}

	mu      sync.Mutex
	pending []byte
	closed  bool
}

func newConn(rwc io.ReadWriteCloser) *conn {
	return &conn{rwc: rwc, r: bufio.NewReader(rwc), wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// send queues a frame. A stream that is closed drops it: whoever comes back says hello again, and is told again.
func (c *conn) send(t api.FrameType, body []byte) {
	c.mu.Lock()
	if !c.closed {
		c.pending = frame.AppendRaw(c.pending, t, body)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default: // the writer is awake, and looks again after this
	}
}

// farewell is how long the other side has to take the last frame and to close the stream. To close it first, with
// something unread, could cost that frame on TCP.
const farewell = time.Second

// dismiss sends the last frame of a stream.
func (c *conn) dismiss(r api.Rollback) {
	c.send(api.FrameRollback, encode(r))
	time.AfterFunc(farewell, c.close)
}

// drain reads what nobody needs any more until the stream is closed.
func (c *conn) drain() { _, _ = io.Copy(io.Discard, c.r) } // the error is the end of the stream

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.gone)
		c.rwc.Close()
	}
}

// write writes what is queued until the stream is closed.
func (c *conn) write() {
	defer c.close()
	var spare []byte
	for {
		select {
		case <-c.gone:
			return
		case <-c.wake:
		}
		c.mu.Lock()
		out := c.pending
		c.pending = spare[:0]
		c.mu.Unlock()
		if len(out) > 0 {
			if _, err := c.rwc.Write(out); err != nil {
				return
			}
		}
		spare = out
	}
}

// read decodes one frame of the type wanted.
func (c *conn) read(want api.FrameType, body any) error {
	t, b, err := frame.Read(c.r)
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("read frame: type %d, want %d", t, want)
	}
	if err := json.Unmarshal(b, body); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}

// encode is the JSON of a message of this protocol, which always has one.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("barrier: encode %T: %v", v, err)) // a NaN in an aggregator is kept out by root.check
	}
	return b
}
