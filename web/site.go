package web

import (
	"embed"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"groom/api"
)

//go:embed templates static openapi.yaml
var files embed.FS

// Options is what the pages need of their surroundings.
type Options struct {
	// Token lets changing calls in: as "Authorization: Bearer …", or in the cookie that a login sets.
	Token string
	// Hosts are the host names that requests may name, beside those of loopback. Others are refused, so that a page of
	// another site cannot reach this one by a name that it made point here.
	Hosts    []string
	Metrics  http.Handler
	Insecure bool // listens beyond loopback without TLS: every page says so
	// Job is what a job is that is handed in and says nothing. A field that it does say counts, zeros included.
	Job api.JobSpec
	Log *slog.Logger
}

// Site is the pages of one process. It answers from its first moment on: until Ready with the progress of the start.
type Site struct {
	o      Options
	log    *slog.Logger
	router *mux.Router
	outer  http.Handler
	pages  *pages
	crowd  crowd
	ended  chan struct{} // closed by Close: every stream ends
	once   sync.Once

	start atomic.Pointer[api.Starting]
	ready atomic.Pointer[shown]
}

// shown is what a ready site shows and can change.
type shown struct {
	views   Views
	actions Actions
}

// New makes the pages of a process that is starting.
func New(o Options) *Site {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Site{o: o, log: o.Log, pages: parsePages(), ended: make(chan struct{}), crowd: crowd{limit: maxStreams}}
	s.start.Store(&api.Starting{Phase: "starting"})
	s.router = s.routes()
	// From the outside in: what is refused never reaches a handler. These stand around the router and not in it, since a
	// router's middleware is left out where no route matches.
	s.outer = headers(s.hosts(s.origin(s.allowed(twins(s.router)))))
	return s
}

// Starting tells what the start is doing. Once the site is ready it tells nobody.
func (s *Site) Starting(phase string, applied, last uint64) {
	s.start.Store(&api.Starting{Phase: phase, Applied: applied, Last: last})
}

// Ready shows everything from now on.
func (s *Site) Ready(v Views, a Actions) { s.ready.Store(&shown{v, a}) }

// Close ends every stream of events and every log that is followed.
func (s *Site) Close() { s.once.Do(func() { close(s.ended) }) }

// ServeHTTP answers a request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	seen := &recorder{ResponseWriter: w, code: http.StatusOK}
	s.outer.ServeHTTP(seen, r)
	s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", seen.code, "took", time.Since(began))
}

// recorder sees the status of an answer. Unwrap keeps flushing and deadlines within reach.
type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// origin refuses changes that a page of another site asks a browser for.
func (s *Site) origin(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.problem(w, r, api.Problemf(api.CodeForbidden, "a page of another site asked for this").WithHint("open the pages of this process themselves"))
	}))
	return p.Handler(next)
}

// hosts refuses requests that name a host which is not this one. An IP address is no name that somebody else could
// make point here, so beyond loopback any will do.
func (s *Site) hosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		ip := net.ParseIP(host)
		if host == "localhost" || ip != nil && (ip.IsLoopback() || s.o.Insecure) || slices.Contains(s.o.Hosts, host) {
			next.ServeHTTP(w, r)
			return
		}
		s.problem(w, r, api.Problemf(api.CodeForbidden, "this is not %q", host).WithHint("use the address that groom printed when it started"))
	})
}

// twins lets ".json" after a path ask for the JSON twin of a page, as the header Accept does.
func twins(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutSuffix(r.URL.Path, ".json")
		if !ok || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = "/"+strings.TrimPrefix(strings.TrimSuffix(path, "/index"), "/"), ""
		r.Header.Set("Accept", "application/json")
		next.ServeHTTP(w, r)
	})
}
