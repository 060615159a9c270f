// Package disk checks the local directories of a groom: that they take, keep and give back what is written, and that
// there is room. It owns only the part below "groom-<id>" that this groom made and marked.
package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"groom/api"
	"groom/fault"
)

// Errors of a local directory.
var (
	// ErrForeign is returned when a directory with this groom's name was not made by it.
	ErrForeign = errors.New("not made by this groom")
	// ErrWatermark is returned when too little room is left for another task.
	ErrWatermark = errors.New("too little room")
	// ErrReadOnly is returned when the file system was mounted, or has turned, read-only.
	ErrReadOnly = errors.New("read-only file system")
)

// Watermarks, below which a directory takes no new task.
const (
	MinFreeBytes  = 64 << 20
	MinFreeInodes = 1000
)

// Low says that so little room is left that logs of ended attempts should go: a little more than what keeps new tasks
// away, twice as much on a large disk.
func Low(s api.DirStatus) bool {
	return s.TotalBytes > 0 && s.FreeBytes < MinFreeBytes+min(MinFreeBytes, s.TotalBytes/20) ||
		s.FreeInodes > 0 && s.FreeInodes < MinFreeInodes+MinFreeInodes/20
}

// ProbeAge is how old a write probe may be before a launch makes a new one.
const ProbeAge = 30 * time.Second

// Dir is one local directory.
type Dir struct {
	Path string // as configured
	Root string // Path/groom-<id>: all that this groom touches

	mu     sync.Mutex
	err    error // of the newest check
	probed time.Time
}

// New names a local directory; nothing is touched before Check.
func New(path, groomID string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find local directory: %w", err)
	}
	return &Dir{Path: path, Root: filepath.Join(path, "groom-"+groomID)}, nil
}

// Attempts is where attempt directories stand.
func (d *Dir) Attempts() string { return filepath.Join(d.Root, "attempts") }

// Check probes the directory when the newest probe failed or is older than age, and returns what keeps it from
// taking a task.
func (d *Dir) Check(age time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil || time.Since(d.probed) > age {
		d.err = d.probe()
		d.probed = time.Now()
	}
	if d.err == nil {
		d.err = d.room()
	}
	return d.err
}

// Glance looks at the file system without writing, unless the directory has failed: then it is probed.
func (d *Dir) Glance() error {
	d.mu.Lock()
	failed := d.err != nil
	d.mu.Unlock()
	if failed {
		return d.Check(0)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = d.room()
	return d.err
}

// probe makes and marks the root if need be, then creates, writes, syncs, reads and deletes a file below it.
func (d *Dir) probe() error {
	if err := d.mark(); err != nil {
		return err
	}
	path := filepath.Join(d.Root, "probe")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600) // one of an earlier kill is overwritten
	if err != nil {
		return fmt.Errorf("create probe: %w", err)
	}
	defer f.Close()
	want := []byte(time.Now().String())
	if _, err := f.Write(want); err != nil {
		return fmt.Errorf("write probe: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync probe: %w", err)
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil {
		return fmt.Errorf("read probe: %w", err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read probe: got %q, wrote %q", got, want)
	}
	fault.Point("disk.before-unprobe")
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove probe: %w", err)
	}
	return nil
}

const markName = ".groom"

// mark makes the root with its mark. A kill between the two leaves an empty directory, which is marked now; one that
// holds anything and no mark is not ours.
func (d *Dir) mark() error {
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		return fmt.Errorf("make local directory: %w", err)
	}
	if err := os.Mkdir(d.Root, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make local directory: %w", err)
	}
	mark := filepath.Join(d.Root, markName)
	if _, err := os.Lstat(mark); errors.Is(err, os.ErrNotExist) {
		entries, err := os.ReadDir(d.Root)
		if err != nil {
			return fmt.Errorf("read local directory: %w", err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s holds files and no mark: %w", d.Root, ErrForeign)
		}
		fault.Point("disk.before-mark")
		if err := os.WriteFile(mark, []byte("made by groom; everything here may be removed by it\n"), 0o600); err != nil {
			return fmt.Errorf("mark local directory: %w", err)
		}
	}
	if err := os.Mkdir(d.Attempts(), 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make local directory: %w", err)
	}
	return nil
}

// room asks the file system, which writes nothing.
func (d *Dir) room() error {
	var s unix.Statfs_t
	if err := unix.Statfs(d.Root, &s); err != nil {
		return fmt.Errorf("ask file system: %w", err)
	}
	if s.Flags&unix.ST_RDONLY != 0 {
		return ErrReadOnly
	}
	if free := s.Bavail * uint64(s.Bsize); free < MinFreeBytes {
		return fmt.Errorf("%d MiB free, a task needs %d: %w", free>>20, MinFreeBytes>>20, ErrWatermark)
	}
	if s.Files > 0 && s.Ffree < MinFreeInodes { // file systems without a table of inodes say 0
		return fmt.Errorf("%d inodes free, a task needs %d: %w", s.Ffree, MinFreeInodes, ErrWatermark)
	}
	return nil
}

// Status describes the directory as the newest check left it.
func (d *Dir) Status() api.DirStatus {
	d.mu.Lock()
	err := d.err
	d.mu.Unlock()
	status := api.DirStatus{Path: d.Path, OK: err == nil}
	if err != nil {
		status.Reason = err.Error()
	}
	var s unix.Statfs_t
	if unix.Statfs(d.Root, &s) == nil {
		status.FreeBytes, status.TotalBytes = s.Bavail*uint64(s.Bsize), s.Blocks*uint64(s.Bsize)
		status.FreeInodes = s.Ffree
	}
	return status
}
