package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"groom/api"
)

// shownPages is an address of each page, and what it has to say.
var shownPages = map[string]struct {
	path string
	want []string
}{
	"overview":   {"/", []string{"elm", "2 of 3", "pagerank", "292 entries", "needs 5 tasks, 1 of 3 slots is free", "its shim lives: adopted"}},
	"jobs":       {"/jobs", []string{"pagerank", "copies", "queued", "1 backoff"}},
	"job":        {"/jobs/pagerank", []string{"superstep", "<svg", "</desc>", "bin/pagerank", "******", "failure 1 of 3", "/tasks/" + string(jobID.Task(2)) + "/logs"}},
	"task":       {"/tasks/" + string(jobID.Task(2)), []string{"ended by SIGSEGV, not sent by groom, core dumped", "panic: index out of range", "logs?attempt=2"}},
	"logs":       {"/tasks/" + string(jobID.Task(0)) + "/logs", []string{"loaded 1,218 packages", "&lt;b&gt;not markup", "dangling mass 0.13", "raw=1"}},
	"nodes":      {"/nodes", []string{"elm", "oak", "lost", "its lease ended"}},
	"recoveries": {"/recoveries", []string{"adopted", "ended-while-away", "61ms", "restarted"}},
	"removals":   {"/removals", []string{"attempt_202611240915_0001_000000_1", "its retention of 1h0m0s is over", "4 KiB"}},
	"journal":    {"/journal", []string{"attempt 300 ended", "attempt 101 ended", "to=100", "attempt.ended"}},
	"journals":   {"/journal/info?kinds=1", []string{"/var/lib/groom/master", "4 MiB", "at 256", "116.7 KiB", "/journal?of=master&kind=attempt.ended"}},
	"entry":      {"/journal/77?of=master", []string{"entry 77", "of the master", "attempt 77 ended", "&#34;code&#34;: 0", "/journal/78?of=master", "no try &lt;b&gt;is left", "/state?of=master&at=76", "/?of=master&at=77"}},
	"diff":       {"/diff?of=groom&a=3&b=9", []string{"tasks/" + string(jobID.Task(2)), "running", "failed", "at entry 9"}},
	"why":        {"/why/" + string(jobID.Task(2).Attempt(1)), []string{"it ended: out of contact", "Settled here", "/?of=groom&at=39", "what it changed"}},
	"state":      {"/state", []string{"jobs", "1 rows", "job_202611240915_0001", "empty"}},
}

// Every page is one for people and one for programs, at one address, and no page is without its like.
func TestPagesAndTwins(t *testing.T) {
	srv, s := serve(t, newWorld())
	n := 0
	for _, r := range routesOf(t, s) {
		if r.name == "" {
			continue
		}
		n++
		c, ok := shownPages[r.name]
		if !ok {
			t.Errorf("page %s is not in this test", r.name)
			continue
		}
		resp, html := ask(t, "GET", srv.URL+c.path, "", asPerson)
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %s", c.path, resp.Status)
		}
		for _, want := range c.want {
			if !strings.Contains(html, want) {
				t.Errorf("%s does not say %q:\n%s", c.path, want, html)
			}
		}
		if regexp.MustCompile(`<script>|<style|style=| on[a-z]+="|ZgotmplZ|<no value>|%!`).MatchString(html) {
			t.Errorf("%s has a script or a style within, or a template went wrong", c.path)
		}
		path, query, _ := strings.Cut(c.path, "?")
		_, twin := ask(t, "GET", srv.URL+c.path, "", asProgram)
		_, suffixed := ask(t, "GET", srv.URL+path+".json?"+query, "", asPerson)
		if !json.Valid([]byte(twin)) || !json.Valid([]byte(suffixed)) || twin != suffixed {
			t.Errorf("%s: its twins differ, or are no JSON", c.path)
		}
		if resp, head := ask(t, "HEAD", srv.URL+c.path, "", asPerson); resp.StatusCode != 200 || head != "" {
			t.Errorf("HEAD %s: %s", c.path, resp.Status)
		}
	}
	if n != len(shownPages) {
		t.Errorf("%d pages, want %d", n, len(shownPages))
	}
}

