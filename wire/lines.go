package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	"groom/api"
)

// Lines asks for an answer that comes line by line, each a JSON value, for as long as the server has more. The
// connection is closed when the loop over them ends.
func Lines[T any](ctx context.Context, c *Client, path string) (iter.Seq2[T, error], error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "application/jsonl")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, Limit))
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		return nil, problem(resp, body)
	}
	return func(yield func(T, error) bool) {
		defer resp.Body.Close()
		dec := json.NewDecoder(bufio.NewReader(resp.Body))
		for {
			var v T
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("read line: %w", err)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}, nil
}

// AnswerLines writes values line by line, each as soon as it comes. An error ends the answer: the reader sees an end
// that the values themselves did not announce.
func AnswerLines[T any](w http.ResponseWriter, values iter.Seq2[T, error]) {
	w.Header().Set("Content-Type", "application/jsonl")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	_ = flush.Flush() // the reader learns at once that it was let in; an in-process answer needs no flush
	for v, err := range values {
		if err != nil || enc.Encode(v) != nil {
			return
		}
		_ = flush.Flush()
	}
}

// problem is the error that an answer tells.
func problem(resp *http.Response, body []byte) *api.Problem {
	p := new(api.Problem)
	if json.Unmarshal(body, p) != nil || p.Code == "" {
		p = api.Problemf(api.CodeInternal, "%s: %s", resp.Status, body)
	}
	return p
}
