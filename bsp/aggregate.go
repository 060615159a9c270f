package bsp

import (
	"fmt"
	"math"

	"groom/api"
)

// Op combines values: those of an aggregator, and those that a channel sends to one index.
type Op string

// The operations.
const (
	None Op = "" // of channels alone: every value is sent
	Sum  Op = "sum"
	Min  Op = "min"
	Max  Op = "max"
)

// Agg is a number to which all peers add in a step, and which all see in the next one.
type Agg struct {
	name  string
	op    Op
	f     func(a, b float64) float64
	added bool
	part  float64 // this peer's, of this step
	whole float64 // all peers', of the step before
}

// NewAgg makes an aggregator. Every peer makes the same ones.
func NewAgg(p *Peer, name string, op Op) *Agg {
	a := &Agg{name: name, op: op, f: F64.combine(op)}
	if a.f == nil {
		panic(fmt.Sprintf("bsp: aggregator %q cannot have operation %q", name, op))
	}
	for _, b := range p.aggs {
		if b.name == name {
			panic(fmt.Sprintf("bsp: two aggregators %q", name))
		}
	}
	a.turn(nil)
	p.aggs = append(p.aggs, a)
	return a
}

// Add adds a value in this step.
func (a *Agg) Add(v float64) {
	if !a.added {
		a.added, a.part = true, v
		return
	}
	a.part = a.f(a.part, v)
}

// Value is the whole of the step before: values are reduced in the order of the peers, so that it is the same number
// to the last bit on every peer and after every recovery. When nobody added it is 0 for Sum, and an infinity for Min
// (+) and Max (−).
func (a *Agg) Value() float64 { return a.whole }

func (a *Agg) turn(whole map[string]api.Agg) {
	a.added, a.part = false, 0
	if w, ok := whole[a.name]; ok {
		a.whole = w.Value
		return
	}
	switch a.op {
	case Min:
		a.whole = math.Inf(1)
	case Max:
		a.whole = math.Inf(-1)
	default:
		a.whole = 0
	}
}
