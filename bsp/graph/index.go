package graph

import "math/bits"

// index finds the place of a vertex: a table with open addressing, since every edge is looked up, and a Go map would
// take twice the time and memory.
type index struct {
	ids   []uint64
	refs  []Ref
	shift int
}

// none marks a free place: no peer has so high a number.
const none = ^Ref(0)

func newIndex(n int) *index {
	size := 1 << bits.Len(uint(max(8, 2*n)))
	x := &index{ids: make([]uint64, size), refs: make([]Ref, size), shift: 64 - bits.Len(uint(size-1))}
	for i := range x.refs {
		x.refs[i] = none
	}
	return x
}

// place is where the id stands, or where it would.
func (x *index) place(id uint64) int {
	i := int(mix(id) >> x.shift)
	for x.refs[i] != none && x.ids[i] != id {
		i = (i + 1) & (len(x.ids) - 1)
	}
	return i
}

// add says false when the id is there already.
func (x *index) add(id uint64, r Ref) bool {
	i := x.place(id)
	if x.refs[i] != none {
		return false
	}
	x.ids[i], x.refs[i] = id, r
	return true
}

func (x *index) find(id uint64) (Ref, bool) {
	r := x.refs[x.place(id)]
	return r, r != none
}

// mix spreads ids, which often follow each other or share their low bits.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	return x
}
