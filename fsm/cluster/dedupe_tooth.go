//go:build tooth_dedupe

package cluster

// dedupes is false for `make teeth`: a request is taken each time it comes. The torture must notice.
const dedupes = false
