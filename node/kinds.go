package node

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"groom/api"
	"groom/replay"
)

// kinds counts the entries of each journal by kind. What was counted once is not read again: a million entries take
// seconds.
type kinds struct {
	mu sync.Mutex
	of map[string]*counted
}

// counted is what the entries from first to last come to.
type counted struct {
	first, last uint64
	all         []api.KindCount
}

// Kinds counts the entries of a journal by kind, the largest first.
func (v *views) Kinds(_ context.Context, of string) ([]api.KindCount, error) {
	p, err := v.history(of)
	if err != nil {
		return nil, err
	}
	v.kinds.mu.Lock()
	defer v.kinds.mu.Unlock()
	s := p.History().Stats()
	c := v.kinds.of[p.Of]
	if c == nil || c.first != s.First { // when old entries have gone, so have their counts
		c = &counted{first: s.First, last: s.First - min(s.First, 1)}
	}
	if c.last < s.Last {
		more, err := p.Count(replay.Filter{From: c.last + 1, To: s.Last})
		if err != nil {
			return nil, told(err)
		}
		c = &counted{s.First, s.Last, sum(c.all, more)}
	}
	if v.kinds.of == nil {
		v.kinds.of = map[string]*counted{}
	}
	v.kinds.of[p.Of] = c
	return slices.Clone(c.all), nil
}

// sum adds later counts to earlier ones.
func sum(all, more []api.KindCount) []api.KindCount {
	all = slices.Clone(all)
	for _, m := range more {
		i := slices.IndexFunc(all, func(k api.KindCount) bool { return k.Kind == m.Kind })
		if i < 0 {
			all = append(all, m)
			continue
		}
		k := &all[i]
		k.Entries, k.Bytes, k.Last = k.Entries+m.Entries, k.Bytes+m.Bytes, m.Last
	}
	slices.SortFunc(all, func(a, b api.KindCount) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}
