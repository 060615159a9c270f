package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxStreams = 256              // open at once; one a page
	beatEvery  = 15 * time.Second // a comment, so that nobody between takes the stream for dead
	writeWait  = 10 * time.Second // for a reader that does not take what it is sent
)

// crowd counts the streams that are open.
type crowd struct {
	mu    sync.Mutex
	n     int
	limit int
}

func (c *crowd) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == c.limit {
		return false
	}
	c.n++
	return true
}

func (c *crowd) leave() {
	c.mu.Lock()
	c.n--
	c.mu.Unlock()
}

// seen is how far a listener has come in each of several sources. As the id of an event it reads "groom:12,master:7",
// so that a browser which comes back goes on exactly where it was.
type seen map[string]uint64

func (s seen) String() string {
	var parts []string
	for _, of := range sortedKeys(s) {
		parts = append(parts, fmt.Sprintf("%s:%d", of, s[of]))
	}
	return strings.Join(parts, ",")
}

// parseSeen is what a listener says that it has: a browser that reconnects in a header, others in the query.
func parseSeen(r *http.Request) seen {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	s := seen{}
	for part := range strings.SplitSeq(text, ",") {
		of, index, _ := strings.Cut(part, ":")
		if n, err := strconv.ParseUint(index, 10, 64); err == nil {
			s[of] = n
		}
	}
	return s
}

// untilClosed is a context that ends with the site as well.
func (s *Site) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// eventStream writes server-sent events.
type eventStream struct {
	w    http.ResponseWriter
	out  *http.ResponseController
	beat *time.Ticker
}

func newEventStream(w http.ResponseWriter) *eventStream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	return &eventStream{w: w, out: http.NewResponseController(w), beat: time.NewTicker(beatEvery)}
}

// close leaves the connection as it was: a request that comes on it later has no deadline of this stream.
func (st *eventStream) close() {
	st.beat.Stop()
	_ = st.out.SetWriteDeadline(time.Time{})
}

func (st *eventStream) comment(text string) error { return st.write(": " + text + "\n\n") }

func (st *eventStream) event(id seen, kind string, data []byte) error {
	return st.write(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, kind, data))
}

// write bounds how long a reader may take, so that one who stopped reading holds nothing for long.
func (st *eventStream) write(text string) error {
	_ = st.out.SetWriteDeadline(time.Now().Add(writeWait)) // where there is none, the write may take longer
	if _, err := st.w.Write([]byte(text)); err != nil {
		return err
	}
	return st.out.Flush()
}
