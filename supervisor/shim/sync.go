//go:build !tooth_sync

package shim

// syncExit says that the exit record is synced before the shim ends.
const syncExit = true
