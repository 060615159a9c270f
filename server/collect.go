package server

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fsm"
	"groom/server/disk"
	"groom/supervisor"
)

// collectEvery is how often the disks are looked at for room. Looking writes nothing.
const collectEvery = 30 * time.Second

// collect removes the directories of ended attempts, with their logs: each when its retention is over, and the oldest
// ones earlier when a disk is nearly full, those of failures last. Rows stay until the master has the job forgotten,
// and history stays in the journal. What is removed is derived from the tables and the disk alone, so a kill in the
// middle of it is followed by another try.
func (g *Groom) collect(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	gone := map[api.AttemptID]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.endings:
		case <-timer.C:
		}
		next, ended := collectEvery, g.ended(gone)
		for _, e := range ended {
			if e.left > 0 {
				next = min(next, e.left)
				continue
			}
			gone[e.ID] = g.removeEnded(e, fmt.Sprintf("its retention of %s is over", e.keep))
		}
		g.makeRoom(ended, gone)
		timer.Reset(next)
	}
}

// endedAttempt is an attempt whose directory may go.
type endedAttempt struct {
	fsm.Attempt
	failed bool
	keep   time.Duration
	left   time.Duration // of keep
}

// ended lists the attempts that may have a directory which nothing needs any more, those first that go first. What is
// gone is forgotten with its row.
func (g *Groom) ended(gone map[api.AttemptID]bool) []endedAttempt {
	now := clock.Now()
	var all []endedAttempt
	known := map[api.AttemptID]bool{}
	g.machine.View(func() {
		for _, a := range g.state.Attempts.All() {
			known[a.ID] = true
			t, ok := g.state.Tasks.Get(string(a.ID.Task()))
			if !ok || a.State != fsm.AttemptEnded || gone[a.ID] || t.State == api.TaskCommitting {
				continue
			}
			j, _ := g.state.Jobs.Get(string(a.ID.Task().Job()))
			e := endedAttempt{Attempt: a, failed: a.Counted || a.End.Outcome.Kind == api.NotStarted}
			if e.keep = time.Duration(j.Retention.Keep); e.failed {
				e.keep = time.Duration(j.Retention.KeepFailed)
			}
			e.left = a.End.At.Add(e.keep).Until(now)
			all = append(all, e)
		}
	})
	for id := range gone {
		if !known[id] {
			delete(gone, id)
		}
	}
	slices.SortStableFunc(all, func(a, b endedAttempt) int {
		return cmp.Or(cmp.Compare(truth(a.failed), truth(b.failed)), a.End.At.Wall.Compare(b.End.At.Wall))
	})
	return all
}

// makeRoom removes directories on a disk that is nearly full until it no longer is.
func (g *Groom) makeRoom(ended []endedAttempt, gone map[api.AttemptID]bool) {
	for _, d := range g.dirs {
		for _, e := range ended {
			status := d.Status()
			if !disk.Low(status) {
				break
			}
			if gone[e.ID] || e.Place.Dir != d.Attempts() {
				continue
			}
			gone[e.ID] = g.removeEnded(e, fmt.Sprintf("room was needed before its retention was over: %d MiB and %d inodes were free",
				status.FreeBytes>>20, status.FreeInodes))
			_ = d.Glance() // Status tells
			g.kick()       // what waits for room may have it
		}
	}
}

func (g *Groom) removeEnded(e endedAttempt, why string) (gone bool) {
	root, err := os.OpenRoot(e.Place.Dir)
	if err != nil {
		return false // a disk that failed may come back
	}
	defer root.Close()
	return g.remove(root, e.ID, why)
}

// remove removes an attempt's directory, and says so where people look.
func (g *Groom) remove(root *os.Root, id api.AttemptID, why string) (gone bool) {
	size, ok := sizeOf(root, string(id))
	if !ok {
		return true // it is not there, or not any more
	}
	if err := supervisor.CleanUp(root, string(id)); err != nil {
		g.log.Warn("clean up", "attempt", id, "err", err)
		return false
	}
	g.log.Info("removed", "attempt", id, "dir", root.Name(), "bytes", size, "why", why)
	one := api.Removal{At: time.Now().UTC(), Attempt: id, Dir: root.Name(), Bytes: size, Why: why}
	if err := g.removed.add(one); err != nil {
		g.log.Warn("keep removal", "attempt", id, "err", err)
	}
	return true
}

// sizeOf is the size of the files below a directory, as far as they can be seen; ok says that it is there.
func sizeOf(root *os.Root, name string) (size int64, ok bool) {
	if info, err := root.Lstat(name); err != nil || !info.IsDir() {
		return 0, false
	}
	// What cannot be read is not counted, and hinders nothing.
	_ = fs.WalkDir(root.FS(), name, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size, true
}
