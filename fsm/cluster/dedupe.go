//go:build !tooth_dedupe

package cluster

// dedupes says that a request which was taken before has no second effect.
const dedupes = true
