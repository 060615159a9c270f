package wire

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"groom/api"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

type message struct {
	Version int    `json:"version"`
	Text    string `json:"text"`
}

// server answers with the text that it was sent, in a process of its own as far as the client can tell.
func server(t *testing.T, h http.Handler) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &Client{Base: srv.URL, HTTP: srv.Client()}
}

// both runs a test over a socket and within one process: the same questions have the same answers.
func both(t *testing.T, h http.Handler, f func(*testing.T, *Client)) {
	t.Helper()
	t.Run("over a socket", func(t *testing.T) { f(t, server(t, h)) })
	t.Run("in process", func(t *testing.T) {
		f(t, &Client{Base: "http://here", HTTP: &http.Client{Transport: InProcess{h}}})
	})
}

func echo(limit int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var m message
		err := Read(r, limit, &m)
		Answer(w, m, err)
	}
}

func TestPost(t *testing.T) {
	both(t, echo(Limit), func(t *testing.T, c *Client) {
		var got message
		want := message{api.Version, "<hello>"}
		if err := c.Post(t.Context(), "/v1/echo", want, &got); err != nil || got != want {
			t.Errorf("got %+v: %v", got, err)
		}
		if err := c.Post(t.Context(), "/v1/echo", want, nil); err != nil {
			t.Errorf("an answer that nobody wants: %v", err)
		}
		if err := c.Post(t.Context(), "/v1/echo", func() {}, nil); err == nil {
			t.Error("what cannot be encoded was sent")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Post(ctx, "/v1/echo", want, &got); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of its context: %v", err)
		}
	})
}

// What cannot be read is answered with the code that says why.
func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		name, body string
		code       api.Code
		status     int
		want       string
	}{
		{"too large", `{"version":1,"text":"` + strings.Repeat("x", 100) + `"}`, api.CodeTooLarge, 413, "over 64 bytes"},
		{"no JSON", `{`, api.CodeInvalid, 400, "decode message"},
		{"nothing", ``, api.CodeInvalid, 400, "decode message"},
		{"no version", `{"text":"hello"}`, api.CodeVersion, 426, "version none"},
		{"a version from the future", `{"version":2}`, api.CodeVersion, 426, "version 2; this build speaks 1"},
		{"a version from long ago", `{"version":-1}`, api.CodeVersion, 426, "version -1"},
		{"a version that is a text", `{"version":"1"}`, api.CodeInvalid, 400, "decode message"},
		{"another shape", `{"version":1,"text":7}`, api.CodeInvalid, 400, "decode message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			echo(64)(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body)))
			if w.Code != c.status || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("status %d, %s", w.Code, w.Header().Get("Content-Type"))
			}
			if body := w.Body.String(); !strings.Contains(body, c.want) || !strings.Contains(body, `"code":"`+string(c.code)+`"`) {
				t.Errorf("said %s", body)
			}
		})
	}
	w := httptest.NewRecorder()
	echo(64)(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"version":0,"text":"old"}`)))
	if w.Code != http.StatusOK {
		t.Errorf("the version before: status %d", w.Code)
	}
}

// A problem reaches the one who asked as it was told: code, words and hint.
func TestProblems(t *testing.T) {
	for code, want := range status {
		problem := api.Problemf(code, "it is %s", code).WithHint("try again")
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			Answer(w, message{}, fmt.Errorf("look: %w", problem))
		})
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", code, w.Code, want)
		}
		both(t, h, func(t *testing.T, c *Client) {
			got, ok := errors.AsType[*api.Problem](c.Get(t.Context(), "/", nil))
			if !ok || *got != *problem {
				t.Errorf("%s: got %+v", code, got)
			}
		})
	}
}

// An error without a code is internal, and so is an answer that is no problem of ours.
func TestErrorsWithoutACode(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a plain error":   func(w http.ResponseWriter, _ *http.Request) { Answer(w, nil, errors.New("disk on fire")) },
		"a foreign page":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "disk on fire", http.StatusBadGateway) },
		"foreign JSON":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"error":"disk on fire"}`, 500) },
		"no JSON to send": func(w http.ResponseWriter, _ *http.Request) { Answer(w, func() {}, nil) },
	} {
		both(t, h, func(t *testing.T, c *Client) {
			got, ok := errors.AsType[*api.Problem](c.Get(t.Context(), "/", nil))
			if !ok || got.Code != api.CodeInternal {
				t.Errorf("%s: got %+v", name, got)
			}
			if name != "no JSON to send" && !strings.Contains(got.Detail, "disk on fire") {
				t.Errorf("%s: got %q", name, got.Detail)
			}
		})
	}
	c := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "no JSON") }))
	if err := c.Get(t.Context(), "/", new(message)); err == nil || !strings.Contains(err.Error(), "decode answer") {
		t.Errorf("an answer that is no JSON: %v", err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c = &Client{Base: gone.URL, HTTP: http.DefaultClient}
	if _, ok := errors.AsType[*api.Problem](c.Get(t.Context(), "/", nil)); ok {
		t.Error("a server that is gone told a problem")
	}
}

func TestGuard(t *testing.T) {
	h := Guard("sesame", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { Answer(w, nil, nil) }))
	both(t, h, func(t *testing.T, c *Client) {
		for token, want := range map[string]bool{"sesame": true, "": false, "sesam": false, "sesames": false, "SESAME": false} {
			c.Token = token
			err := c.Get(t.Context(), "/", nil)
			p, refused := errors.AsType[*api.Problem](err)
			if (err == nil) != want || refused && p.Code != api.CodeToken {
				t.Errorf("token %q: %v", token, err)
			}
		}
	})
	if Same("", "") {
		t.Error("no token equals no token")
	}
	open := httptest.NewRecorder()
	Guard("", http.NotFoundHandler()).ServeHTTP(open, httptest.NewRequest(http.MethodGet, "/", nil))
	if open.Code != http.StatusUnauthorized {
		t.Errorf("a guard without a token lets everybody in: %d", open.Code)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for header, want := range map[string]string{"Bearer sesame": "sesame", "Basic sesame": "", "sesame": "", "": ""} {
		r.Header.Set("Authorization", header)
		if got := Bearer(r); got != want {
			t.Errorf("%q carries %q", header, got)
		}
	}
}

// A handler in the same process sees what it would see over a socket, and cannot change the request that was made.
func TestInProcess(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "overwritten")
		w.Header().Set("X-Test", "1")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, r.URL.Query().Get("q"))
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://here/path?q=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "mine")
	resp, err := InProcess{h}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Test") != "1" || resp.ContentLength != 11 {
		t.Errorf("%+v", resp)
	}
	if r.Header.Get("Authorization") != "mine" {
		t.Error("the request of the caller was changed")
	}
}

