package server

import (
	"context"
	"io/fs"
	"os"
	"strings"

	"groom/api"
	"groom/fault"
)

// killOrphans ends what lives in attempt directories that the tables do not know: left by a journal that was removed,
// or by a start with fresh tables.
func (g *Groom) killOrphans(ctx context.Context, known map[api.AttemptID]bool) ([]api.RecoveryRow, error) {
	var rows []api.RecoveryRow
	for _, d := range g.dirs {
		if !d.Status().OK {
			continue
		}
		found, err := g.super.Orphans(ctx, d.Attempts(), func(id api.AttemptID) bool { return known[id] })
		if err != nil {
			return rows, err
		}
		for _, o := range found {
			row := api.RecoveryRow{Attempt: o.ID, Finding: api.FoundOrphan, Pid: o.ShimPid, Words: o.Words}
			if !o.Killed {
				row.Finding = api.FoundLeft
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// sweep removes what no row owns: attempt directories whose lock is free, and the specs, secrets and supersteps of
// jobs that were forgotten. It runs when no directive is being taken, so that a spec which is written before its row
// is not mistaken for one without. A kill at any moment leaves the rest to the next start.
func (g *Groom) sweep() {
	g.instructing.Lock()
	defer g.instructing.Unlock()
	// The directories are listed before the rows are looked at. A row always comes before its directory, so one that is
	// intended meanwhile is either not listed or has its row.
	listed := make([][]fs.DirEntry, len(g.dirs))
	for i, d := range g.dirs {
		listed[i], _ = os.ReadDir(d.Attempts()) // a failed directory is swept when it is back, at the next start
	}
	attempts := map[api.AttemptID]bool{}
	jobs := map[string]bool{}
	g.machine.View(func() {
		for _, a := range g.state.Attempts.All() {
			attempts[a.ID] = true
		}
		for id, j := range g.state.Jobs.All() {
			jobs[id], jobs[j.Spec] = true, true
		}
	})
	for i, d := range g.dirs {
		g.sweepDir(d.Attempts(), listed[i], attempts)
	}
	for _, sub := range []string{"specs", "secrets", "steps"} {
		entries, err := os.ReadDir(g.o.Home.Path(sub))
		if err != nil {
			g.log.Warn("clean up", "dir", sub, "err", err)
			continue
		}
		for _, e := range entries {
			// specs/<hash>, secrets/<job>-<epoch>, steps/<job>.jsonl, and each with .tmp
			name, _, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".tmp"), "-")
			if jobs[strings.TrimSuffix(name, ".jsonl")] {
				continue
			}
			fault.Point("server.before-drop")
			if err := g.o.Home.Drop(sub, e.Name()); err != nil {
				g.log.Warn("clean up", "file", e.Name(), "err", err)
			}
		}
	}
}

func (g *Groom) sweepDir(dir string, entries []fs.DirEntry, owned map[api.AttemptID]bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return // as above
	}
	defer root.Close()
	for _, e := range entries {
		id, err := api.ParseAttemptID(e.Name())
		if err != nil || owned[id] {
			continue // a stranger's file, or one that a row owns
		}
		g.remove(root, id, "no row owns it: its job was forgotten, or newer attempts took its place")
	}
}
