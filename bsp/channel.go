package bsp

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"math/bits"
	"slices"
)

// channel is what a step needs of a Chan, whatever its values are.
type channel interface {
	number() uint32
	flush(to int)
}

// Chan carries values of one type, each addressed to an index at a peer. What is sent in one step is received in the
// next. With an operation, the values for one index are combined before they are sent, so that at most one of each
// sender arrives.
type Chan[V any] struct {
	p     *Peer
	name  string
	id    uint32
	codec Codec[V]
	op    func(a, b V) V // nil: every value is sent
	out   []pending[V]   // by destination
}

// pending is what waits to be sent to one peer.
type pending[V any] struct {
	block    block // records; nil when there are none
	messages int

	// Combined values: a slot for each index up to the greatest one seen, and a bit that says whether it is taken.
	slots []V
	taken []uint64
	far   map[uint32]V // indexes for which a slot would cost too much
}

// denseLimit is the first index that has no slot: 128 MiB for each peer at most.
const denseLimit = 1 << 24

// NewChan makes a channel. Every peer makes the same ones, by name; op is None for a channel that sends every value.
func NewChan[V any](p *Peer, name string, codec Codec[V], op Op) *Chan[V] {
	h := fnv.New32a()
	fmt.Fprintf(h, "%T %s %s", *new(V), op, name) // peers that differ in any of these must not understand each other
	c := &Chan[V]{p: p, name: name, id: h.Sum32(), codec: codec, out: make([]pending[V], p.N())}
	if op != None {
		if c.op = codec.combine(op); c.op == nil {
			panic(fmt.Sprintf("bsp: channel %q cannot have operation %q", name, op))
		}
	}
	for _, other := range p.channels {
		if other.number() == c.id {
			panic(fmt.Sprintf("bsp: channel %q is there already, or its name needs to be changed a little", name))
		}
	}
	p.channels = append(p.channels, c)
	return c
}

func (c *Chan[V]) number() uint32 { return c.id }

// Send sends a value to an index at a peer.
func (c *Chan[V]) Send(to int, index uint32, v V) {
	o := &c.out[to]
	if c.op == nil {
		c.record(to, o, index, v)
		return
	}
	if int(index) < len(o.slots) {
		word, bit := index/64, uint64(1)<<(index%64)
		if o.taken[word]&bit != 0 {
			o.slots[index] = c.op(o.slots[index], v)
			return
		}
		o.taken[word] |= bit
		o.slots[index] = v
		return
	}
	c.sendFar(o, index, v)
}

// sendFar is Send to an index that has no slot yet.
func (c *Chan[V]) sendFar(o *pending[V], index uint32, v V) {
	if index < denseLimit {
		n := min(max(1024, 2*len(o.slots), 1<<bits.Len32(index)), denseLimit)
		o.slots = append(make([]V, 0, n), o.slots...)[:n]
		o.taken = append(make([]uint64, 0, n/64), o.taken...)[:n/64]
		o.taken[index/64] |= 1 << (index % 64)
		o.slots[index] = v
		return
	}
	if was, ok := o.far[index]; ok {
		v = c.op(was, v)
	}
	if o.far == nil {
		o.far = map[uint32]V{}
	}
	o.far[index] = v
}

// record appends one value to the block for a peer, and sends the block when it is full.
func (c *Chan[V]) record(to int, o *pending[V], index uint32, v V) {
	n := c.codec.size
	if n == 0 {
		n = 4 + c.codec.length(v)
	}
	if o.block == nil || len(o.block)+4+n > cap(o.block) {
		c.ship(to, o, formRecords)
		o.block = c.p.pool.get()
		if blockHead+4+n > cap(o.block) {
			o.block = make(block, blockHead, blockHead+4+n)
		}
	}
	at := len(o.block)
	o.block = o.block[:at+4+n]
	b := o.block[at:]
	binary.LittleEndian.PutUint32(b, index)
	if c.codec.size == 0 {
		binary.LittleEndian.PutUint32(b[4:], uint32(n-4))
		b = b[4:]
	}
	c.codec.put(b[4:], v)
	o.messages++
}

