// Package doctor looks at a host and a data directory as a groom will find them, and tells what is good, what is not,
// and what to do. It changes nothing: what it writes is a file without a name, to measure the disk, and a copy of the
// journals in a directory of its own, which it removes.
package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Level says how a check went.
type Level string

// The levels, best first.
const (
	OK   Level = "ok"
	Warn Level = "warn" // groom works, with less than it could have
	Fail Level = "fail" // groom does not work, or not as it promises
)

// Check is what one look found.
type Check struct {
	Name    string             `json:"check"`
	Level   Level              `json:"level"`
	Words   string             `json:"words"`
	Hint    string             `json:"hint,omitempty"` // what to run, or which file to edit; of warn and fail
	Figures map[string]float64 `json:"figures,omitempty"`
}

// Report is everything that was found.
type Report struct {
	Level     Level      `json:"level"` // the worst
	Build     string     `json:"build"`
	Data      string     `json:"data"`
	Checks    []Check    `json:"checks"`
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`
}

// Options say what to look at: what an agent with the same settings would use.
type Options struct {
	Data      string
	LocalDirs []string // DATA/local unless told
	MaxTasks  int
	Build     string
	Rehearse  bool // start this build on a copy of the journals, and look for what it would adopt
}

// Examine looks. The error is that of a context that ended.
func Examine(ctx context.Context, o Options) (Report, error) {
	data, err := filepath.Abs(o.Data)
	if err != nil {
		return Report{}, fmt.Errorf("find data directory: %w", err)
	}
	o.Data = data
	if len(o.LocalDirs) == 0 {
		o.LocalDirs = []string{filepath.Join(data, "local")}
	}
	scratch := &scratch{}
	defer scratch.remove()
	r := Report{Build: o.Build, Data: data}
	r.add(kernel()...)
	r.add(cgroups(readMounts())...)
	r.add(limits(o.MaxTasks, readMounts())...)
	// Directories are listed before the rows are read. A row comes before its directory, so that one which a living
	// groom makes meanwhile is either not listed or has its row.
	found := list(o)
	t, journals := readTables(ctx, o, scratch)
	r.add(fileSystems(o)...)
	r.add(syncRate(ctx, o.Data))
	r.add(clocks(t.newest)...)
	r.add(journals...)
	r.add(leftovers(o, t, found)...)
	if o.Rehearse && ctx.Err() == nil {
		r.Rehearsal = rehearse(ctx, o, t)
		r.add(r.Rehearsal.checks()...)
	}
	return r, ctx.Err()
}

func (r *Report) add(checks ...Check) {
	r.Checks = append(r.Checks, checks...)
	for _, c := range checks {
		if r.Level == "" || worse(c.Level, r.Level) {
			r.Level = c.Level
		}
	}
}

func worse(a, b Level) bool {
	order := []Level{OK, Warn, Fail}
	return slices.Index(order, a) > slices.Index(order, b)
}

// Failed is how many checks failed.
func (r *Report) Failed() int {
	n := 0
	for _, c := range r.Checks {
		if c.Level == Fail {
			n++
		}
	}
	return n
}

func ok(name, words string, args ...any) Check {
	return Check{Name: name, Level: OK, Words: fmt.Sprintf(words, args...)}
}

func warn(name, hint, words string, args ...any) Check {
	return Check{Name: name, Level: Warn, Hint: hint, Words: fmt.Sprintf(words, args...)}
}

func bad(name, hint, words string, args ...any) Check {
	return Check{Name: name, Level: Fail, Hint: hint, Words: fmt.Sprintf(words, args...)}
}

func (c Check) with(figures map[string]float64) Check {
	c.Figures = figures
	return c
}

// scratch is a directory of the doctor's own. A kill leaves it behind: the next look tells of it.
type scratch struct{ dir string }

const scratchPrefix = "groom-doctor-"

// below makes a directory in it, and the scratch itself when it is first needed.
func (s *scratch) below(name string) (string, error) {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", scratchPrefix)
		if err != nil {
			return "", fmt.Errorf("make temporary directory: %w", err)
		}
		s.dir = dir
	}
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make temporary directory: %w", err)
	}
	return dir, nil
}

func (s *scratch) remove() {
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // what cannot be removed is told of by the next look
	}
}
