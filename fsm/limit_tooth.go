//go:build tooth_limit

package fsm

import "groom/api"

// limit is what a build decides that gives no task more than two attempts. Redecide has to tell it from the others.
func limit(r api.Restart) int { return min(r.Limit, 2) }