func (c *Chan[V]) ship(to int, o *pending[V], form byte) {
	if o.block == nil {
		return
	}
	c.p.routes[to].put(o.block, c.id, o.messages, form)
	o.block, o.messages = nil, 0
}

// flush sends what waits for a peer, combined values in the order of their indexes.
func (c *Chan[V]) flush(to int) {
	o := &c.out[to]
	if c.op != nil {
		c.flushSlots(to, o)
	}
	for _, index := range slices.Sorted(maps.Keys(o.far)) {
		c.record(to, o, index, o.far[index])
	}
	clear(o.far)
	c.ship(to, o, formRecords)
}

func (c *Chan[V]) flushSlots(to int, o *pending[V]) {
	size := c.codec.size
	for word, mask := range o.taken {
		if mask == 0 {
			continue
		}
		o.taken[word] = 0
		n := bits.OnesCount64(mask)
		if o.block == nil || len(o.block)+12+n*size > cap(o.block) {
			c.ship(to, o, formWords)
			o.block = c.p.pool.get()
		}
		at := len(o.block)
		o.block = o.block[:at+12+n*size]
		b := o.block[at:]
		binary.LittleEndian.PutUint32(b, uint32(word))
		binary.LittleEndian.PutUint64(b[4:], mask)
		b = b[12:]
		slots := o.slots[64*word:]
		for ; mask != 0; mask &= mask - 1 {
			c.codec.put(b, slots[bits.TrailingZeros64(mask)])
			b = b[size:]
		}
		o.messages += n
	}
	c.ship(to, o, formWords)
}

// Recv is what other peers, and this one, sent to it in the step before: by sender, and from one sender in the order
// in which it was sent or, when it was combined, by index. So a program that folds it in that order computes the same
// in every run. It may be read again until the next Sync.
func (c *Chan[V]) Recv() iter.Seq2[uint32, V] {
	return func(yield func(uint32, V) bool) {
		for _, r := range c.p.in.current {
			for _, b := range r.blocks {
				if b.channel() == c.id && !c.decode(b, yield) {
					return
				}
			}
		}
	}
}

// decode yields the values of one block. Blocks come from peers that proved to belong to the job, so a torn one is a
// broken program, and the panic says so.
func (c *Chan[V]) decode(b block, yield func(uint32, V) bool) bool {
	rest, size := b.payload(), c.codec.size
	if b.form() == formRecords {
		for len(rest) > 0 {
			index, n := binary.LittleEndian.Uint32(rest), size
			rest = rest[4:]
			if size == 0 {
				n = int(binary.LittleEndian.Uint32(rest))
				rest = rest[4:]
			}
			if !yield(index, c.codec.get(rest[:n:n])) {
				return false
			}
			rest = rest[n:]
		}
		return true
	}
	for len(rest) > 0 {
		base := 64 * binary.LittleEndian.Uint32(rest)
		mask := binary.LittleEndian.Uint64(rest[4:])
		rest = rest[12:]
		for ; mask != 0; mask &= mask - 1 {
			if !yield(base+uint32(bits.TrailingZeros64(mask)), c.codec.get(rest)) {
				return false
			}
			rest = rest[size:]
		}
	}
	return true
}

// Send sends a message to a peer, which reads it with Messages after the next Sync. The message is copied.
func (p *Peer) Send(to int, message []byte) { p.messages.Send(to, 0, message) }

// Messages is what was sent to this peer with Send in the step before, with the sender of each: by sender, and from
// one sender in the order in which it was sent. A message is valid until the next Sync.
func (p *Peer) Messages() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for from, r := range p.in.current {
			for _, b := range r.blocks {
				if b.channel() != p.messages.id {
					continue
				}
				if !p.messages.decode(b, func(_ uint32, m []byte) bool { return yield(from, m) }) {
					return
				}
			}
		}
	}
}
