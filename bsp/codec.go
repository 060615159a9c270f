package bsp

import (
	"cmp"
	"encoding/binary"
	"math"
)

// Codec writes the values of a channel. The ones below are all there are.
type Codec[V any] struct {
	size    int         // bytes of each value; 0 when they differ, and
	length  func(V) int // says how many it is
	put     func([]byte, V)
	get     func([]byte) V
	combine func(Op) func(a, b V) V
}

// The codecs.
var (
	F64 = Codec[float64]{
		size:    8,
		put:     func(b []byte, v float64) { binary.LittleEndian.PutUint64(b, math.Float64bits(v)) },
		get:     func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) },
		combine: combine[float64],
	}
	I64 = Codec[int64]{
		size:    8,
		put:     func(b []byte, v int64) { binary.LittleEndian.PutUint64(b, uint64(v)) },
		get:     func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) },
		combine: combine[int64],
	}
	U64 = Codec[uint64]{
		size:    8,
		put:     func(b []byte, v uint64) { binary.LittleEndian.PutUint64(b, v) },
		get:     func(b []byte) uint64 { return binary.LittleEndian.Uint64(b) },
		combine: combine[uint64],
	}
	// Bytes cannot be combined. What a receiver gets is valid until its next Sync.
	Bytes = Codec[[]byte]{
		length:  func(v []byte) int { return len(v) },
		put:     func(b, v []byte) { copy(b, v) },
		get:     func(b []byte) []byte { return b },
		combine: func(Op) func(a, b []byte) []byte { return nil },
	}
)

func combine[V cmp.Ordered](op Op) func(a, b V) V {
	switch op {
	case Sum:
		return func(a, b V) V { return a + b }
	case Min:
		return func(a, b V) V { return min(a, b) }
	case Max:
		return func(a, b V) V { return max(a, b) }
	}
	return nil
}
