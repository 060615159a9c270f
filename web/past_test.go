package web

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

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
			case strings.Contains(href, "at="), strings.Contains(href, "/logs"), strings.HasPrefix(href, "/why/"), strings.HasPrefix(href, "/diff?"), strings.HasPrefix(href, "/api"):
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

// A moment that is named by a time is the entry that it means, on the page and on its twin alike.
func TestMomentByTime(t *testing.T) {
	srv, _ := serve(t, newWorld())
	for path, want := range map[string]string{
		"/jobs?at=2026-11-24T09:15:00Z":                           "/jobs?at=40&of=groom",
		"/jobs.json?of=master&at=2026-11-24T09:15:00Z":            "/jobs.json?at=40&of=master",
		"/journal?at=2026-11-24T09:15:00Z&kind=a&kind=b&limit=10": "/journal?at=40&kind=a&kind=b&limit=10&of=groom",
	} {
		resp, _ := ask(t, "GET", srv.URL+path, "", asPerson)
		if got := resp.Header.Get("Location"); resp.StatusCode != 302 || got != want {
			t.Errorf("%s: %s to %s, want %s", path, resp.Status, got, want)
		}
	}
}

// Times are told from the moment, and what was going on then has not gone on since.
func TestTimesOfThePast(t *testing.T) {
	srv, _ := serve(t, newWorld())
	_, html := ask(t, "GET", srv.URL+"/jobs/pagerank?at=40", "", asPerson)
	for _, want := range []string{">5 s before</time>", "<dd>4s</dd>", ">3 s before</time>"} {
		if !strings.Contains(html, want) {
			t.Errorf("the job does not say %s", want)
		}
	}
	if strings.Contains(html, " ago<") {
		t.Error("a time is told from now")
	}
	if _, html := ask(t, "GET", srv.URL+"/jobs/pagerank", "", asPerson); !strings.Contains(html, " ago<") {
		t.Error("now is told from then")
	}
}

// What is not there at a moment is told on a page of that moment, from which the way leads on.
func TestNotThereYet(t *testing.T) {
	srv, _ := serve(t, newWorld())
	resp, html := ask(t, "GET", srv.URL+"/jobs/pagerank?at=5", "", asPerson)
	if resp.StatusCode != 404 || !strings.Contains(html, `href="?at=6&amp;of=groom"`) || !strings.Contains(html, "no job pagerank") {
		t.Errorf("%s: %s", resp.Status, html)
	}
}

// Another moment of a page keeps what else it was asked for: which journal, and what was chosen of it.
func TestMomentsKeepTheirPage(t *testing.T) {
	srv, _ := serve(t, newWorld())
	_, html := ask(t, "GET", srv.URL+"/journal?of=master&at=40&kind=attempt.ended", "", asPerson)
	for what, want := range map[string]string{
		"the step":          `href="?at=41&amp;kind=attempt.ended&amp;of=master"`,
		"the slider":        `<input type="hidden" name="kind" value="attempt.ended">`,
		"the way back":      `href="?kind=attempt.ended&amp;of=master"`,
		"the other journal": `href="?at=` + strings.ReplaceAll(stamp(began.Add(5*time.Second)), ":", "%3A") + `&amp;kind=attempt.ended&amp;of=groom"`,
		"the choice":        `<input type="hidden" name="at" value="40">`,
		"what came since":   `href="/diff?of=master&a=40&b=300"`,
	} {
		if !strings.Contains(html, want) {
			t.Errorf("%s is not %s", what, want)
		}
	}
}

// A page shows a part of a long diff, and says so; its twin has all of it.
func TestLongDiff(t *testing.T) {
	w := newWorld()
	w.rows = rowsShown + 7
	srv, _ := serve(t, w)
	_, html := ask(t, "GET", srv.URL+"/diff?of=groom&a=3&b=9", "", asPerson)
	if n := strings.Count(html, `class="change"`); n != rowsShown || !strings.Contains(html, "7 more.") {
		t.Errorf("%d rows are shown", n)
	}
	_, twin := ask(t, "GET", srv.URL+"/diff?of=groom&a=3&b=9", "", asProgram)
	if n := strings.Count(twin, `"table"`); n != w.rows {
		t.Errorf("the twin has %d rows", n)
	}
}

