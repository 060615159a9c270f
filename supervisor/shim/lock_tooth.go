//go:build tooth_lock

package shim

// LockFirst is false for `make teeth`: the shim locks its attempt itself, once it runs. The torture must notice.
const LockFirst = false
