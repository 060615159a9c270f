package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// Check is a question about the tables, in jq, as the JSON of a state has them: it is true unless its first answer is
// false, null, or none at all.
type Check struct{ code *gojq.Code }

// ParseCheck reads a question. The error says where it cannot be understood.
func ParseCheck(text string) (*Check, error) {
	q, err := gojq.Parse(text)
	if at, ok := errors.AsType[*gojq.ParseError](err); ok {
		return nil, fmt.Errorf("check %s: at character %d: %w", text, character(text, at), err)
	}
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", text, err)
	}
	code, err := gojq.Compile(q)
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", text, err) // it names the function or the variable
	}
	return &Check{code}, nil
}

// character counts from 1 to where the parser stopped: at the token that it did not expect, or behind the end.
func character(text string, err *gojq.ParseError) int {
	end := min(err.Offset, len(text))
	start := max(end-len(err.Token), 0)
	return utf8.RuneCountInString(text[:start]) + 1
}

// True asks the question of one state. It ends with the context, since a question may go on for ever.
func (c *Check) True(ctx context.Context, state json.RawMessage) (bool, error) {
	var tables any
	dec := json.NewDecoder(bytes.NewReader(state))
	dec.UseNumber() // a time or a seed in nanoseconds is more than a float holds
	if err := dec.Decode(&tables); err != nil {
		return false, fmt.Errorf("read tables: %w", err)
	}
	v, ok := c.code.RunWithContext(ctx, tables).Next()
	if err, failed := v.(error); failed {
		return false, err
	}
	return ok && v != nil && v != false, nil
}

// Bisect finds the first entry with an index from from to to, 0 leaving an end open, after which a question is true,
// by halves: it takes for granted that it stays true from there on. It returns 0 when it is not true after entry to,
// and says whether it was true already after entry from, where it looks first.
func (p *Past) Bisect(ctx context.Context, c *Check, from, to uint64) (index uint64, already bool, err error) {
	s := p.h.Stats()
	if to == 0 {
		to = s.Last
	}
	if from > to {
		return 0, false, fmt.Errorf("from entry %d to entry %d: %w", from, to, ErrRange)
	}
	from = max(from, s.First)
	is := func(index uint64) (bool, error) {
		state, err := p.StateAt(index)
		if err != nil {
			return false, err
		}
		yes, err := c.True(ctx, state)
		if err != nil {
			return false, fmt.Errorf("check after entry %d: %w", index, err)
		}
		return yes, nil
	}
	if end, err := is(to); err != nil || !end {
		return 0, false, err
	}
	if already, err := is(from); err != nil || already {
		return from, already, err
	}
	for from+1 < to { // it is not true after from, and is after to
		mid := from + (to-from)/2
		yes, err := is(mid)
		if err != nil {
			return 0, false, err
		}
		if yes {
			to = mid
		} else {
			from = mid
		}
	}
	return to, false, nil
}
