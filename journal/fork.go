package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// Fork makes a journal in dir that ends with entry at, and holds the same history up to there: segments and anchors of
// the archive that lie before it, and a log with what follows. dir appears by a rename, whole and synced, or not at
// all; a leftover of a kill is dir.new, which the next Fork replaces. Nothing is taken from a journal that is damaged
// before that entry.
func (h *History) Fork(at uint64, dir string) error {
	if at == 0 || at > h.stats.Last || at < h.stats.First {
		return fmt.Errorf("fork: %w: history is kept from entry %d to entry %d", ErrMissing, h.stats.First, h.stats.Last)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("fork to %s: %w", dir, fs.ErrExist)
	}
	made := dir + newSuffix
	if err := os.RemoveAll(made); err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(made, archiveName), 0o700); err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	err := h.forkTo(at, made)
	if err == nil {
		err = os.Rename(made, dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fork: %w", err), os.RemoveAll(made))
	}
	return syncDir(filepath.Dir(dir))
}

const newSuffix = ".new"

func (h *History) forkTo(at uint64, dir string) error {
	m := &manifest{}
	for _, s := range h.m.segments {
		if s.last >= at {
			break // a log is never empty, so the newest entry is there
		}
		if !s.lost {
			if err := copyWhole(h.dir, dir, filepath.Join(archiveName, s.name()), s.sum); err != nil {
				return err
			}
		}
		m.segments = append(m.segments, s)
	}
	sealed, tip := m.sealed()
	if len(m.segments) == 0 {
		sealed, tip = h.stats.First-1, [32]byte{}
		if sealed > 0 {
			var err error
			if tip, err = h.hashAt(sealed); err != nil {
				return err
			}
		}
	}
	for _, a := range h.m.anchors {
		if a.index > at {
			break
		}
		if err := copyWhole(h.dir, dir, filepath.Join(archiveName, a.name()), a.sum); err != nil {
			return err
		}
		m.anchors = append(m.anchors, a)
	}
	for _, s := range h.m.skips {
		if s.index <= sealed && s.by <= at {
			m.skips = append(m.skips, s)
		}
	}
	r := &rebuilder{}
	c := chain{last: sealed, tip: tip}
	err := h.checked(sealed+1, at, &c, func(l *raft.Log) error {
		r.entries = append(r.entries, l)
		r.term, r.hash = l.Term, [32]byte(l.Extensions)
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.fill(filepath.Join(dir, dbName), r.entries); err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(dir, archiveName), manifestName, m.encode()); err != nil {
		return err
	}
	return writeWhole(dir, tailName, tailText(at, r.hash))
}

// copyWhole copies a file of the archive, which never changes, checks that it is what the manifest says, and syncs it.
func copyWhole(from, to, name string, want [32]byte) error {
	in, err := os.Open(filepath.Join(from, name))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(to, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if [32]byte(sum.Sum(nil)) != want {
		return corrupt(in.Name(), "it does not hash to what the manifest says")
	}
	return nil
}
