package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"groom/api"
)

// claims is the outputs that jobs of this groom hold. A job holds its output by a shared lock on the mark, for as long
// as one of its tasks may still write here; whoever wants the directory for another job must get the lock alone. The
// kernel drops the lock with this process, so in the moments until the next start has taken it again, a job of another
// groom could take the output over. What the tasks of the first one wrote is then lost with their staging, and their
// job fails; no result is mixed or replaced.
type claims struct {
	mu sync.Mutex
	by map[api.JobID]*os.File
}

func newClaims() *claims { return &claims{by: map[api.JobID]*os.File{}} }

// claim makes the output the job's, or says why it cannot be. It is called again for every task, and after each start.
func (g *Groom) claim(dir string, job api.JobID) error {
	g.claims.mu.Lock()
	defer g.claims.mu.Unlock()
	if g.claims.by[job] != nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	// Only one process at a time looks and marks: the lock of the directory itself.
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open output directory: %w", err)
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock output directory: %w", err)
	}
	if err := g.checkOutput(dir, job); err != nil {
		return err
	}
	mark, err := g.mark(dir, job)
	if err != nil {
		return fmt.Errorf("mark output: %w", err)
	}
	g.claims.by[job] = mark
	return nil
}

// mark opens the job's mark with a shared lock on it, and makes it first when it is not there. The name appears with
// its whole text and its lock, or not at all.
func (g *Groom) mark(dir string, job api.JobID) (*os.File, error) {
	path := filepath.Join(dir, ownerName)
	if text, err := os.ReadFile(path); err == nil && string(text) == g.ownerOf(job) {
		return lockShared(os.Open(path))
	}
	// What an ended job staged and never got into place is nobody's now, and so is a mark that a kill kept from its name.
	// A kill halfway leaves the rest to the next claim; up to the rename below the directory is the old owner's.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() != partsName && !strings.HasPrefix(e.Name(), ownerName+".") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	f, err := lockShared(os.CreateTemp(dir, ownerName+".*"))
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(g.ownerOf(job))
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		f.Close()
		return nil, err
	}
	return f, nil
}

func lockShared(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// claimed says whether a living job holds the output.
func claimed(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, ownerName))
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// keepClaims takes what open jobs hold, which after a start is nothing yet, and lets go of what ended ones held.
func (g *Groom) keepClaims(open map[api.JobID]bool) {
	for id := range open {
		if g.hands.claimed[id] {
			continue
		}
		_, spec, err := g.specOf(id)
		if err == nil && spec.Type == api.BSP && spec.Output != "" {
			err = g.claim(spec.Output, id)
		}
		if err != nil {
			g.log.Warn("claim output", "job", id, "err", err) // its next launch tries again, and tells its master
		}
		g.hands.claimed[id] = true
	}
	for id := range g.hands.claimed {
		if !open[id] {
			delete(g.hands.claimed, id)
		}
	}
	g.claims.mu.Lock()
	defer g.claims.mu.Unlock()
	for id, f := range g.claims.by {
		if !open[id] {
			f.Close()
			delete(g.claims.by, id)
		}
	}
}

func (c *claims) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, f := range c.by {
		f.Close()
		delete(c.by, id)
	}
	return nil
}