func values(n int, end error) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		for i := range n {
			if !yield(message{Text: fmt.Sprint(i)}, nil) {
				return
			}
		}
		if end != nil {
			yield(message{}, end)
		}
	}
}

func TestLines(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { AnswerLines(w, values(3, errors.New("the end"))) })
	both(t, h, func(t *testing.T, c *Client) {
		lines, err := Lines[message](t.Context(), c, "/")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for m, err := range lines {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Text)
		}
		if !slices.Equal(got, []string{"0", "1", "2"}) {
			t.Errorf("got %v", got)
		}
	})
}

// Each line reaches the reader as soon as it is there, and a reader that leaves ends the answer.
func TestLinesComeAtOnce(t *testing.T) {
	next, ended := make(chan string), make(chan struct{})
	c := server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		AnswerLines(w, func(yield func(message, error) bool) {
			for {
				select {
				case text := <-next:
					if !yield(message{Text: text}, nil) {
						return
					}
				case <-r.Context().Done():
					return
				}
			}
		})
	}))
	lines, err := Lines[message](t.Context(), c, "/") // let in before there is anything to say
	if err != nil {
		t.Fatal(err)
	}
	go func() { next <- "first" }()
	for m, err := range lines {
		if err != nil || m.Text != "first" {
			t.Errorf("got %+v: %v", m, err)
		}
		break
	}
	<-ended
}

func TestLinesThatAreNone(t *testing.T) {
	refused := Guard("sesame", http.NotFoundHandler())
	both(t, refused, func(t *testing.T, c *Client) {
		_, err := Lines[message](t.Context(), c, "/")
		if p, ok := errors.AsType[*api.Problem](err); !ok || p.Code != api.CodeToken {
			t.Errorf("got %v", err)
		}
	})
	c := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{\"text\":\"a\"}\n{\"te") }))
	lines, err := Lines[message](t.Context(), c, "/")
	if err != nil {
		t.Fatal(err)
	}
	var errs []error
	for _, err := range lines {
		errs = append(errs, err)
	}
	if len(errs) != 2 || errs[0] != nil || errs[1] == nil {
		t.Errorf("a line that is cut: %v", errs)
	}
}
