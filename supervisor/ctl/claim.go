package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The claim is made once, by whoever comes first: by the shim, right before it makes the task, or by a groom that has
// waited for that long enough. A shim that comes second ends without having run anything.

// Claimed says whether a shim made the claim. A claim without its text is a shim's that was killed in between.
func Claimed(dir string) (bool, error) {
	r, err := Read(dir, Claim)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, ErrNotRecord):
		return true, nil
	case err != nil:
		return false, err
	}
	return r.Get("by") != "groom", nil
}

// Forbid claims the attempt so that no shim ever can, and says whether that holds: false when a shim was faster. The
// claim appears whole or not at all. Killed before the link, it leaves a .tmp that nobody reads.
func Forbid(dir string) (bool, error) {
	name := filepath.Join(dir, Claim)
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, Record{}.Add("by", "groom").Bytes(), 0o600); err != nil {
		return false, fmt.Errorf("forbid attempt: %w", err)
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, fmt.Errorf("forbid attempt: %w", err)
	}
	claimed, err := Claimed(dir)
	return !claimed, err
}
