package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/wire"
)

// What is refused, how, and that it has no effect. Each is a problem for programs and a page for people.
func TestRefusals(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	kill := "/jobs/" + string(jobID) + "/kill"
	huge := `{"version":1,"reason":"` + strings.Repeat("x", wire.Limit) + `"}`
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		code                     api.Code
	}{
		{"no token", "POST", kill, `{"version":1}`, nil, api.CodeToken},
		{"wrong token", "POST", kill, `{"version":1}`, []string{"Authorization: Bearer 0123"}, api.CodeToken},
		{"wrong cookie", "POST", kill, `{"version":1}`, []string{"Cookie: groom-token=0123"}, api.CodeToken},
		{"no token for a submission", "POST", "/jobs", `{"version":1}`, nil, api.CodeToken},
		{"no token where there is nothing", "POST", "/nothing", `{}`, nil, api.CodeToken},
		{"another origin", "POST", kill, `{"version":1}`, []string{withToken, "Origin: http://evil.example", "Sec-Fetch-Site: cross-site"}, api.CodeForbidden},
		{"login from another origin", "POST", "/login", "token=" + token, []string{asForm, "Sec-Fetch-Site: cross-site"}, api.CodeForbidden},
		{"another host", "POST", kill, `{"version":1}`, []string{withToken, "Host: evil.example"}, api.CodeForbidden},
		{"reading by another host", "GET", "/jobs", "", []string{"Host: evil.example:40015"}, api.CodeForbidden},
		{"another address", "GET", "/jobs", "", []string{"Host: 192.0.2.1:40015"}, api.CodeForbidden},
		{"body beyond the limit", "POST", kill, huge, []string{withToken}, api.CodeTooLarge},
		{"submission beyond the limit", "POST", "/jobs", huge, []string{withToken}, api.CodeTooLarge},
		{"form beyond the limit", "POST", kill, huge, []string{withToken, asForm}, api.CodeTooLarge},
		{"login beyond the limit", "POST", "/login", huge, []string{asForm}, api.CodeTooLarge},
		{"unknown version", "POST", kill, `{"version":99}`, []string{withToken}, api.CodeVersion},
		{"no version", "POST", "/jobs", `{}`, []string{withToken}, api.CodeVersion},
		{"no JSON", "POST", kill, `kill it`, []string{withToken}, api.CodeInvalid},
		{"no task", "POST", "/tasks/task_1/kill", "", []string{withToken}, api.CodeInvalid},
		{"unknown verb", "POST", "/jobs/pagerank/explode", "", []string{withToken}, api.CodeNotFound},
		{"in another state", "POST", "/jobs/" + string(plainID) + "/stop", "", []string{withToken}, api.CodeConflict},
		{"a change by GET", "GET", kill, "", []string{withToken}, api.CodeMethod},
		{"a submission to a page", "POST", "/nodes", "", []string{withToken}, api.CodeMethod},
		{"no page", "GET", "/nothing", "", nil, api.CodeNotFound},
		{"no job", "GET", "/jobs/nothing", "", nil, api.CodeNotFound},
		{"no entry", "GET", "/journal/99999", "", nil, api.CodeNotFound},
		{"no journal", "GET", "/journal?of=nobody", "", nil, api.CodeNotFound},
		{"no number", "GET", "/journal?from=x", "", nil, api.CodeInvalid},
		{"too many entries", "GET", "/journal?limit=99999999", "", nil, api.CodeInvalid},
		{"no attempt", "GET", "/attempts/attempt_1/logs", "", nil, api.CodeInvalid},
		{"an attempt of nobody", "GET", "/attempts/" + string(plainID.Task(0).Attempt(1)) + "/logs", "", nil, api.CodeNotFound},
		{"an attempt to come", "GET", "/tasks/" + string(jobID.Task(0)) + "/logs?attempt=7", "", nil, api.CodeNotFound},
		{"no stream", "GET", "/tasks/" + string(jobID.Task(0)) + "/logs?stream=../spec", "", nil, api.CodeInvalid},
		{"no offset", "GET", "/attempts/" + string(jobID.Task(0).Attempt(1)) + "/logs?offset=x", "", nil, api.CodeInvalid},
		{"login by JSON", "POST", "/login", "token=wrong", []string{asForm}, api.CodeToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := ask(t, c.method, srv.URL+c.path, c.body, append(c.headers, asProgram)...)
			var p api.Problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || p.Code != c.code || p.Detail == "" {
				t.Fatalf("%s: %s, want %s", resp.Status, body, c.code)
			}
			if resp.StatusCode != wire.Status(c.code) || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s as %s", resp.Status, resp.Header.Get("Content-Type"))
			}
			checkHeaders(t, resp)
			if c.code == api.CodeMethod && resp.Header.Get("Allow") == "" {
				t.Error("what would be allowed is not said")
			}
			resp, html := ask(t, c.method, srv.URL+c.path, c.body, append(c.headers, asPerson)...)
			checkHeaders(t, resp)
			if c.code == api.CodeToken && c.path != "/login" {
				if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), "/login?back=") {
					t.Errorf("a person is sent to %q: %s", resp.Header.Get("Location"), resp.Status)
				}
				return
			}
			if resp.StatusCode != wire.Status(c.code) || !strings.Contains(html, "<h1>") || !strings.Contains(resp.Header.Get("Content-Type"), "text/html") {
				t.Errorf("for people: %s\n%s", resp.Status, html)
			}
		})
	}
	if len(w.acts) > 0 {
		t.Errorf("a refused request had an effect: %+v", w.acts)
	}
}

