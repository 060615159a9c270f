package home

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"groom/fault"
)

// WriteFile writes a file that only its owner reads, whole or not at all: a kill before the rename leaves the old
// content and a temporary file that the next write replaces, one after it the new content.
func WriteFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	fault.Point("home.before-rename")
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("rename file: %w", err)
	}
	fault.Point("home.after-rename")
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// PutSpec keeps a job's spec under the hash of its bytes. It is durable when PutSpec returns, so that an entry may
// name it.
func (h *Home) PutSpec(canonical []byte) (string, error) {
	sum := sha256.Sum256(canonical)
	hash := hex.EncodeToString(sum[:])
	path := h.Path("specs", hash)
	if _, err := os.Stat(path); err == nil {
		return hash, nil // renamed into place whole, by an earlier PutSpec
	}
	return hash, WriteFile(path, canonical)
}

// Spec reads a spec back, and proves that it is the one asked for.
func (h *Home) Spec(hash string) ([]byte, error) {
	b, err := os.ReadFile(h.Path("specs", hash))
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != hash {
		return nil, fmt.Errorf("spec %s: %w", hash, ErrBadFile)
	}
	return b, nil
}

// PutSecret keeps a secret under a name.
func (h *Home) PutSecret(name, secret string) error {
	return WriteFile(h.Path("secrets", name), []byte(secret))
}

// Secret reads a secret back; there is none under an unknown name.
func (h *Home) Secret(name string) string {
	b, err := os.ReadFile(h.Path("secrets", name))
	if err != nil {
		return ""
	}
	return string(b)
}

// Drop removes a file of the data directory that may be gone already.
func (h *Home) Drop(parts ...string) error {
	if err := os.Remove(h.Path(parts...)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove file: %w", err)
	}
	return nil
}
