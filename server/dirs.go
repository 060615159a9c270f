package server

import (
	"context"
	"fmt"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/server/disk"
)

// glanceEvery is how often the file systems of the local directories are looked at. Looking writes nothing.
const glanceEvery = 30 * time.Second

// checkDirs probes every local directory. One that fails drops out; without any there is no groom.
func (g *Groom) checkDirs() error {
	paths := g.o.LocalDirs
	if len(paths) == 0 {
		paths = []string{g.o.Home.Path("local")}
	}
	var why error
	usable := 0
	for _, path := range paths {
		d, err := disk.New(path, g.o.Home.ID)
		if err != nil {
			return err
		}
		g.dirs = append(g.dirs, d)
		if err := d.Check(0); err != nil {
			why = fmt.Errorf("%s: %w", path, err)
			g.log.Warn("local directory fails", "path", path, "err", err)
			continue
		}
		usable++
	}
	if usable == 0 {
		return fmt.Errorf("%w: %w", ErrNoDirectory, why)
	}
	return nil
}

// recordDirs journals the health of directories where it changed.
func (g *Groom) recordDirs(ctx context.Context) error {
	for _, d := range g.dirs {
		s := d.Status()
		if err := g.observe(ctx, fsm.DirChanged{Path: s.Path, OK: s.OK, Reason: s.Reason}); err != nil {
			return fmt.Errorf("record local directory: %w", err)
		}
	}
	return nil
}

func (g *Groom) watchDirs(ctx context.Context) {
	tick := time.NewTicker(glanceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, d := range g.dirs {
			_ = d.Glance() // Status tells
		}
		if err := g.recordDirs(ctx); err != nil {
			g.log.Warn("watch local directories", "err", err)
		}
		g.kick() // a directory that came back may take tasks that wait
	}
}

// place is where the next attempt goes: the usable directory with most room, or nil.
func (g *Groom) place() *fsm.Place {
	var best *disk.Dir
	var room uint64
	for _, d := range g.dirs {
		if d.Check(disk.ProbeAge) != nil {
			continue
		}
		if free := d.Status().FreeBytes; best == nil || free > room {
			best, room = d, free
		}
	}
	if best == nil {
		return nil
	}
	return &fsm.Place{Dir: best.Attempts(), BootID: g.host.BootID, PIDNS: g.host.PIDNS}
}

func (g *Groom) dirStatus() []api.DirStatus {
	var all []api.DirStatus
	for _, d := range g.dirs {
		all = append(all, d.Status())
	}
	return all
}
