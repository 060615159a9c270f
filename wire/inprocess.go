package wire

import (
	"bytes"
	"io"
	"net/http"
)

// InProcess answers requests by a handler in the same process, so that an embedded master and a distant one are
// spoken to in one way.
type InProcess struct{ Handler http.Handler }

var _ http.RoundTripper = InProcess{}

// RoundTrip serves the request at once. Answers that stream are not for it.
func (t InProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	served := r.Clone(r.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	a := &answer{code: http.StatusOK, header: http.Header{}}
	t.Handler.ServeHTTP(a, served)
	return &http.Response{
		StatusCode: a.code, Status: http.StatusText(a.code), Header: a.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()),
	}, nil
}

type answer struct {
	code   int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
