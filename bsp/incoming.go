package bsp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"groom/api"
)

// inbox holds what peers sent: the messages of the step before, which the program reads, and those of the step now,
// and of the next one, since a peer that was released earlier may be one step ahead. None can be further.
type inbox struct {
	n, epoch int
	pool     *blocks

	mu      sync.Mutex
	step    int
	current []received // sent in step-1, by sender
	coming  [2][]received
	gone    []bool        // senders whose connection has ended
	news    chan struct{} // something changed; only Sync waits for it
}

// received is what came from one sender in one step.
type received struct {
	blocks []block
	count  api.Count
	last   bool
}

func newInbox(n, epoch int, pool *blocks) *inbox {
	in := &inbox{n: n, epoch: epoch, pool: pool, gone: make([]bool, n), news: make(chan struct{}, 1)}
	in.current = make([]received, n)
	for i := range in.coming {
		in.coming[i] = make([]received, n)
	}
	return in
}

// add takes one block over.
func (in *inbox) add(from int, b block) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	ahead := b.step() - in.step
	if b.epoch() != in.epoch || ahead < 0 || ahead > 1 {
		return fmt.Errorf("block of step %d in epoch %d from peer %d, this peer is in step %d of epoch %d: %w",
			b.step(), b.epoch(), from, in.step, in.epoch, ErrForeign)
	}
	r := &in.coming[ahead][from]
	if r.last || b.seq() != len(r.blocks) {
		return fmt.Errorf("block %d from peer %d in step %d, after %d of them: %w",
			b.seq(), from, b.step(), len(r.blocks), ErrLost)
	}
	r.blocks = append(r.blocks, b)
	r.count.Messages += int64(b.messages())
	r.count.Bytes += int64(len(b.payload()))
	r.last = b.last()
	if r.last { // nothing that Sync waits for is complete before
		in.tell()
	}
	return nil
}

func (in *inbox) tell() {
	select {
	case in.news <- struct{}{}:
	default:
	}
}

func (in *inbox) left(from int) {
	in.mu.Lock()
	in.gone[from] = true
	in.mu.Unlock()
	in.tell()
}

// complete says whether exactly what was announced has arrived, and whose part is missing and cannot come any more.
func (in *inbox) complete(expect map[int]api.Count) (done bool, lost []int, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	done = true
	for from := range in.n {
		r, want := &in.coming[0][from], expect[from]
		switch {
		case r.last && r.count != want, r.count.Messages > want.Messages, r.count.Bytes > want.Bytes:
			return false, nil, fmt.Errorf(
				"peer %d announced %d messages (%d bytes) for step %d, and %d (%d bytes) arrived: %w",
				from, want.Messages, want.Bytes, in.step, r.count.Messages, r.count.Bytes, ErrLost)
		case want != (api.Count{}) && !r.last:
			done = false
			if in.gone[from] {
				lost = append(lost, from)
			}
		}
	}
	return done, lost, nil
}

// turn makes what arrived the messages of the next step. The program has read those of the step before.
func (in *inbox) turn() {
	in.mu.Lock()
	defer in.mu.Unlock()
	old := in.current
	for i := range old {
		for _, b := range old[i].blocks {
			in.pool.put(b)
		}
		clear(old[i].blocks)
		old[i] = received{blocks: old[i].blocks[:0]}
	}
	in.current, in.coming[0], in.coming[1] = in.coming[0], in.coming[1], old
	in.step++
}

// unread counts the messages that can be read in this step.
func (in *inbox) unread() (n int64) {
	for _, r := range in.current {
		n += r.count.Messages
	}
	return n
}

// listen takes data of other peers on one address.
func (p *Peer) listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen for data: %w", err)
	}
	p.listeners = append(p.listeners, l)
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				p.Log.Warn("accept data", "err", err) // out of files, most likely
				select {
				case <-p.life.Done():
					return
				case <-time.After(10 * time.Millisecond):
					continue
				}
			}
			p.work.Go(func() { p.receive(c) })
		}
	})
	return l, nil
}

// receive takes what one peer sends until its connection ends.
func (p *Peer) receive(c net.Conn) {
	defer c.Close()
	defer onDone(p.life, func() { c.Close() })()
	_ = c.SetDeadline(time.Now().Add(greetWithin)) // an error shows in what follows
	from, err := p.secret().admit(c, p.info.Index, p.info.Tasks)
	if err != nil {
		p.Log.Warn("refused a data connection", "from", c.RemoteAddr(), "err", err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	r := bufio.NewReader(c)
	for {
		b, err := p.pool.read(r)
		if err == nil {
			err = p.in.add(from, b)
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrForeign), errors.Is(err, ErrLost):
			p.die(err)
			return
		default: // the other peer has ended, well or not; Sync knows whether something is missing
			if !errors.Is(err, io.EOF) {
				p.Log.Debug("data connection ended", "from", from, "err", err)
			}
			p.in.left(from)
			return
		}
	}
}