// Entries are counted when somebody asks for it, since that takes a while.
func TestKindsAreCountedWhenAsked(t *testing.T) {
	srv, _ := serve(t, newWorld())
	if _, twin := ask(t, "GET", srv.URL+"/journal/info", "", asProgram); strings.Contains(twin, "kinds") {
		t.Error("they are counted unasked")
	}
	if _, html := ask(t, "GET", srv.URL+"/journal/info", "", asPerson); !strings.Contains(html, "/journal/info?kinds=1") {
		t.Error("nobody is told how to count them")
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
	eval[int](b, `window.same = true; window.slider = document.querySelector("#past input[type=range]"); 1`)
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
	eval[int](b, `document.dispatchEvent(new KeyboardEvent("keydown", { key: "p" })); 1`)
	b.await(`document.getElementById("play").textContent === "pause"`)
	at(300) // the last one, where it stops
	b.await(`document.getElementById("play").textContent === "play"`)
	eval[int](b, `{ const s = document.querySelector("#past input[type=range]"); s.value = 9; s.dispatchEvent(new Event("input", { bubbles: true })); } 1`)
	at(9)
	b.await(`document.querySelector("main").textContent.includes("no job pagerank")`) // not yet
	b.click("#play")
	at(10)
	b.await(`document.querySelector("h1").textContent.includes("pagerank")`)
	b.click("#play")
	if !eval[bool](b, `window.same === true && window.slider === document.querySelector("#past input[type=range]")`) {
		t.Error("the page was loaded anew")
	}
	b.visit("/state?of=groom&at=40")
	b.click("main summary")
	b.click(`[data-step="on"]`)
	at(41)
	if !eval[bool](b, `document.querySelector("main details").open`) {
		t.Error("the row that was open is closed")
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
func TestBrowserTravelsWithoutScripts(t *testing.T) {
	srv, _ := serve(t, newWorld())
	b := open(t, srv, 1280, chromedp.Flag("blink-settings", "scriptEnabled=false"))
	b.visit("/journal?of=master")
	arrive := func(page string, index int) {
		t.Helper()
		b.arrive(fmt.Sprintf(`document.body.dataset.page === "%s" && document.getElementById("past")?.dataset.index === "%d"`, page, index))
	}
	b.click(`main form[action="/"] button`)
	arrive("overview", 300)
	b.click(`[data-step="back"]`)
	arrive("overview", 299)
	b.visit("/jobs/pagerank?of=groom&at=40")
	eval[int](b, `document.querySelector("#past input[type=range]").value = 7; 1`)
	b.click("#past button[type=submit]")
	arrive("problem", 7)
	b.click("#past [data-now]")
	b.arrive(`document.body.dataset.page === "job" && !document.getElementById("past")`)
	if eval[bool](b, `!document.getElementById("theme").hidden`) {
		t.Error("scripts ran")
	}
}

// The banner fits into a narrow window on every page.
func TestPastInANarrowWindow(t *testing.T) {
	srv, _ := serve(t, newWorld())
	b := open(t, srv, 390)
	for _, path := range []string{
		"/?of=groom&at=40", "/jobs/pagerank?of=groom&at=40", "/tasks/" + string(jobID.Task(2)) + "?of=groom&at=40", "/state?of=groom&at=40",
		"/journal?of=groom&at=8", "/jobs/pagerank?of=groom&at=5",
	} {
		b.visit(path)
		if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > 390 {
			t.Errorf("%s is %d wide", path, wide)
		}
		b.picture("narrow-past" + strings.NewReplacer("/", "-", "?", "-").Replace(path))
	}
}
