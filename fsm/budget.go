package fsm

import (
	"math/rand/v2"
	"time"

	"groom/api"
)

// backoff is the pause before the restart that follows end number n of a budget period. The first restart is
// immediate, the second waits r.Backoff, and each later one twice as long up to r.MaxBackoff. Up to a quarter is added
// so that tasks that died together do not return together; the draw is the seed's, so a replay draws the same.
func backoff(r api.Restart, n int, seed uint64) time.Duration {
	if n <= 1 {
		return 0
	}
	wait := time.Duration(r.Backoff)
	for range n - 2 {
		wait = min(2*wait, time.Duration(r.MaxBackoff))
	}
	if wait <= 0 {
		return 0
	}
	jitter := rand.New(rand.NewPCG(seed, uint64(n))).Int64N(int64(wait)/4 + 1)
	return wait + time.Duration(jitter)
}

func (d *decider) backoff(t Task, j Job) time.Duration {
	return backoff(j.Restart, max(t.Failures, t.Uncounted), d.seed)
}
