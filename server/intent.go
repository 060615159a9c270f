//go:build !tooth_intent

package server

import (
	"context"

	"groom/api"
	"groom/fsm"
)

// beforeRecord does nothing: nothing acts on what the journal does not hold yet.
func (g *Groom) beforeRecord(context.Context, fsm.Decision) {}

// launchedBefore says that the attempt's process was made before its intent was recorded, which never is so.
func launchedBefore(api.AttemptID) bool { return false }
