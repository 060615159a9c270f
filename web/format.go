package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"groom/api"
)

// helpers are what templates call.
var helpers = template.FuncMap{
	"newest": newest, "ago": ago, "at": at, "stamp": stamp, "asset": asset, "menu": menu, "headline": headline, "took": took, "bytes": size, "short": short, "mark": mark, "keys": sortedKeys[map[string]json.RawMessage],
	"rows": sortedKeys[json.RawMessage], "indent": indent, "states": states, "duration": duration,
	"active": func(j api.JobState) bool { return !j.Terminal() }, "living": func(t api.TaskState) bool { return !t.Terminal() },
	"stopped": func(s api.JobState) bool { return s == api.JobStopped },
	"sub":     func(n uint64) uint64 { return n - 1 }, "next": func(n uint64) uint64 { return n + 1 }, "link": link,
}

// ago tells a time as people think of it.
func ago(t time.Time) string {
	switch d := time.Since(t); {
	case t.IsZero():
		return "–"
	case d < time.Second:
		return "now"
	default:
		return roughly(d) + " ago"
	}
}

func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// at tells a time exactly.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// stamp tells a time to programs.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func took(from, to time.Time) string {
	if from.IsZero() {
		return "–"
	}
	if to.IsZero() {
		to = time.Now()
	}
	return duration(to.Sub(from))
}

func duration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func size(n any) string {
	var v float64
	switch n := n.(type) {
	case int64:
		v = float64(n)
	case uint64:
		v = float64(n)
	case int:
		v = float64(n)
	}
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + unit
		}
		v /= 1024
	}
	return fmt.Sprintf("%.1f TiB", v)
}

// short is the part of an identifier that tells it from its siblings.
func short(id any) string {
	text := fmt.Sprint(id)
	if i := strings.IndexByte(text, '_'); i >= 0 && len(text) > i+14 {
		return text[i+14:] // after the minute of the submission
	}
	return text
}

// mark is the sign that stands before a state, so that no state is told by its colour alone.
func mark(state any) string {
	switch fmt.Sprint(state) {
	case "succeeded", "ok", "ready", "adopted":
		return "✓"
	case "failed", "lost", "safe-mode", "nospace":
		return "✗"
	case "killed", "orphan-killed", "orphan-left":
		return "⊘"
	case "running":
		return "▶"
	case "stopped", "stopping", "killing", "failing":
		return "■"
	case "backoff", "queued", "pending", "launching", "committing":
		return "…"
	}
	return "·"
}

// newest turns events round, so that the newest come first.
func newest(events []api.EventView) []api.EventView {
	events = slices.Clone(events)
	slices.Reverse(events)
	return events
}

// stateCount is how many tasks are in a state.
type stateCount struct {
	State api.TaskState
	Count int
}

// states orders the tasks of a job by where they are in their life.
func states(by map[api.TaskState]int) []stateCount {
	var all []stateCount
	for _, s := range []api.TaskState{
		api.TaskPending, api.TaskLaunching, api.TaskRunning, api.TaskBackoff, api.TaskStopping, api.TaskStopped,
		api.TaskCommitting, api.TaskSucceeded, api.TaskFailed, api.TaskKilled,
	} {
		if by[s] > 0 {
			all = append(all, stateCount{s, by[s]})
		}
	}
	return all
}

// link makes the journal's address of an entry.
func link(of string, index uint64) string {
	if of == "" {
		return fmt.Sprintf("/journal/%d", index)
	}
	return fmt.Sprintf("/journal/%d?of=%s", index, of)
}
