package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"groom/api"
)

// logText is a chunk as the page appends it.
type logText struct {
	Stream string `json:"stream"`
	Gap    int64  `json:"gap,omitempty"`
	Text   string `json:"text"`
	End    bool   `json:"end,omitempty"`
}

// followTask sends both streams of an attempt as events of one stream, so that a page takes one of the few
// connections that a browser opens. The id of an event is where each goes on: "stderr:0,stdout:512".
func (s *Site) followTask(w http.ResponseWriter, r *http.Request, v Views, q logQuery) {
	if !s.crowd.enter() {
		s.problem(w, r, api.Problemf(api.CodeUnavailable, "%d readers follow already", s.crowd.limit).WithHint("close some of them"))
		return
	}
	defer s.crowd.leave()
	ctx, cancel := s.untilClosed(r.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel() // before the wait: the readers end by it
	at := seen{}
	given := parseSeen(r)
	chunks := make(chan api.LogChunk)
	for _, stream := range streams {
		if q.stream != "" && q.stream != stream {
			continue
		}
		at[stream] = given[stream]
		seq, err := v.Logs(ctx, q.attempt, stream, int64(given[stream]), true)
		if err != nil {
			s.problem(w, r, err)
			return
		}
		all.Go(func() {
			for c, err := range seq {
				if err != nil {
					cancel() // the page comes back and goes on where it was
					return
				}
				c.Stream = stream
				select {
				case chunks <- c:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() {
		all.Wait()
		cancel()
	}()
	sendChunks(ctx, newEventStream(w), at, chunks)
}

func sendChunks(ctx context.Context, st *eventStream, at seen, chunks <-chan api.LogChunk) {
	defer st.close()
	if st.write("retry: 1000\n: following\n\n") != nil {
		return
	}
	rest := map[string][]byte{} // the beginning of a character whose end has not come yet
	open := len(at)
	for open > 0 {
		select {
		case <-ctx.Done():
			return
		case <-st.beat.C:
			if st.comment("still here") != nil {
				return
			}
		case c := <-chunks:
			text := append(rest[c.Stream], c.Data...)
			whole := text
			if !c.End {
				whole = wholeRunes(text)
			}
			rest[c.Stream] = text[len(whole):]
			if c.End {
				open--
			}
			if len(whole) == 0 && !c.End && c.Gap == 0 {
				continue
			}
			at[c.Stream] = uint64(c.Offset) + uint64(len(c.Data)) - uint64(len(rest[c.Stream]))
			data, err := json.Marshal(logText{c.Stream, c.Gap, readable(whole), c.End})
			if err != nil || st.event(at, "chunk", data) != nil {
				return
			}
		}
	}
	_ = st.event(at, "end", []byte("{}"))
}