func checkHeaders(t *testing.T, resp *http.Response) {
	t.Helper()
	h := resp.Header
	if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'self'") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
}

func TestHosts(t *testing.T) {
	w := newWorld()
	s := New(Options{Hosts: []string{"elm.example"}})
	defer s.Close()
	s.Ready(w, w)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:40015": 200, "127.0.0.1:40015": 200, "[::1]:40015": 200, "::1": 200, "127.0.0.2": 200, "elm.example:40015": 200,
		"oak.example": 403, "localhost.evil.example": 403, "192.0.2.1": 403, "": 403,
	} {
		r := request("GET", "/jobs")
		r.Host = host
		if got := record(s, r).Code; got != want {
			t.Errorf("host %q: %d, want %d", host, got, want)
		}
	}
}

func TestActions(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	task := jobID.Task(2)
	for _, c := range []struct {
		path, body string
		headers    []string
	}{
		{"/jobs/pagerank/stop", `{"version":1,"reason":"lunch"}`, nil},
		{"/jobs/pagerank/kill", "", nil},
		{"/tasks/" + string(task) + "/resume", `{"version":1,"job":"another","tasks":[0],"verb":"kill"}`, nil},
	} {
		resp, body := ask(t, "POST", srv.URL+c.path, c.body, append(c.headers, withToken, asProgram)...)
		var reply api.ActReply
		if err := json.Unmarshal([]byte(body), &reply); err != nil || resp.StatusCode != 200 || reply.Index != 8 {
			t.Errorf("%s: %s %s", c.path, resp.Status, body)
		}
	}
	resp, _ := ask(t, "POST", srv.URL+"/jobs/pagerank/stop", "x=1", withToken, asPerson, asForm, "Referer: "+srv.URL+"/jobs/pagerank?x=1")
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/jobs/pagerank?x=1" {
		t.Errorf("a form leads to %q: %s", resp.Header.Get("Location"), resp.Status)
	}
	want := []api.ActRequest{
		{Version: 1, Verb: api.VerbStop, Job: "pagerank", Reason: "lunch"},
		{Version: 1, Verb: api.VerbKill, Job: "pagerank"},
		{Version: 1, Verb: api.VerbResume, Job: string(jobID), Tasks: []int{2}},
		{Version: 1, Verb: api.VerbStop, Job: "pagerank", Reason: "asked for on a page"},
	}
	if diff := cmp.Diff(want, w.acts); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
	var s api.Submission
	_, body := ask(t, "POST", srv.URL+"/jobs", `{"version":1,"request":"r1","spec":{"name":"x"}}`, withToken)
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Job != jobID {
		t.Errorf("submission: %s", body)
	}
}

