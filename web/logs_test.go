package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"groom/api"
	"groom/wire"
)

// The command line follows a stream line by line until the attempt has ended.
func TestLogsFollowedByProgram(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	c := &wire.Client{Base: srv.URL, HTTP: http.DefaultClient}
	for _, path := range []string{"/attempts/" + string(jobID.Task(0).Attempt(1)), "/tasks/" + string(jobID.Task(0))} {
		w.logs["stdout"].text, w.logs["stdout"].end = []byte("one\n"), false
		chunks, err := wire.Lines[api.LogChunk](t.Context(), c, path+"/logs?stream=stdout&follow=1&offset=2")
		if err != nil {
			t.Fatal(err)
		}
		var text string
		for c, err := range chunks {
			if err != nil {
				t.Fatal(err)
			}
			text += string(c.Data)
			if text == "e\n" && len(c.Data) > 0 { // it waits, and hears of more
				w.write("stdout", "two\n", true)
			}
			if c.End {
				text += "."
			}
		}
		if text != "e\ntwo\n." {
			t.Errorf("%s: %q", path, text)
		}
	}
}

func TestLogsAsText(t *testing.T) {
	srv, _ := serve(t, newWorld())
	for _, path := range []string{"/attempts/" + string(jobID.Task(0).Attempt(1)), "/tasks/" + string(jobID.Task(0))} {
		resp, body := ask(t, "GET", srv.URL+path+"/logs?raw=1&stream=stdout&offset=7", "", asPerson)
		if body != "1,218 packages\n<b>not markup</b>\n" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s as %s: %q", path, resp.Header.Get("Content-Type"), body)
		}
	}
}

// The page follows both streams by one stream of events, and goes on exactly where it was.
func TestLogsFollowedByPage(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	url := srv.URL + "/tasks/" + string(jobID.Task(0)) + "/logs"
	next := listenTo(t, url+"?after=stdout:40,stderr:28")
	chunk := func(next func() (sse, bool), id string) logText {
		t.Helper()
		var c logText
		if err := json.Unmarshal([]byte(want(t, next, id, "chunk").data), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	w.write("stdout", "gr\u00fc\xc3", false) // the last character has not come whole
	if c := chunk(next, "stderr:28,stdout:44"); c.Text != "gr\u00fc" || c.Stream != "stdout" {
		t.Errorf("%+v", c)
	}
	w.write("stdout", "\x9fe\n", false)
	if c := chunk(next, "stderr:28,stdout:48"); c.Text != "\u00dfe\n" {
		t.Errorf("%+v", c)
	}
	again := listenTo(t, url, "Last-Event-ID: stderr:28,stdout:44")
	if c := chunk(again, "stderr:28,stdout:48"); c.Text != "\u00dfe\n" {
		t.Errorf("after a reconnect: %+v", c)
	}
	w.write("stderr", "", true)
	if c := chunk(next, "stderr:28,stdout:48"); !c.End || c.Stream != "stderr" {
		t.Errorf("%+v", c)
	}
	w.write("stdout", "", true)
	if c := chunk(next, "stderr:28,stdout:48"); !c.End {
		t.Errorf("%+v", c)
	}
	want(t, next, "stderr:28,stdout:48", "end")
	if e, ok := next(); ok {
		t.Errorf("it goes on: %+v", e)
	}
}

// A page shows the end of a long log from a whole line on, and leads to what is before.
func TestLogPage(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	line := strings.Repeat("x", 99) + "\n"
	w.logs["stdout"].text = []byte(strings.Repeat(line, 2000))
	w.logs["stderr"].end = true
	path := srv.URL + "/tasks/" + string(jobID.Task(0)) + "/logs"
	read := func(query string) (p struct{ Streams []logPart }) {
		t.Helper()
		_, body := ask(t, "GET", path+query, "", asProgram)
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := read("")
	out, errs := p.Streams[0], p.Streams[1]
	if out.Stream != "stdout" || out.Offset%100 != 0 || out.Next != 200_000 || int64(len(out.Text)) != out.Next-out.Offset || out.End {
		t.Errorf("stdout from %d to %d, %d bytes, end %v", out.Offset, out.Next, len(out.Text), out.End)
	}
	if !errs.End || errs.Offset != 0 || errs.Next != 28 {
		t.Errorf("stderr %+v", errs)
	}
	p = read("?stream=stdout&offset=1000")
	if len(p.Streams) != 1 || p.Streams[0].Offset != 1000 || p.Streams[0].Next != 1000+logShown || len(p.Streams[0].Text) != logShown {
		t.Errorf("from an offset on: %d to %d", p.Streams[0].Offset, p.Streams[0].Next)
	}
	if _, html := ask(t, "GET", path+"?stream=stdout&offset=1000", "", asPerson); !strings.Contains(html, "later") || !strings.Contains(html, "earlier") || strings.Contains(html, "data-follow") {
		t.Error("a part in the middle leads nowhere, or is followed")
	}
}

func TestWholeRunes(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "abc": "abc", "gr\u00fc": "gr\u00fc", "gr\xc3": "gr", "\xe2\x82": "", "a\xe2\x82\xac": "a\xe2\x82\xac", "\xff\xfe": "\xff\xfe", "\xf0\x9f\x98": "", "\x80\x80\x80\x80": "\x80\x80\x80\x80",
	} {
		if got := string(wholeRunes([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
