package web

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"groom/api"
)

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

// diffPage is what lies between two moments.
type diffPage struct {
	api.Diff
	Last uint64
}

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
	return v.Why(ctx, r.URL.Query().Get("of"), mux.Vars(r)["id"])
}

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
