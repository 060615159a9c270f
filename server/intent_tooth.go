//go:build tooth_intent

package server

import (
	"context"
	"encoding/json"
	"sync"

	"groom/api"
	"groom/fsm"
)

// before holds what was launched ahead of its intent.
var before sync.Map

// beforeRecord makes the process of each attempt that is intended, and only then is the intent recorded: for `make
// teeth`. The torture must notice.
func (g *Groom) beforeRecord(ctx context.Context, dec fsm.Decision) {
	for _, c := range dec.Changes {
		var a fsm.Attempt
		if c.Table != "attempts" || c.Rev != 0 || json.Unmarshal(c.Row, &a) != nil || a.State != fsm.AttemptIntended {
			continue
		}
		if g.launch(ctx, a) == nil {
			before.Store(a.ID, true)
		}
	}
}

func launchedBefore(id api.AttemptID) bool {
	_, ok := before.Load(id)
	return ok
}
