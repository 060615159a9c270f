package replay

import (
	"cmp"
	"slices"

	"groom/api"
)

// Count counts the entries that a filter chooses, by kind: the largest first.
func (p *Past) Count(f Filter) ([]api.KindCount, error) {
	by := map[string]*api.KindCount{}
	for e, err := range p.chosen(f) {
		if err != nil {
			return nil, err
		}
		name := p.KindName(e.Kind)
		if e.Own {
			name = "raft"
		}
		c := by[name]
		if c == nil {
			c = &api.KindCount{Kind: name, First: e.At}
			by[name] = c
		}
		c.Entries++
		c.Bytes += uint64(e.Size)
		c.Last = e.At
	}
	all := []api.KindCount{}
	for _, c := range by {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b api.KindCount) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Kind, b.Kind))
	})
	return all, nil
}
