package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"groom/api"
	"groom/wire"
)

// A view reads what one page shows. An error that a person should see is an *api.Problem.
type view func(ctx context.Context, v Views, r *http.Request) (any, error)

// routes is every address of the site. openapi.yaml describes each, and a test holds the two together.
func (s *Site) routes() *mux.Router {
	r := mux.NewRouter()
	get := func(path string, h http.HandlerFunc) *mux.Route {
		return r.HandleFunc(path, h).Methods(http.MethodGet, http.MethodHead)
	}
	get("/healthz", s.healthz)
	get("/readyz", s.readyz)
	if s.o.Metrics != nil {
		get("/metrics", s.o.Metrics.ServeHTTP)
	}
	r.PathPrefix("/static/").Handler(static()).Methods(http.MethodGet, http.MethodHead)
	get("/api/openapi.yaml", openapi)

	page := func(path, template string, f view) {
		get(path, s.page(template, f)).Name(template)
	}
	page("/", "overview", overview)
	page("/jobs", "jobs", jobs)
	page("/jobs/{job}", "job", job)
	page("/tasks/{task}", "task", task)
	page("/nodes", "nodes", nodes)
	page("/recoveries", "recoveries", recoveries)
	page("/removals", "removals", removals)
	page("/journal", "journal", journalPage)
	page("/journal/info", "journals", journals)
	page("/journal/{index:[0-9]+}", "entry", entry)
	page("/state", "state", state)
	page("/diff", "diff", diff)
	page("/why/{id:.+}", "why", why) // a name may have slashes

	get("/tasks/{task}/logs", s.logsOfTask).Name("logs")
	get("/attempts/{attempt}/logs", s.logsOfAttempt)
	get("/events", s.events)

	get("/login", s.loginPage)
	r.HandleFunc("/login", s.login).Methods(http.MethodPost)
	r.HandleFunc("/logout", s.logout).Methods(http.MethodPost)
	r.HandleFunc("/jobs", s.changing(s.submit)).Methods(http.MethodPost)
	r.HandleFunc("/jobs/{job}/{verb:stop|kill|resume|restart}", s.changing(s.act)).Methods(http.MethodPost)
	r.HandleFunc("/tasks/{task}/{verb:stop|kill|resume|restart}", s.changing(s.act)).Methods(http.MethodPost)

	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.problem(w, r, api.Problemf(api.CodeNotFound, "there is no page %s", r.URL.Path).WithHint("/api/openapi.yaml lists every address"))
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Allow", allow(r, req))
		s.problem(w, req, api.Problemf(api.CodeMethod, "%s is not for %s", req.URL.Path, req.Method).
			WithHint("nothing is changed by GET; groom job and groom task have the verbs"))
	})
	return r
}

// allow lists the methods that an address is for.
func allow(r *mux.Router, req *http.Request) string {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		try := req.Clone(req.Context())
		try.Method = m
		var match mux.RouteMatch
		if r.Match(try, &match) && match.MatchErr == nil {
			methods = append(methods, m)
		}
	}
	return strings.Join(methods, ", ")
}

func (s *Site) healthz(w http.ResponseWriter, _ *http.Request) {
	wire.Answer(w, map[string]string{"status": "alive"}, nil)
}

// readyz is 200 once everything is served, and 503 with the progress of the start before.
func (s *Site) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.ready.Load() != nil {
		wire.Answer(w, map[string]string{"status": "ready"}, nil)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	writeJSON(w, s.start.Load())
}

func openapi(w http.ResponseWriter, _ *http.Request) {
	b, err := files.ReadFile("openapi.yaml")
	if err != nil {
		panic(err) // it is embedded
	}
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(b) // the reader has gone
}
