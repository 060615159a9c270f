package web

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"groom/api"
)

// past is the moment that a page shows.
type past struct {
	api.Instant
	Others    []string // journals of the process that have other moments
	Query     []param  // what else the page was asked for
	elsewhere string   // the address of the page, when it was asked for by a time and not by an index
	page      url.Values
}

// param is a part of a query.
type param struct{ Name, Value string }

// lookBack leads to the moment that a page is asked for, which is nil when that is now.
func lookBack(now Views, r *http.Request) (Views, *past, error) {
	q := r.URL.Query()
	at := q.Get("at")
	if at == "" {
		return now, nil, nil
	}
	v, instant, err := now.At(r.Context(), q.Get("of"), at)
	if err != nil {
		return nil, nil, err
	}
	p := &past{Instant: instant, page: q}
	if at != strconv.FormatUint(instant.Index, 10) {
		asked, err := url.ParseRequestURI(r.RequestURI) // with the ".json" that is cut off by now
		if err != nil {
			return nil, nil, api.Problemf(api.CodeInvalid, "%v", err)
		}
		asked.RawQuery = strings.TrimPrefix(p.To(instant.Index), "?")
		p.elsewhere = asked.RequestURI()
	}
	for name, values := range q {
		for _, value := range values {
			if name != "of" && name != "at" {
				p.Query = append(p.Query, param{name, value})
			}
		}
	}
	all, err := now.Journals(r.Context())
	for _, j := range all {
		if j.Of != p.Of {
			p.Others = append(p.Others, j.Of)
		}
	}
	return v, p, err
}

// To is the query that leads to the same page at another moment.
func (p *past) To(index uint64) string { return p.query(p.Of, strconv.FormatUint(index, 10)) }

// ToOther is the query that leads to the same page as another journal had it at that time.
func (p *past) ToOther(of string) string { return p.query(of, stamp(p.At)) }

// Now is the query that leads to the page as it is now.
func (p *past) Now() string { return p.query(p.page.Get("of"), "") }

func (p *past) query(of, at string) string {
	q := url.Values{}
	for name, values := range p.page {
		q[name] = values
	}
	q.Set("of", of)
	q.Set("at", at)
	for _, name := range []string{"of", "at"} {
		if q.Get(name) == "" {
			q.Del(name)
		}
	}
	return "?" + q.Encode()
}

// helpers tell times as they were told at the moment.
func (p *past) helpers() template.FuncMap {
	return template.FuncMap{
		"ago": func(t time.Time) string {
			switch d := p.At.Sub(t); {
			case t.IsZero():
				return "–"
			case p.At.IsZero(): // an entry of raft itself, which tells no time
				return at(t)
			case d < time.Millisecond:
				return "then"
			case d < 2*time.Second: // what happens within a second is what is looked for
				return fmt.Sprintf("%d ms before", d.Milliseconds())
			default:
				return roughly(d) + " before"
			}
		},
		"took": func(from, to time.Time) string {
			if to.IsZero() {
				to = p.At
			}
			if from.IsZero() || to.IsZero() {
				return "–"
			}
			return duration(max(0, to.Sub(from)))
		},
	}
}

// links are those of a page that lead to another page of this site.
var links = regexp.MustCompile(`(<a [^>]*href=")(/[^"]*)"`)

// leaving are the places that have no past, or that have a moment of their own.
var leaving = []string{"/static/", "/api/", "/login", "/events", "/diff", "/why/", "/metrics"}

// staying has every link of a page of the past lead to the same moment: all pages are made of the same templates, which
// know of now alone.
func staying(page []byte, past api.Instant) []byte {
	return links.ReplaceAllFunc(page, func(found []byte) []byte {
		m := links.FindSubmatch(found)
		if bytes.Contains(m[1], []byte("data-now")) {
			return found // the way back
		}
		u, err := url.Parse(html.UnescapeString(string(m[2])))
		if err != nil || u.Query().Has("at") || strings.HasSuffix(u.Path, "/logs") {
			return found
		}
		for _, prefix := range leaving {
			if strings.HasPrefix(u.Path, prefix) {
				return found
			}
		}
		q := u.Query()
		if of := q.Get("of"); of != "" && of != past.Of {
			return found // the other journal has other moments
		}
		q.Set("of", past.Of)
		q.Set("at", fmt.Sprint(past.Index))
		u.RawQuery = q.Encode()
		return fmt.Appendf(nil, `%s%s"`, m[1], html.EscapeString(u.String()))
	})
}

// rowsShown bounds what a page shows of a diff or a story; the twin, and the terminal, tell all of it.
const rowsShown = 500

// diffPage is what lies between two moments.
type diffPage struct {
	api.Diff
	Last uint64
}

// Shown are the rows that a page shows.
func (p diffPage) Shown() []api.RowChange { return p.Rows[:min(len(p.Rows), rowsShown)] }

// More is how many it does not show.
func (p diffPage) More() int { return len(p.Rows) - len(p.Shown()) }

func (p diffPage) twin() any { return p.Diff }

func diff(ctx context.Context, v Views, r *http.Request) (any, error) {
	q := r.URL.Query()
	if q.Get("a") == "" || q.Get("b") == "" {
		return nil, api.Problemf(api.CodeInvalid, "want two moments, a and b: each an index or a time").WithHint("/diff?of=groom&a=1&b=2")
	}
	d, err := v.Diff(ctx, q.Get("of"), q.Get("a"), q.Get("b"))
	if err != nil {
		return nil, err
	}
	all, err := v.Journals(ctx)
	p := diffPage{Diff: d}
	for _, j := range all {
		if j.Of == d.Of {
			p.Last = j.Last
		}
	}
	return p, err
}

func why(ctx context.Context, v Views, r *http.Request) (any, error) {
	s, err := v.Why(ctx, r.URL.Query().Get("of"), mux.Vars(r)["id"])
	return whyPage{s}, err
}

// whyPage is a story, of which a page shows the end: there it is settled.
type whyPage struct{ api.Story }

func (p whyPage) twin() any { return p.Story }

// Shown are the steps that a page shows.
func (p whyPage) Shown() []api.StoryStep { return p.Steps[max(0, len(p.Steps)-rowsShown):] }

// More is how many it does not show.
func (p whyPage) More() int { return len(p.Steps) - len(p.Shown()) }

// moment reads a time of a query: RFC 3339, or as a browser's field gives it, which is taken for UTC.
func moment(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, api.Problemf(api.CodeInvalid, "%s=%q: want a time such as 2026-01-31T15:04:05Z", name, text)
}