// The twins are the types of package api, as the command line reads them.
func TestTwinsAreTypes(t *testing.T) {
	srv, _ := serve(t, newWorld())
	read := func(path string, v any) {
		t.Helper()
		_, body := ask(t, "GET", srv.URL+path, "", asProgram)
		d := json.NewDecoder(strings.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	var o api.Overview
	var jobs []api.JobView
	var j api.JobDetail
	var task api.TaskDetail
	var nodes []api.NodeView
	var found []api.RecoveryReport
	var page []api.EntryView
	var e api.EntryView
	var infos []api.JournalInfo
	read("/", &o)
	read("/index.json", &o)
	read("/jobs", &jobs)
	read("/jobs/"+string(jobID), &j)
	read("/tasks/"+string(jobID.Task(2)), &task)
	read("/nodes", &nodes)
	read("/recoveries", &found)
	read("/journal?from=10&to=20&limit=5", &page)
	read("/journal/9", &e)
	read("/journal/info", &infos)
	if len(page) != 5 || page[4].Index != 20 || e.Index != 9 || len(infos) != 2 || len(j.TaskViews) != 3 || len(task.Attempts) != 2 || len(jobs) != 3 || len(nodes) != 2 || len(found) != 1 {
		t.Errorf("a twin has lost something: %d entries", len(page))
	}
}

// The first page with all that it needs stays small.
func TestFirstPageIsSmall(t *testing.T) {
	srv, _ := serve(t, newWorld())
	_, html := ask(t, "GET", srv.URL+"/", "", asPerson)
	total := len(html)
	for _, m := range regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllStringSubmatch(html, -1) {
		resp, body := ask(t, "GET", srv.URL+m[1], "")
		if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s, %s", m[1], resp.Status, resp.Header.Get("Cache-Control"))
		}
		total += len(body)
	}
	if total > 100<<10 || total < 10<<10 {
		t.Errorf("the first page is %d bytes", total)
	}
	if resp, _ := ask(t, "GET", srv.URL+"/static/app.js?v=of-another-build", ""); resp.Header.Get("Cache-Control") != "no-store" {
		t.Error("a file is kept under a name that is not its own")
	}
}

// An empty process says what to run.
func TestEmptyStates(t *testing.T) {
	srv, s := serve(t, nil)
	s.Ready(empty{}, nil)
	for path, want := range map[string]string{
		"/": "groom job submit JOB.yaml", "/jobs": "groom job submit JOB.yaml", "/nodes": "groom agent --masters", "/recoveries": "only the journal of a groom", "/journal": "groom journal info",
		"/tasks/" + string(jobID.Task(0)) + "/logs": "groom task status",
	} {
		if resp, html := ask(t, "GET", srv.URL+path, "", asPerson); resp.StatusCode != 200 || !strings.Contains(html, want) {
			t.Errorf("%s: %s, without %q", path, resp.Status, want)
		}
	}
	for _, path := range []string{"/jobs", "/nodes", "/recoveries", "/journal", "/journal/info"} {
		if _, body := ask(t, "GET", srv.URL+path, "", asProgram); body != "[]\n" {
			t.Errorf("%s: %q", path, body)
		}
	}
	if resp, _ := ask(t, "GET", srv.URL+"/tasks/"+string(jobID.Task(0))+"/logs?raw=1", "", asProgram); resp.StatusCode != 404 {
		t.Errorf("logs of no attempt: %s", resp.Status)
	}
}

// Until the process is ready its pages show how far the start has come.
func TestStarting(t *testing.T) {
	srv, s := serve(t, nil)
	s.Starting("replaying the journal", 512, 2048)
	resp, html := ask(t, "GET", srv.URL+"/jobs", "", asPerson)
	if resp.StatusCode != 503 || !strings.Contains(html, "entry 512 of 2048") || resp.Header.Get("Refresh") == "" {
		t.Errorf("%s\n%s", resp.Status, html)
	}
	resp, body := ask(t, "GET", srv.URL+"/readyz", "")
	var got api.Starting
	if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 503 || got != (api.Starting{Phase: "replaying the journal", Applied: 512, Last: 2048}) {
		t.Errorf("%s: %s", resp.Status, body)
	}
	for path, want := range map[string]int{"/healthz": 200, "/metrics": 200, "/api/openapi.yaml": 200, "/jobs": 503, "/events": 503, "/tasks/x/logs": 503, "/attempts/x/logs": 503} {
		if resp, body := ask(t, "GET", srv.URL+path, "", asProgram); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d: %s", path, resp.Status, want, body)
		}
	}
	if resp, _ := ask(t, "POST", srv.URL+"/jobs", `{"version":1}`, withToken); resp.StatusCode != 503 {
		t.Errorf("a job is handed in too early: %s", resp.Status)
	}
	w := newWorld()
	s.Ready(w, w)
	if resp, _ := ask(t, "GET", srv.URL+"/readyz", ""); resp.StatusCode != 200 {
		t.Errorf("ready: %s", resp.Status)
	}
}

// An error that is not meant for people is told to the log alone.
func TestInternalErrors(t *testing.T) {
	w := newWorld()
	w.broken = errors.New("secret path")
	srv, _ := serve(t, w)
	for _, accept := range []string{asPerson, asProgram} {
		for name, c := range shownPages {
			if resp, body := ask(t, "GET", srv.URL+c.path, "", accept); resp.StatusCode != http.StatusInternalServerError || strings.Contains(body, "secret") {
				t.Errorf("%s: %s\n%s", name, resp.Status, body)
			}
		}
	}
}

func TestInsecureBanner(t *testing.T) {
	w := newWorld()
	s := New(Options{Insecure: true})
	s.Ready(w, w)
	defer s.Close()
	r := request("GET", "/", asPerson)
	got := record(s, r)
	if got.Code != 200 || !strings.Contains(got.Body.String(), "Insecure:") {
		t.Errorf("%d: no banner", got.Code)
	}
}
