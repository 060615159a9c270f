package web

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"groom/api"
)

// sse is one server-sent event.
type sse struct{ id, event, data string }

// listenTo opens an event stream and returns what reads its next event.
func listenTo(t *testing.T, url string, headers ...string) func() (sse, bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	in := bufio.NewReader(resp.Body)
	return func() (e sse, ok bool) {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return e, false
			}
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.event = value
			case "data":
				e.data = value
			case "":
				if e.event != "" {
					return e, true
				}
			}
		}
	}
}

func want(t *testing.T, next func() (sse, bool), id, event string) sse {
	t.Helper()
	e, ok := next()
	if !ok || e.id != id || e.event != event {
		t.Fatalf("got %+v (%v), want %s %s", e, ok, event, id)
	}
	return e
}

// A listener hears of both journals, and the id of each event says how far it has come in each.
func TestEvents(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	next := listenTo(t, srv.URL+"/events")
	w.advance("groom")
	var got api.Event
	if err := json.Unmarshal([]byte(want(t, next, "groom:301,master:300", "entry").data), &got); err != nil || got.Words != "entry 301" || got.Job != jobID {
		t.Errorf("%+v: %v", got, err)
	}
	w.advance("master")
	want(t, next, "groom:301,master:302", "entry")
	w.feeds["groom"].Publish(api.Event{Of: "groom", Kind: "soft", Words: "superstep 7"})
	if e := want(t, next, "groom:301,master:302", "entry"); !strings.Contains(e.data, "superstep 7") {
		t.Errorf("%+v", e)
	}
}

// Who comes back is told exactly what it missed, of each journal.
func TestEventsResume(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	for range 3 {
		w.advance("groom") // 301, 302, 303
	}
	next := listenTo(t, srv.URL+"/events", "Last-Event-ID: groom:301,master:303,evil:9")
	want(t, next, "groom:302,master:303", "entry")
	want(t, next, "groom:303,master:303", "entry")
	w.advance("master")
	want(t, next, "groom:303,master:304", "entry")
	next = listenTo(t, srv.URL+"/events?after=groom:302,master:304")
	want(t, next, "groom:303,master:304", "entry")
}

// Who comes back for what is not kept, or to a journal that was begun anew, is told to look again.
func TestEventsReset(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	w.advance("groom")
	w.advance("groom")
	next := listenTo(t, srv.URL+"/events", "Last-Event-ID: groom:17,master:302")
	want(t, next, "groom:17,master:302", "reset")
	want(t, next, "groom:301,master:302", "entry")
	want(t, next, "groom:302,master:302", "entry")
	next = listenTo(t, srv.URL+"/events", "Last-Event-ID: groom:9000,master:302")
	want(t, next, "groom:302,master:302", "reset")
	w.advance("groom")
	want(t, next, "groom:303,master:302", "entry")
}

// A listener that falls behind is told to look again, and its connection ends, so that it comes back.
func TestEventsFellBehind(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	next := listenTo(t, srv.URL+"/events")
	text := strings.Repeat("x", 64<<10)
	for i := range 4000 { // far more than the sockets between hold, and than the feed waits for
		w.feeds["groom"].Publish(api.Event{ID: 301 + uint64(i), Of: "groom", Kind: "k", Words: text})
	}
	for {
		e, ok := next()
		if !ok {
			t.Fatal("the stream ended without a word")
		}
		if e.event == "reset" {
			break
		}
	}
	if e, ok := next(); ok {
		t.Errorf("it goes on: %+v", e)
	}
}

// The number of listeners is bounded, and a closed site lets go of them all.
func TestEventsBounded(t *testing.T) {
	w := newWorld()
	srv, s := serve(t, w)
	s.crowd.limit = 2
	one := listenTo(t, srv.URL+"/events")
	two := listenTo(t, srv.URL+"/tasks/"+string(jobID.Task(0))+"/logs")
	for _, path := range []string{"/events", "/attempts/" + string(jobID.Task(0).Attempt(1)) + "/logs?follow=1"} {
		if resp, body := ask(t, "GET", srv.URL+path, "", asProgram); resp.StatusCode != 503 {
			t.Errorf("%s: %s: %s", path, resp.Status, body)
		}
	}
	s.Close()
	for i, next := range []func() (sse, bool){one, two} {
		for {
			e, ok := next()
			if !ok {
				break
			}
			if e.event == "reset" {
				t.Errorf("listener %d: %+v", i, e)
			}
		}
	}
}

// Without journals there is nothing to tell, and nobody is sent away for it.
func TestEventsOfNothing(t *testing.T) {
	srv, s := serve(t, nil)
	s.Ready(empty{}, nil)
	next := listenTo(t, srv.URL+"/events")
	s.Close()
	if e, ok := next(); ok {
		t.Errorf("%+v", e)
	}
}

// A silent stream says every 15 s that it lives.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		l := &listener{eventStream: newEventStream(w), seen: seen{}, resumed: map[string]bool{}}
		defer l.close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		if err := l.run(ctx, make(chan api.Event)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(w.Body.String(), ": still here\n\n"); got != 3 {
			t.Errorf("%d signs of life in 50 s", got)
		}
	})
}
