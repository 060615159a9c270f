package story

import (
	"context"
	"sync"

	"groom/api"
)

// Feed hands events to whoever listens. It never waits: a listener that falls behind loses its channel, and starts
// over from what it saw last.
type Feed struct {
	mu        sync.Mutex
	recent    []api.Event // ring of the newest, for listeners that come back
	listeners map[chan api.Event]bool
}

const (
	feedRecent = 1024 // events kept
	feedBehind = 256  // events a listener may be behind
)

// NewFeed makes a feed without listeners.
func NewFeed() *Feed { return &Feed{listeners: map[chan api.Event]bool{}} }

// Publish hands out an event.
func (f *Feed) Publish(e api.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.recent) == feedRecent {
		copy(f.recent, f.recent[feedRecent/2:])
		f.recent = f.recent[:feedRecent/2]
	}
	f.recent = append(f.recent, e)
	for ch := range f.listeners {
		select {
		case ch <- e:
		default:
			delete(f.listeners, ch)
			close(ch)
		}
	}
}

// Listen returns the events that follow index after, as far as they are kept, and then every new one. The channel is
// closed when ctx ends or the listener falls behind.
func (f *Feed) Listen(ctx context.Context, after uint64) <-chan api.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan api.Event, feedRecent+feedBehind)
	if after > 0 {
		for _, e := range f.recent {
			if e.ID > after {
				ch <- e
			}
		}
	}
	f.listeners[ch] = true
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.listeners[ch] {
			delete(f.listeners, ch)
			close(ch)
		}
	})
	return ch
}
