package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"groom/api"
)

// events is the one stream of the site: every entry of every journal of the process, and progress that no journal
// holds. A listener that fell behind, or that comes back for what is not kept, is told "reset": what it knows may be
// out of date, and it goes on from the id of that event.
func (s *Site) events(w http.ResponseWriter, r *http.Request) {
	now := s.ready.Load()
	if now == nil {
		s.starting(w, r)
		return
	}
	if !s.crowd.enter() {
		s.problem(w, r, api.Problemf(api.CodeUnavailable, "%d pages listen already", s.crowd.limit).WithHint("close some of them"))
		return
	}
	defer s.crowd.leave()
	ctx, cancel := s.untilClosed(r.Context())
	defer cancel()
	newest, err := lasts(ctx, now.views)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	l := &listener{eventStream: newEventStream(w), resumed: map[string]bool{}, seen: newest}
	defer l.close()
	// What is there already the page shows; the id names every journal from the first event on, so that a listener
	// which comes back misses nothing of a journal that was silent until then.
	stale := false
	for of, after := range parseSeen(r) {
		last, ok := newest[of]
		if !ok {
			continue
		}
		if after > last { // the journal was begun anew
			stale = true
			continue
		}
		l.seen[of], l.resumed[of] = after, after < last
	}
	from := gather(ctx, now.views, l.seen)
	if l.write("retry: 1000\n: listening\n\n") != nil || stale && l.event(l.seen, "reset", []byte("{}")) != nil {
		return
	}
	if l.run(ctx, from) != nil || ctx.Err() != nil {
		return // the reader has gone, or the site ends
	}
	if newest, err := lasts(ctx, now.views); err == nil {
		_ = l.event(newest, "reset", []byte("{}")) // then the connection ends, and the browser comes back with this id
	}
}

// lasts is the newest index of each journal.
func lasts(ctx context.Context, v Views) (seen, error) {
	journals, err := v.Journals(ctx)
	s := seen{}
	for _, j := range journals {
		s[j.Of] = j.Last
	}
	return s, err
}

// gather joins the events of every journal. It closes when one of them does: the listener fell behind.
func gather(ctx context.Context, v Views, after seen) <-chan api.Event {
	out, n := make(chan api.Event), len(after)
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	for of, index := range after {
		events := v.Events(ctx, of, index)
		all.Go(func() {
			defer cancel()
			for e := range events {
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() {
		defer close(out)
		defer cancel()
		if n == 0 {
			<-ctx.Done() // nothing will ever happen
		}
		all.Wait()
	}()
	return out
}

// listener is one reader of the stream.
type listener struct {
	*eventStream
	seen    seen
	resumed map[string]bool // journals in which it came back for what it missed
}

// run sends events until there are no more, which is no error, or until the reader has gone.
func (l *listener) run(ctx context.Context, events <-chan api.Event) error {
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-l.beat.C:
			err = l.comment("still here")
		case e, ok := <-events:
			if !ok {
				return nil
			}
			err = l.tell(e)
		}
		if err != nil {
			return err
		}
	}
}

func (l *listener) tell(e api.Event) error {
	if e.ID > 0 && e.ID <= l.seen[e.Of] {
		return nil
	}
	if e.ID > 0 {
		// Entries of raft itself have no event, so a gap may be none; then a reset is one needless look.
		if l.resumed[e.Of] && e.ID > l.seen[e.Of]+1 {
			if err := l.event(l.seen, "reset", []byte("{}")); err != nil {
				return err
			}
		}
		l.resumed[e.Of] = false
		l.seen[e.Of] = e.ID
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return l.event(l.seen, "entry", data)
}
