package master

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"

	"groom/api"
	"groom/clock"
	"groom/fsm/cluster"
	"groom/fsm/table"
	"groom/journal"
)

// observe is the one way by which the tables change: decide on the tables as they are, record the decision, and decide
// again when another entry was faster. It returns the index of the entry, 0 when there was nothing to record.
func (m *Master) observe(ctx context.Context, o cluster.Observation) (uint64, error) {
	for {
		now, seed := clock.Now(), rand.Uint64()
		var dec cluster.Decision
		var err error
		m.machine.View(func() { dec, err = cluster.Decide(m.state, o, now, seed) })
		if err != nil || len(dec.Changes) == 0 {
			return 0, err
		}
		body, err := cluster.Record(o, dec, now, seed)
		if err != nil {
			return 0, err
		}
		receipt, err := m.journal.Propose(ctx, journal.Record{Kind: o.Kind(), Version: 1, Body: body})
		if err != nil {
			return 0, err
		}
		if _, stale := receipt.Result.(*table.Stale); !stale {
			m.log.Debug("decided", "index", receipt.Index, "kind", cluster.Kinds()[o.Kind()], "because", dec.Because)
			return receipt.Index, nil
		}
	}
}

// problem is an error of a decision, or of the journal, as a client sees it.
func problem(err error) error {
	text := func(sentinel error) string { return strings.TrimSuffix(err.Error(), ": "+sentinel.Error()) }
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrUnknown):
		return api.Problemf(api.CodeNotFound, "%v", err)
	case errors.Is(err, cluster.ErrRefused):
		return api.Problemf(api.CodeConflict, "%s", text(cluster.ErrRefused))
	case errors.Is(err, cluster.ErrTooLarge):
		return api.Problemf(api.CodeTooLarge, "%v", err)
	case errors.Is(err, journal.ErrSafeMode), errors.Is(err, journal.ErrNoSpace), errors.Is(err, journal.ErrClosed),
		errors.Is(err, journal.ErrUnknownOutcome):
		return api.Problemf(api.CodeUnavailable, "the master cannot record it: %v", err).
			WithHint("groom journal info tells the state of its journal")
	}
	return err
}