// A process that only shows refuses every change.
func TestNothingCanBeChanged(t *testing.T) {
	srv, s := serve(t, nil)
	s.Ready(newWorld(), nil)
	if resp, body := ask(t, "POST", srv.URL+"/jobs/pagerank/kill", "", withToken); resp.StatusCode != 403 {
		t.Errorf("%s: %s", resp.Status, body)
	}
}

// Without a token of its own a process lets nobody change anything, whatever is sent.
func TestNoTokenLetsNobodyIn(t *testing.T) {
	w := newWorld()
	s := New(Options{})
	defer s.Close()
	s.Ready(w, w)
	for _, h := range []string{"Authorization: Bearer ", "Cookie: " + s.cookieName() + "=", "X: y"} {
		if got := record(s, request("POST", "/jobs/pagerank/kill", h)).Code; got != 401 {
			t.Errorf("%s: %d", h, got)
		}
	}
}

func TestLogin(t *testing.T) {
	w := newWorld()
	srv, _ := serve(t, w)
	job := "/jobs/pagerank"
	if _, html := ask(t, "GET", srv.URL+job, "", asPerson); strings.Contains(html, "/kill") || !strings.Contains(html, "/login?back=") {
		t.Error("buttons are there before the login, or no way to it")
	}
	form := url.Values{"token": {token}, "back": {job}}.Encode()
	resp, _ := ask(t, "POST", srv.URL+"/login", form, asForm, asPerson)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != job || len(resp.Cookies()) != 1 {
		t.Fatalf("login: %s", resp.Status)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("cookie %+v", c)
	}
	cookie := "Cookie: " + c.Name + "=" + c.Value
	if _, html := ask(t, "GET", srv.URL+job, "", asPerson, cookie); !strings.Contains(html, "/kill") || !strings.Contains(html, "log out") {
		t.Error("no buttons after the login")
	}
	if resp, _ := ask(t, "POST", srv.URL+job+"/stop", "", cookie, asForm); resp.StatusCode != http.StatusSeeOther || len(w.acts) != 1 {
		t.Errorf("a stop after the login: %s", resp.Status)
	}
	if resp, html := ask(t, "POST", srv.URL+"/login", "token=wrong", asForm, asPerson); resp.StatusCode != 401 || len(resp.Cookies()) != 0 || !strings.Contains(html, "not the token") {
		t.Errorf("wrong token: %s", resp.Status)
	}
	if resp, _ := ask(t, "POST", srv.URL+"/logout", "", cookie); resp.StatusCode != http.StatusSeeOther || resp.Cookies()[0].MaxAge >= 0 {
		t.Errorf("logout: %s", resp.Status)
	}
}

// No redirect leads to another site.
func TestLocal(t *testing.T) {
	for path, want := range map[string]string{
		"/jobs?x=1": "/jobs?x=1", "/": "/", "": "/", "jobs": "/", "//evil.example": "/", "/\\evil.example": "/", "http://evil.example/": "/", "/\t/evil.example": "/", "////evil.example": "/",
	} {
		if got := local(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// What a job says counts, zeros included; what it does not say is as the site was told.
func TestZerosThatAreMeant(t *testing.T) {
	w := newWorld()
	s := New(Options{Token: token, Job: api.JobSpec{Stop: api.Stop{Signal: "SIGTERM", Grace: api.Duration(10 * time.Second)}}})
	s.Ready(w, w)
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	resp, body := ask(t, "POST", srv.URL+"/jobs", `{"version":1,"spec":{"name":"x","stop":{"grace":"0s"}}}`, withToken)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s", resp.Status, body)
	}
	if got, want := w.submitted[0].Spec.Stop, (api.Stop{Signal: "SIGTERM"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
