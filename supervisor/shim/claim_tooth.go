//go:build tooth_claim

package shim

// claim is left out, for `make teeth`: the torture must notice.
func claim() bool { return true }
