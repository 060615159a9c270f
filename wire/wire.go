// Package wire carries the JSON messages of package api over HTTP: one way to ask and one way to answer, the same for
// grooms, masters and clients, and the same within one process as between hosts.
package wire

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"groom/api"
)

// Limit bounds the body of a message, in bytes. A job's spec is at most 1 MiB, a heartbeat far less.
const Limit = 4 << 20

// status maps each code of a problem to HTTP.
var status = map[api.Code]int{
	api.CodeInvalid: 400, api.CodeToken: 401, api.CodeForbidden: 403, api.CodeNotFound: 404, api.CodeMethod: 405,
	api.CodeConflict: 409, api.CodeTooLarge: 413, api.CodeVersion: 426, api.CodeInternal: 500, api.CodeUnavailable: 503,
}

// Status is the HTTP status of a code.
func Status(code api.Code) int { return status[code] }

// Client asks one server. Token may be empty.
type Client struct {
	Base  string // "http://host:port"
	Token string
	HTTP  *http.Client
}

// Post sends a message and decodes the answer into reply, which may be nil. An error that the server tells is an
// *api.Problem; any other means that the outcome is unknown.
func (c *Client) Post(ctx context.Context, path string, message, reply any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	return c.do(req, reply)
}

// Get decodes what stands at path into reply.
func (c *Client) Get(ctx context.Context, path string, reply any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+path, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	return c.do(req, reply)
}

func (c *Client) do(req *http.Request, reply any) error {
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		return problem(resp, bytes.TrimSpace(body))
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(body, reply); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// Read decodes the body of a request, bounded by limit bytes, and checks the version that the message carries.
func Read(r *http.Request, limit int64, message any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return api.Problemf(api.CodeTooLarge, "the message is over %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return api.Problemf(api.CodeInvalid, "read message: %v", err)
	}
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return api.Problemf(api.CodeInvalid, "decode message: %v", err)
	}
	if head.Version == nil || *head.Version > api.Version || *head.Version < api.Version-1 {
		got := "none"
		if head.Version != nil {
			got = fmt.Sprint(*head.Version)
		}
		return api.Problemf(api.CodeVersion, "the message has version %s; this build speaks %d", got, api.Version)
	}
	if err := json.Unmarshal(body, message); err != nil {
		return api.Problemf(api.CodeInvalid, "decode message: %v", err)
	}
	return nil
}

// Answer writes a reply, or the error in its place. An error that is not a problem is internal: the client learns
// that it happened, and the caller should log what it was.
func Answer(w http.ResponseWriter, reply any, err error) {
	if err != nil {
		p, ok := errors.AsType[*api.Problem](err)
		if !ok {
			p = api.Problemf(api.CodeInternal, "%v", err)
		}
		write(w, "application/problem+json", status[p.Code], p)
		return
	}
	if reply == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	write(w, "application/json", http.StatusOK, reply)
}

func write(w http.ResponseWriter, contentType string, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // the client is gone: nobody to tell
}

// Bearer is the token that a request carries.
func Bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

// Same compares two tokens in constant time. An empty one equals nothing.
func Same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// Guard lets requests through that carry the token.
func Guard(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Same(Bearer(r), token) {
			Answer(w, nil, api.Problemf(api.CodeToken, "no token, or a wrong one"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
