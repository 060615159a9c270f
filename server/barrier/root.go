package barrier

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"groom/api"
)

// ErrDisagree is returned when the peers of a job do not speak of the same thing: they run different programs.
var ErrDisagree = errors.New("peers disagree")

// root is where the barriers of one epoch meet. It is soft: what it knows comes from hellos and arrivals, and a root
// that begins with nothing is told by the peers' next hellos all that matters, which are their last two arrivals.
// For let k be the newest step from which any peer was released. All arrived at k for that, so each peer's newest
// arrival is k or k+1 (k+2 would need a release from k+1), and k is among its last two. So either k completes again,
// with the same result, since the result depends on the arrivals alone; or, when all have k+1, the next one does.
//
// A peer may leave only when nobody needs its arrivals any more. That is why the step in which all halt is followed by
// one more barrier: a peer is released from that when every peer was released from the halting one.
type root struct {
	n        int
	epoch    int
	hellos   map[int]api.Hello
	grooms   map[int]string
	arrivals map[int]map[int]api.Arrive // by step and index, of steps not released yet
	released int                        // newest step that was, -1 before the first
	halted   int                        // step in which all voted to halt, -1 before it
	last     []api.Release              // from step released, by index
	since    time.Time                  // when the previous release went out; zero when this root did not see it
}

func newRoot(n, epoch int) *root {
	return &root{
		n: n, epoch: epoch, hellos: map[int]api.Hello{}, grooms: map[int]string{},
		arrivals: map[int]map[int]api.Arrive{}, released: -1, halted: -1,
	}
}

// told is what a root has to say: frames for peers, and the supersteps that ended.
type told struct {
	parcels []parcel
	steps   []api.Superstep
}

// hello takes a peer's hello with the arrivals it repeats. Who says hello again is told again what it may have missed.
func (r *root) hello(groom string, h api.Hello, now time.Time) (told, error) {
	var out told
	first := len(r.hellos) < r.n
	arrivals := h.Arrivals
	h.Arrivals = nil
	r.hellos[h.Index], r.grooms[h.Index] = h, groom
	if len(r.hellos) == r.n {
		to := []int{h.Index}
		if first {
			to = slices.Sorted(maps.Keys(r.hellos))
			r.since = now
		}
		out.parcels = append(out.parcels, parcel{To: to, Type: api.FrameWelcome, Body: encode(r.welcome())})
	}
	more, err := r.arrive(arrivals, now)
	out.parcels = append(out.parcels, more.parcels...)
	out.steps = more.steps
	return out, err
}

// welcome is the table of peers.
func (r *root) welcome() api.Welcome {
	w := api.Welcome{Version: api.Version, Epoch: r.epoch}
	for i := range r.n {
		h := r.hellos[i]
		w.Peers = append(w.Peers, api.PeerAddr{Index: i, Groom: r.grooms[i], Unix: h.Unix, TCP: h.TCP})
	}
	return w
}

// arrive takes arrivals and says which releases they lead to. An arrival that was counted before changes nothing; at
// the newest step released it means that the peer missed its release.
func (r *root) arrive(arrivals []api.Arrive, now time.Time) (told, error) {
	var out told
	for _, a := range arrivals {
		if err := r.check(a); err != nil {
			return out, err
		}
		switch {
		case a.Step > r.released:
			if r.arrivals[a.Step] == nil {
				r.arrivals[a.Step] = map[int]api.Arrive{}
			}
			r.arrivals[a.Step][a.Index] = a
		case a.Step == r.released:
			out.parcels = append(out.parcels, r.release(a.Index))
		}
	}
	// Oldest first, so that a root that starts in the middle of the last two barriers sees the halting one.
	for _, step := range slices.Sorted(maps.Keys(r.arrivals)) {
		if len(r.arrivals[step]) < r.n {
			continue
		}
		if err := r.complete(step, now, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// check keeps out what no peer of this job can have sent.
func (r *root) check(a api.Arrive) error {
	if a.Epoch != r.epoch || a.Index < 0 || a.Index >= r.n || a.Step < 0 {
		return fmt.Errorf("arrival of peer %d at step %d of epoch %d: %w", a.Index, a.Step, a.Epoch, ErrDisagree)
	}
	for to := range a.Sent {
		if to < 0 || to >= r.n {
			return fmt.Errorf("peer %d sent to peer %d of %d: %w", a.Index, to, r.n, ErrDisagree)
		}
	}
	return nil
}

// complete releases every peer from a step.
func (r *root) complete(step int, now time.Time, out *told) error {
	at := r.arrivals[step]
	aggs, err := r.reduce(step, at)
	if err != nil {
		return err
	}
	halt := true
	r.last = make([]api.Release, r.n)
	done := api.Superstep{Epoch: r.epoch, Step: step, At: now.UTC().Format(time.RFC3339Nano)}
	for i := range r.n {
		a := at[i]
		halt = halt && a.Halt
		done.ComputeNS = append(done.ComputeNS, a.Stats.ComputeNS)
		r.last[i] = api.Release{Epoch: r.epoch, Index: i, Step: step, Aggs: aggs, Expect: map[int]api.Count{}}
	}
	for from, a := range at {
		for to, c := range a.Sent {
			r.last[to].Expect[from] = c
			done.Messages += c.Messages
			done.Bytes += c.Bytes
		}
	}
	if !r.since.IsZero() {
		done.TookNS = now.Sub(r.since).Nanoseconds()
	}
	r.since = now
	// A peer that arrived at a later step was released from this one: another root recorded it. The barrier after the
	// halting one is no superstep.
	final := r.halted >= 0
	if !final && len(r.arrivals[step+1]) == 0 {
		out.steps = append(out.steps, done)
	}
	if halt && !final {
		r.halted = step
	}
	r.released = step
	maps.DeleteFunc(r.arrivals, func(s int, _ map[int]api.Arrive) bool { return s <= step })
	for i := range r.n {
		r.last[i].Halt = halt
		out.parcels = append(out.parcels, r.release(i))
	}
	return nil
}

func (r *root) release(index int) parcel {
	return parcel{To: []int{index}, Type: api.FrameRelease, Body: encode(r.last[index])}
}

// reduce computes each aggregator in the order of the peers' indexes, so that a sum of floats is the same wherever the
// peers run, and after every recovery.
func (r *root) reduce(step int, at map[int]api.Arrive) (map[string]api.Agg, error) {
	whole := map[string]api.Agg{}
	for i := range r.n {
		for name, part := range at[i].Aggs {
			sum, known := whole[name]
			if !known {
				sum = part
			} else if sum.Op != part.Op {
				return nil, fmt.Errorf("aggregator %q in step %d is %q and %q: %w", name, step, sum.Op, part.Op, ErrDisagree)
			} else {
				switch part.Op {
				case "sum":
					sum.Value += part.Value
				case "min":
					sum.Value = min(sum.Value, part.Value)
				case "max":
					sum.Value = max(sum.Value, part.Value)
				default:
					return nil, fmt.Errorf("aggregator %q has operation %q: %w", name, part.Op, ErrDisagree)
				}
			}
			if math.IsInf(sum.Value, 0) {
				return nil, fmt.Errorf("aggregator %q in step %d is out of range: %w", name, step, ErrDisagree)
			}
			whole[name] = sum
		}
	}
	return whole, nil
}
