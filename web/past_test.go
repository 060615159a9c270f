package web

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"groom/api"
)

// A page of the past says so, cannot change anything, and leads to pages of the same moment.
func TestPagesOfThePast(t *testing.T) {
	srv, _ := serve(t, newWorld())
	for _, path := range []string{"/?of=groom&at=40", "/jobs?of=groom&at=40", "/jobs/pagerank?of=groom&at=40", "/tasks/" + string(jobID.Task(2)) + "?at=40", "/state?at=40", "/recoveries?at=40", "/journal?at=40"} {
		resp, html := ask(t, "GET", srv.URL+path, "", asPerson, "Cookie: groom_token="+token, withToken)
		if resp.StatusCode != 200 || !strings.Contains(html, "attempt 40 ended") || !strings.Contains(html, "data-past") {
			t.Errorf("%s: %s, without its moment", path, resp.Status)
		}
		if strings.Contains(html, `method="post"`) {
			t.Errorf("%s: something can be changed there", path)
		}
		for _, m := range regexp.MustCompile(`<a [^>]*href="(/[^"]*)"`).FindAllStringSubmatch(html, -1) {
			switch href := m[1]; {
			case strings.Contains(href, "at="), strings.Contains(href, "/logs"), strings.HasPrefix(href, "/why/"), strings.HasPrefix(href, "/api"):
			case strings.Contains(href, "of=master"):
			default:
				t.Errorf("%s: %s leads out of the past", path, href)
			}
		}
		if n := strings.Count(html, "at=41") + strings.Count(html, "at=39"); n < 2 {
			t.Errorf("%s: no step on and back", path)
		}
	}
	for path, want := range map[string]int{"/jobs?at=301": 404, "/jobs?at=0": 404, "/jobs?at=tomorrow": 404} {
		if resp, html := ask(t, "GET", srv.URL+path, "", asPerson); resp.StatusCode != want || !strings.Contains(html, "the journal goes from entry 1") {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if _, twin := ask(t, "GET", srv.URL+"/jobs?at=5", "", asProgram); twin != "[]\n" {
		t.Errorf("before the first job there were %s", twin)
	}
	if _, html := ask(t, "GET", srv.URL+"/jobs", "", asPerson); strings.Contains(html, "data-past") {
		t.Error("now is the past")
	}
}

// What a page of the past links to is told apart by what it is.
func TestStaying(t *testing.T) {
	past := api.Instant{Of: "groom", Index: 7}
	for name, c := range map[string]struct{ link, want string }{
		"a page":                       {`<a href="/jobs">`, `<a href="/jobs?at=7&amp;of=groom">`},
		"a page with a query":          {`<a class="x" href="/journal?to=3&amp;of=groom">`, `<a class="x" href="/journal?at=7&amp;of=groom&amp;to=3">`},
		"of the other journal":         {`<a href="/state?of=master">`, `<a href="/state?of=master">`},
		"another moment":               {`<a href="/state?of=groom&amp;at=3">`, `<a href="/state?of=groom&amp;at=3">`},
		"logs, which are of now":       {`<a href="/tasks/x/logs">`, `<a href="/tasks/x/logs">`},
		"a diff has moments":           {`<a href="/diff?a=1&amp;b=2">`, `<a href="/diff?a=1&amp;b=2">`},
		"another site":                 {`<a href="http://127.0.0.1:40015/">`, `<a href="http://127.0.0.1:40015/">`},
		"the way back":                 {`<a class="button" data-now href="/?">`, `<a class="button" data-now href="/?">`},
		"not a link":                   {`<form action="/jobs">`, `<form action="/jobs">`},
		"a style":                      {`<link href="/static/style.css">`, `<link href="/static/style.css">`},
		"a name that is to be escaped": {`<a href="/jobs/a&amp;b">`, `<a href="/jobs/a&amp;b?at=7&amp;of=groom">`},
	} {
		if got := string(staying([]byte(c.link), past)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The past is walked through in its place: by steps, keys, the slider, and by itself.
func TestBrowserTravels(t *testing.T) {
	srv, _ := serve(t, newWorld())
	b := open(t, srv, 1280)
	b.visit("/jobs/pagerank?of=groom&at=40")
	b.picture("past")
	at := func(n int) {
		t.Helper()
		b.await(fmt.Sprintf(`document.getElementById("past").dataset.index === "%d" && location.search.includes("at=%d")`, n, n))
	}
	eval[int](b, "window.same = true; 1")
	b.click(`[data-step="on"]`)
	at(41)
	b.click(`[data-step="back"]`)
	at(40)
	eval[int](b, `document.dispatchEvent(new KeyboardEvent("keydown", { key: "]" })); 1`)
	at(41)
	eval[int](b, `document.dispatchEvent(new KeyboardEvent("keydown", { key: "[" })); 1`)
	at(40)
	eval[int](b, `{ const s = document.querySelector("#past input[type=range]"); s.value = 297; s.dispatchEvent(new Event("input", { bubbles: true })); } 1`)
	at(297)
	b.click("#play")
	at(300) // the last one, where it stops
	b.await(`document.getElementById("play").textContent === "play"`)
	if !eval[bool](b, "window.same === true") {
		t.Error("the page was loaded anew")
	}
	b.click("[data-now]")
	b.arrive(`!("past" in document.body.dataset) && document.readyState === "complete"`)
	for _, path := range []string{"/?of=groom&at=40", "/why/" + string(jobID.Task(2).Attempt(1)), "/diff?of=groom&a=3&b=9", "/journal/77?of=master", "/journal"} {
		b.visit(path)
		b.picture("wide" + strings.NewReplacer("/", "-", "?", "-").Replace(path))
	}
	b.visit("/")
	b.click("#theme")
	b.visit("/tasks/" + string(jobID.Task(2)) + "?of=groom&at=40")
	b.picture("dark-past")
}

// Without JavaScript the slider is a form, and steps are links.
func TestPastInANarrowWindow(t *testing.T) {
	srv, _ := serve(t, newWorld())
	b := open(t, srv, 390)
	for _, path := range []string{"/?of=groom&at=40", "/jobs/pagerank?of=groom&at=40", "/state?of=groom&at=40"} {
		b.visit(path)
		if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > 390 {
			t.Errorf("%s is %d wide", path, wide)
		}
		b.picture("narrow-past" + strings.NewReplacer("/", "-", "?", "-").Replace(path))
	}
}
