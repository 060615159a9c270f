package web

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"groom/api"
	"groom/wire"
)

// cookieName differs from process to process: a browser keeps one jar for all ports of a host, and who is logged in at
// the groom must not be logged out by the master beside it.
func (s *Site) cookieName() string {
	sum := sha256.Sum256([]byte("cookie of " + s.o.Token))
	return "groom-" + hex.EncodeToString(sum[:4])
}

// authorized says whether a request may change something.
func (s *Site) authorized(r *http.Request) bool {
	if wire.Same(wire.Bearer(r), s.o.Token) {
		return true
	}
	c, err := r.Cookie(s.cookieName())
	return err == nil && wire.Same(c.Value, s.o.Token)
}

// allowed lets reading through, and what may change something only with the token. It stands around the router, so
// that a route which forgets about tokens cannot be made.
func (s *Site) allowed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if reads || r.URL.Path == "/login" || r.URL.Path == "/logout" || s.authorized(r) {
			next.ServeHTTP(w, r)
			return
		}
		if forPeople(r) && s.o.Token != "" {
			http.Redirect(w, r, "/login?back="+url.QueryEscape(backOf(r)), http.StatusSeeOther)
			return
		}
		s.problem(w, r, api.Problemf(api.CodeToken, "no token, or a wrong one").
			WithHint("send Authorization: Bearer TOKEN; the token is in DATA/token, and groom job list --data DATA, like every verb, finds it there"))
	})
}

// backOf is the page that a form stood on.
func backOf(r *http.Request) string {
	if u, err := url.Parse(r.Referer()); err == nil && u.Host == r.Host {
		return local(u.RequestURI())
	}
	return "/"
}

// local keeps a redirect on this site.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.Contains(path, "\\") {
		return "/"
	}
	return path
}

type loginData struct {
	Back  string
	Wrong bool
}

func (s *Site) loginPage(w http.ResponseWriter, r *http.Request) {
	if !forPeople(r) {
		s.problem(w, r, api.Problemf(api.CodeInvalid, "this page is for people").WithHint("send Authorization: Bearer TOKEN"))
		return
	}
	s.render(w, r, http.StatusOK, "login", loginData{Back: local(r.URL.Query().Get("back"))})
}

func (s *Site) login(w http.ResponseWriter, r *http.Request) {
	if err := readForm(w, r); err != nil {
		s.problem(w, r, err)
		return
	}
	back := local(r.PostForm.Get("back"))
	if !wire.Same(strings.TrimSpace(r.PostForm.Get("token")), s.o.Token) {
		if !forPeople(r) {
			s.problem(w, r, api.Problemf(api.CodeToken, "that is not the token").WithHint("it is in the file token of the data directory"))
			return
		}
		s.render(w, r, http.StatusUnauthorized, "login", loginData{Back: back, Wrong: true})
		return
	}
	http.SetCookie(w, s.cookie(s.o.Token, 0))
	http.Redirect(w, r, back, http.StatusSeeOther)
}

func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, s.cookie("", -1))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Site) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: s.cookieName(), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// formLimit bounds a form of a page, in bytes.
const formLimit = 16 << 10

func readForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, formLimit)
	err := r.ParseForm()
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return api.Problemf(api.CodeTooLarge, "the form is over %d bytes", big.Limit)
	}
	if err != nil {
		return api.Problemf(api.CodeInvalid, "read form: %v", err)
	}
	return nil
}
