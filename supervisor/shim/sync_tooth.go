//go:build tooth_sync

package shim

// syncExit is false for `make teeth`: the record is left to the page cache. The torture must notice.
const syncExit = false
