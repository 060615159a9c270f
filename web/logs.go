package web

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"groom/api"
	"groom/wire"
)

// streams are what a task writes to.
var streams = []string{"stdout", "stderr"}

// logQuery is which part of which stream of which attempt is asked for.
type logQuery struct {
	attempt api.AttemptID
	stream  string // "" for both, where that is possible
	offset  int64
	from    bool // an offset was given
	follow  bool
	raw     bool
}

func parseLogQuery(r *http.Request) (logQuery, error) {
	v := r.URL.Query()
	q := logQuery{stream: v.Get("stream"), follow: v.Get("follow") == "1", raw: v.Get("raw") == "1"}
	if q.stream != "" && !slices.Contains(streams, q.stream) {
		return q, api.Problemf(api.CodeInvalid, "stream %q: want stdout or stderr", q.stream)
	}
	if text := v.Get("offset"); text != "" {
		var err error
		if q.offset, err = strconv.ParseInt(text, 10, 64); err != nil {
			return q, api.Problemf(api.CodeInvalid, "offset %q: want a number of bytes; a negative one counts from the end", text)
		}
		q.from = true
	}
	return q, nil
}

// logsOfAttempt sends one stream of an attempt: as lines of api.LogChunk, or as plain bytes.
func (s *Site) logsOfAttempt(w http.ResponseWriter, r *http.Request) {
	now := s.ready.Load()
	if now == nil {
		s.starting(w, r)
		return
	}
	q, err := parseLogQuery(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	if q.attempt, err = api.ParseAttemptID(mux.Vars(r)["attempt"]); err != nil {
		s.problem(w, r, api.Problemf(api.CodeInvalid, "%v", err).WithHint("groom task status TASK lists the attempts of a task"))
		return
	}
	s.sendLogs(w, r, now.views, q)
}

// logsOfTask is the page of both streams of an attempt, the newest unless told. The page follows them on this same
// address by one event stream; programs are sent lines, or bytes, as of an attempt.
func (s *Site) logsOfTask(w http.ResponseWriter, r *http.Request) {
	now := s.ready.Load()
	if now == nil {
		s.starting(w, r)
		return
	}
	q, err := parseLogQuery(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	d, err := now.views.Task(r.Context(), mux.Vars(r)["task"])
	if err != nil {
		s.problem(w, r, err)
		return
	}
	n, err := attemptOf(r, d)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	q.attempt = d.ID.Attempt(n)
	accept := r.Header.Get("Accept")
	stream := strings.Contains(accept, "text/event-stream")
	lines := q.raw || strings.Contains(accept, "application/jsonl")
	if n == 0 && (stream || lines) {
		s.problem(w, r, api.Problemf(api.CodeNotFound, "task %s has no attempt yet", d.ID).WithHint("groom task status %s", d.ID))
		return
	}
	switch {
	case stream:
		s.followTask(w, r, now.views, q)
	case lines:
		s.sendLogs(w, r, now.views, q)
	default:
		s.page("logs", func(ctx context.Context, v Views, _ *http.Request) (any, error) {
			return newLogPage(ctx, v, d, n, q)
		})(w, r)
	}
}

// attemptOf is the number of the attempt that is asked for, 0 when there is none yet.
func attemptOf(r *http.Request, d api.TaskDetail) (int, error) {
	n, err := number(r, "attempt", 0)
	if err != nil {
		return 0, err
	}
	if n > uint64(d.Attempt) {
		return 0, api.Problemf(api.CodeNotFound, "task %s has no attempt %d; the newest is %d", d.ID, n, d.Attempt).
			WithHint("groom task status %s", d.ID)
	}
	if n == 0 {
		return d.Attempt, nil
	}
	return int(n), nil
}

func (s *Site) sendLogs(w http.ResponseWriter, r *http.Request, v Views, q logQuery) {
	if q.stream == "" {
		q.stream = streams[0]
	}
	if q.follow && !s.crowd.enter() {
		s.problem(w, r, api.Problemf(api.CodeUnavailable, "%d readers follow already", s.crowd.limit).WithHint("close some of them"))
		return
	} else if q.follow {
		defer s.crowd.leave()
	}
	ctx, cancel := s.untilClosed(r.Context())
	defer cancel()
	chunks, err := v.Logs(ctx, q.attempt, q.stream, q.offset, q.follow)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	if q.raw {
		raw(w, q, chunks)
		return
	}
	wire.AnswerLines(w, chunks)
}

// raw sends the bytes as the task wrote them, with a line in the place of what is not kept.
func raw(w http.ResponseWriter, q logQuery, chunks iter.Seq2[api.LogChunk, error]) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`inline; filename="%s.%s.log"`, q.attempt, q.stream))
	out := http.NewResponseController(w)
	for c, err := range chunks {
		if err != nil {
			panic(http.ErrAbortHandler) // the reader sees an answer that is cut short, and not one that is whole
		}
		if c.Gap > 0 {
			fmt.Fprintf(w, "\n[%d bytes are not kept]\n", c.Gap)
		}
		if _, err := w.Write(c.Data); err != nil {
			return
		}
		_ = out.Flush()
	}
}
