package table

import (
	"iter"
	"slices"
)

// keys is a sorted set. Rows come and go more rarely than they change, and are walked after every change.
type keys []string

// put makes the key one of the set, or none of it.
func (k *keys) put(key string, in bool) {
	at, is := slices.BinarySearch(*k, key)
	switch {
	case in && !is:
		*k = slices.Insert(*k, at, key)
	case !in && is:
		*k = slices.Delete(*k, at, at+1)
	}
}

// Subset is the rows of a table for which a condition holds. It is kept as rows change, so that who asks for the few
// that live need not walk the many that have ended.
type Subset[R any] struct {
	of    *Table[R]
	holds func(R) bool
	keys  keys
}

// Where makes a subset of a table that is still empty. What holds says may depend on the row alone.
func (t *Table[R]) Where(holds func(R) bool) *Subset[R] {
	s := &Subset[R]{of: t, holds: holds}
	t.subsets = append(t.subsets, s)
	return s
}

// All yields every row of the subset in the order of the keys.
func (s *Subset[R]) All() iter.Seq2[string, R] { return s.of.each(s.keys) }
