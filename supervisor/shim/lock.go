//go:build !tooth_lock

package shim

// LockFirst says that the groom locks an attempt before it forks.
const LockFirst = true
