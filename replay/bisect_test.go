package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestBisect(t *testing.T) {
	l := newLife(t)
	at := l.story()
	p := l.past()
	s := p.h.Stats()
	task, first := string(job.Task(0)), string(job.Task(0).Attempt(1))
	for name, c := range map[string]struct {
		check    string
		from, to uint64
		want     uint64
		already  bool
	}{
		"a row that changed":                 {`.tasks["` + task + `"].failures == 1`, 0, at["again"], at["ended"], false},
		"a row that came":                    {`.attempts | has("` + first + `")`, 0, 0, at["due"], false},
		"in the newest entry":                {`.tasks["` + task + `"].state == "failed"`, 0, 0, at["failed"], false},
		"in the entry behind the first look": {`.attempts["` + first + `"].order.by == "silence"`, at["silent"] - 1, 0, at["silent"], false},
		"true already":                       {`.tasks["` + task + `"].failures >= 1`, at["again"], 0, at["again"], true},
		"true always":                        {`true`, 0, 0, s.First, true},
		"not at the end":                     {`.tasks["` + task + `"].failures > 2`, 0, 0, 0, false},
		"not yet where it ends":              {`.tasks["` + task + `"].failures == 2`, 0, at["again"], 0, false},
		"no answer is no":                    {`empty`, 0, 0, 0, false},
		"null is no":                         {`.tasks.nobody`, 0, 0, 0, false},
		"zero is yes":                        {`0`, at["due"], at["due"], at["due"], true},
	} {
		t.Run(name, func(t *testing.T) {
			check, err := ParseCheck(c.check)
			if err != nil {
				t.Fatal(err)
			}
			got, already, err := p.Bisect(t.Context(), check, c.from, c.to)
			if err != nil || got != c.want || already != c.already {
				t.Errorf("entry %d, already %v, %v; want entry %d, already %v", got, already, err, c.want, c.already)
			}
		})
	}
	whole, err := ParseCheck(`true`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]uint64{{5, 4}, {0, s.Last + 1}, {s.Last + 1, 0}} {
		if got, _, err := p.Bisect(t.Context(), whole, c[0], c[1]); !errors.Is(err, ErrRange) {
			t.Errorf("from %d to %d: entry %d, %v", c[0], c[1], got, err)
		}
	}
	fails, err := ParseCheck(`.tasks | error("no")`)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Bisect(t.Context(), fails, 0, 0); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("after entry %d: ", s.Last)) {
		t.Errorf("a question that fails: %v", err)
	}
}

// A question that never comes to an end is left with the context.
func TestBisectEndsWithItsContext(t *testing.T) {
	l := newLife(t)
	check, err := ParseCheck(`first(repeat(1) | select(. > 1))`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, _, err := l.past().Bisect(ctx, check, 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// A question that is none is refused with the place where it ceases to be one.
func TestChecksThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		`.tasks[] ~ 3`:               "at character 10: ",
		`.tasks | any(.failures > `:  "at character 26: ",
		`.a == "ü" ~`:                "at character 11: ",
		`.tasks | nosuch(1)`:         "nosuch/1",
		`.tasks | map(.n > $nobody)`: "$nobody",
		`.a == "open`:                "at character 12: ", // nothing ends it
		``:                           "missing",
	} {
		if _, err := ParseCheck(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Numbers are compared as they were written, also beyond what a float holds.
func TestChecksOfLargeNumbers(t *testing.T) {
	for text, want := range map[string]bool{`.n == 9007199254740993`: true, `.n == 9007199254740992`: false, `.n > 9007199254740992`: true} {
		check, err := ParseCheck(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := check.True(t.Context(), []byte(`{"n":9007199254740993}`)); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
