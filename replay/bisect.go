package replay

import (
	"encoding/json"
	"fmt"

	"github.com/itchyny/gojq"
)

// Check is a question about the tables, in jq, as the JSON of a state has them: it is true unless its first answer is
// false, null, or none at all.
type Check struct{ code *gojq.Code }

// ParseCheck reads a question. The error says where it cannot be understood.
func ParseCheck(text string) (*Check, error) {
	q, err := gojq.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("check %q: %w", text, err)
	}
	code, err := gojq.Compile(q)
	if err != nil {
		return nil, fmt.Errorf("check %q: %w", text, err)
	}
	return &Check{code}, nil
}

// True asks the question of one state.
func (c *Check) True(state json.RawMessage) (bool, error) {
	var tables any
	if err := json.Unmarshal(state, &tables); err != nil {
		return false, fmt.Errorf("read tables: %w", err)
	}
	v, ok := c.code.Run(tables).Next()
	if err, failed := v.(error); failed {
		return false, fmt.Errorf("check: %w", err)
	}
	return ok && v != nil && v != false, nil
}

// Bisect finds the first entry with an index from from to to, 0 leaving an end open, after which a question is true,
// by halves: it takes for granted that it stays true from there on. It returns 0 when it is not true after entry to,
// and from when it is true there already.
func (p *Past) Bisect(c *Check, from, to uint64) (uint64, error) {
	s := p.h.Stats()
	from = max(from, s.First)
	if to == 0 {
		to = s.Last
	}
	is := func(index uint64) (bool, error) {
		state, err := p.StateAt(index)
		if err != nil {
			return false, err
		}
		return c.True(state)
	}
	if end, err := is(to); err != nil || !end {
		return 0, err
	}
	for from < to { // it is true after to
		mid := from + (to-from)/2
		yes, err := is(mid)
		if err != nil {
			return 0, err
		}
		if yes {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return to, nil
}
