//go:build !tooth_limit

package fsm

import "groom/api"

// limit is how many ends of a task may be counted in a budget period.
func limit(r api.Restart) int { return r.Limit }
