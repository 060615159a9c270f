package api

import "fmt"

// Code says what kind of error a request met. One table in each server maps it to an HTTP status.
type Code string

// The codes.
const (
	CodeInvalid     Code = "invalid"     // 400: the request cannot be understood, or breaks a rule
	CodeToken       Code = "token"       // 401: no token, or a wrong one
	CodeForbidden   Code = "forbidden"   // 403: another origin, another host name, another attempt's token
	CodeNotFound    Code = "not-found"   // 404
	CodeMethod      Code = "method"      // 405
	CodeConflict    Code = "conflict"    // 409: the object is not in a state that allows this
	CodeTooLarge    Code = "too-large"   // 413
	CodeVersion     Code = "version"     // 426: a message of an unknown protocol version
	CodeInternal    Code = "internal"    // 500
	CodeUnavailable Code = "unavailable" // 503: starting, no space, safe mode, or no master
)

// Problem is an error as it goes over the wire (problem+json). Detail is for people, Hint names the command or the
// change that helps.
type Problem struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

// Problemf makes a Problem.
func Problemf(code Code, format string, args ...any) *Problem {
	return &Problem{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// WithHint is the problem with a hint.
func (p *Problem) WithHint(format string, args ...any) *Problem {
	q := *p
	q.Hint = fmt.Sprintf(format, args...)
	return &q
}
