package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"groom/api"
	"groom/wire"
)

// pages are the templates, one a page, each within the frame that all share.
type pages struct {
	by map[string]*template.Template
	// then are the same, never rendered themselves: a page of the past is rendered by a copy, to which "now" is its moment.
	then map[string]*template.Template
}

func parsePages() *pages {
	frame := template.Must(template.New("frame").Funcs(helpers).ParseFS(files, "templates/frame.html", "templates/parts.html"))
	names, err := files.ReadDir("templates")
	if err != nil {
		panic(err) // they are embedded
	}
	p := &pages{map[string]*template.Template{}, map[string]*template.Template{}}
	for _, f := range names {
		if f.Name() == "frame.html" || f.Name() == "parts.html" {
			continue
		}
		t := template.Must(template.Must(frame.Clone()).ParseFS(files, path.Join("templates", f.Name())))
		name := strings.TrimSuffix(f.Name(), ".html")
		p.by[name], p.then[name] = t, template.Must(t.Clone())
	}
	return p
}

// framed is what the frame shows around a page.
type framed struct {
	Page     string
	Path     string
	Insecure bool
	LoggedIn bool
	CanLogIn bool
	Past     *past // nil on a page of now
	Data     any
}

// page serves a view to people, and to programs as JSON.
func (s *Site) page(name string, f view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		now := s.ready.Load()
		if now == nil {
			s.starting(w, r)
			return
		}
		views, past, err := lookBack(now.views, r)
		if err != nil {
			s.problem(w, r, err)
			return
		}
		if past != nil && past.elsewhere != "" {
			http.Redirect(w, r, past.elsewhere, http.StatusFound)
			return
		}
		data, err := f(r.Context(), views, r)
		if err != nil {
			s.problemAt(w, r, err, past)
			return
		}
		if !forPeople(r) {
			if t, ok := data.(twin); ok {
				data = t.twin()
			}
			wire.Answer(w, data, nil)
			return
		}
		s.renderAt(w, r, http.StatusOK, name, data, past)
	}
}

// twin is page data whose JSON is not all that the page needs.
type twin interface{ twin() any }

// forPeople says whether a request comes from a browser: programs ask for JSON, or for anything.
func forPeople(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

func (s *Site) render(w http.ResponseWriter, r *http.Request, code int, name string, data any) {
	s.renderAt(w, r, code, name, data, nil)
}

// renderAt renders a page, of the past when that is not nil: nothing can be changed there, its links stay there, and
// times are told from there.
func (s *Site) renderAt(w http.ResponseWriter, r *http.Request, code int, name string, data any, past *past) {
	f := framed{
		Page: name, Path: r.URL.RequestURI(), Insecure: s.o.Insecure, LoggedIn: s.authorized(r), CanLogIn: s.o.Token != "",
		Past: past, Data: data,
	}
	t := s.pages.by[name]
	if past != nil {
		f.LoggedIn, f.CanLogIn = false, false
		t = template.Must(s.pages.then[name].Clone()).Funcs(past.helpers())
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "frame", f); err != nil {
		s.log.Error("render page", "page", name, "err", err)
		http.Error(w, "Internal error.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	page := b.Bytes()
	if past != nil {
		page = staying(page, past.Instant)
	}
	_, _ = w.Write(page) // the reader has gone
}

// starting is the page of a process that is not ready.
func (s *Site) starting(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "1")
	if forPeople(r) {
		w.Header().Set("Refresh", "1") // the page goes on by itself
		s.render(w, r, http.StatusServiceUnavailable, "starting", s.start.Load())
		return
	}
	now := s.start.Load()
	wire.Answer(w, nil, api.Problemf(api.CodeUnavailable, "starting: %s", now.Phase).WithHint("try again"))
}

// problem tells an error: to people on a page, to programs as problem+json.
func (s *Site) problem(w http.ResponseWriter, r *http.Request, err error) {
	s.problemAt(w, r, err, nil)
}

// problemAt tells what is wrong with a page of the past on one of the same moment: what is not there yet comes with the
// next steps.
func (s *Site) problemAt(w http.ResponseWriter, r *http.Request, err error, past *past) {
	p, ok := errors.AsType[*api.Problem](err)
	if !ok {
		s.log.Error("answer request", "path", r.URL.Path, "err", err)
		p = api.Problemf(api.CodeInternal, "Internal error; the log tells more.")
	}
	if !forPeople(r) {
		wire.Answer(w, nil, p)
		return
	}
	s.renderAt(w, r, wire.Status(p.Code), "problem", p, past)
}

func writeJSON(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) } // the reader has gone

// sortedKeys is the keys of a map in order, for templates.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
