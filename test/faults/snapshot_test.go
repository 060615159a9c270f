package faults

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"groom/clock"
	"groom/fault"
	"groom/fsm"
	"groom/journal"
)

// snapshotAfter is how many entries the journal has to have before it takes a snapshot. The groom's start adds some.
const snapshotAfter = 8192

// lengthen writes so many entries that change nothing into the groom's journal: decisions for rows that have moved on.
func lengthen(w *world) error {
	state := fsm.NewState()
	j, err := journal.Open(context.Background(), journal.Options{
		Dir: filepath.Join(w.data, "groom"), Machine: fsm.NewMachine(state, nil), Build: "first",
	})
	if err != nil {
		return err
	}
	self := state.Me()
	o := fsm.Booted{ID: self.ID, Name: self.Name + "!", BootID: self.BootID, PIDNS: self.PIDNS, Build: self.Build, MaxTasks: self.MaxTasks}
	dec, err := fsm.Decide(state, o, clock.Now(), 1)
	if err != nil {
		return err
	}
	body, err := fsm.Record(o, dec, clock.Now(), 1)
	if err != nil {
		return err
	}
	missing := snapshotAfter - 5 - int(j.Stats().Applied) // and a checkpoint; the start adds five
	var all sync.WaitGroup
	errs := make(chan error, 64)
	for i := range cap(errs) {
		all.Go(func() {
			for n := i; n < missing; n += cap(errs) {
				if _, err := j.Propose(context.Background(), journal.Record{Kind: o.Kind(), Version: 1, Body: body}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		return fmt.Errorf("lengthen the journal: %w", err)
	}
	return j.Close()
}

// A snapshot is taken of itself as soon as the log has grown long enough.
func TestKilledAroundASnapshot(t *testing.T) {
	for _, point := range []string{"journal.before-snapshot", "journal.after-snapshot"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w, sc := newWorld(t), scenarios["adopted"]
			w.spec = waits(w)
			if err := w.leave(); err != nil {
				t.Fatal(err)
			}
			if err := lengthen(w); err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				a, err := w.live(fault.Env + "=" + point)
				if err != nil {
					t.Fatal(err)
				}
				select {
				case <-a.done:
				case <-time.After(time.Minute):
					t.Fatalf("life %d came to no snapshot", i)
				}
				snaps, err := filepath.Glob(filepath.Join(w.data, "groom", "snapshots", "*[0-9]")) // without those under way
				if err != nil || !a.killed() {
					t.Fatalf("life %d: killed %v, %v", i, a.killed(), err)
				}
				if taken := point == "journal.after-snapshot"; taken != (len(snaps) > 0) {
					t.Errorf("life %d left %v", i, snaps)
				} else if taken {
					break // the next start has its snapshot, and takes no second one
				}
			}
			if err := w.finish(sc); err != nil {
				t.Error(err)
			}
			for _, v := range w.sum {
				t.Error(v)
			}
		})
	}
}
