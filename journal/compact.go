package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"groom/fault"
)

// A file that is at least compactAt bytes long and compactRatio times as long as what is in it is written anew at a
// start: bbolt gives free pages to later entries, but never back to the disk. Half-full pages alone make a file two to
// three times as long as its entries.
const (
	compactAt    = 128 << 20
	compactRatio = 5
	compactName  = "raft.db.compact"
)

// compact copies the log into a new file, where that pays. The copy is synced and its chain checked before it takes the
// old one's name, so that a kill leaves the old one or the new one, and a leftover that the next start removes. Where
// it fails, for want of space for instance, the old one is as good as before.
func compact(o Options, f *found) error {
	path, to := filepath.Join(o.Dir, dbName), filepath.Join(o.Dir, compactName)
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("compact journal: %w", err)
	}
	size := fileBytes(o.Dir)
	entries := int64(f.last - f.first + 1)
	if size < o.compactAt || size < o.compactRatio*(f.data+128*entries) {
		return nil
	}
	if err := readOnly(o.Dir, lockTimeout, func(db *bbolt.DB) error { return copyLog(db, to, f) }); err != nil {
		o.Log.Warn("the journal's file cannot be compacted, and stays as it is", "err", err)
		if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("compact journal: %w", err)
		}
		return nil
	}
	fault.Point("journal.before-compact")
	if err := os.Rename(to, path); err != nil {
		return fmt.Errorf("compact journal: %w", err)
	}
	fault.Point("journal.after-compact")
	if err := syncDir(o.Dir); err != nil {
		return fmt.Errorf("compact journal: %w", err)
	}
	o.Log.Info("the journal's file was compacted", "from", size, "to", fileBytes(o.Dir))
	return nil
}

// copyLog copies a log, and proves the copy.
func copyLog(db *bbolt.DB, to string, f *found) error {
	out, err := bbolt.Open(to, 0o600, boltOptions(lockTimeout))
	if err != nil {
		return err
	}
	err = bbolt.Compact(out, db, 1<<20)
	c := chain{last: f.first - 1}
	if err == nil {
		err = walk(out, 1, 0, func(l *raft.Log) error {
			if c.last == f.first-1 {
				c = resume(l)
				return nil
			}
			return c.next(l)
		})
	}
	if err == nil && (c.last != f.last || c.tip != f.tip) {
		err = fmt.Errorf("the copy ends at entry %d", c.last)
	}
	return errors.Join(err, out.Sync(), out.Close())
}
