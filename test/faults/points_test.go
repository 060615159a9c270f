package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"groom/fault"
)

// reached says for each failpoint which scenario comes by it. At a point of the journal or of small files, which are
// written many times, the agent is killed at each of the first passes.
var reached = []struct {
	point, scenario string
	passes          int
}{
	{"home.before-rename", "succeeds", 5},
	{"home.after-rename", "succeeds", 5},
	{"disk.before-mark", "succeeds", 1},
	{"disk.before-unprobe", "succeeds", 1},
	{"journal.before-create", "succeeds", 2},
	{"journal.after-create", "succeeds", 2},
	{"journal.before-set", "succeeds", 8},
	{"journal.after-set", "succeeds", 8},
	{"journal.before-store", "succeeds", 20},
	{"journal.after-store", "succeeds", 20},
	{"journal.before-tail", "succeeds", 2},
	{"journal.after-tail", "succeeds", 2},
	{"server.before-accept", "succeeds", 1},
	{"server.before-reply", "succeeds", 1},
	{"server.before-artifacts", "succeeds", 1},
	{"server.before-acked", "succeeds", 2},
	{"server.before-recovered", "adopted", 1},
	{"server.before-drop", "forgotten", 1},
	{"server.before-move", "output", 1},
	{"server.before-committed", "output", 1},
	{"supervisor.before-mkdir", "succeeds", 1},
	{"supervisor.before-ctl", "succeeds", 1},
	{"supervisor.before-spec", "succeeds", 1},
	{"supervisor.before-lock", "succeeds", 1},
	{"supervisor.before-fork", "succeeds", 1},
	{"supervisor.after-fork", "succeeds", 1},
	{"supervisor.before-started", "succeeds", 1},
	{"supervisor.before-ended", "fails", 2},
	{"supervisor.before-order", "stopped", 1},
	{"supervisor.after-order", "stopped", 1},
	{"supervisor.before-look", "adopted", 1},
	{"supervisor.before-second-look", "adopted", 1},
	{"supervisor.before-look", "away", 1},
	{"supervisor.before-group", "succeeds", 1},
	{"supervisor.before-ungroup", "succeeds", 1},
	{"supervisor.before-group-kill", "shim lost", 1},
	{"supervisor.after-group-end", "shim lost", 1},
	{"supervisor.before-leftover", "group left", 1},
	{"supervisor.before-sweep-kill", "shim lost, no groups", 1},
	{"supervisor.before-forbid", "unborn", 1},
	{"supervisor.after-forbid", "unborn", 1},
	{"supervisor.before-orphan-kill", "orphan", 1},
	{"supervisor.before-remove", "forgotten", 1},
	{"supervisor.before-remove-ctl", "forgotten", 1},
}

func TestEachPointOfTheGroom(t *testing.T) {
	for _, c := range reached {
		for pass := 1; pass <= c.passes; pass++ {
			for _, times := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s#%d %s, %d times", c.point, pass, c.scenario, times), func(t *testing.T) {
					t.Parallel()
					w, sc := newWorld(t), scenarios[c.scenario]
					if err := w.prepare(sc); err != nil {
						t.Fatal(err)
					}
					for i := range times {
						a, err := w.live(fmt.Sprintf("%s=%s#%d", fault.Env, c.point, pass))
						if err != nil {
							t.Fatal(err)
						}
						killed, err := w.drive(a, sc)
						if err != nil {
							t.Fatal(err)
						}
						if !killed && i == 0 && pass == 1 {
							t.Error("the point was not reached")
						}
						if !killed {
							a.kill9()
							t.Logf("life %d did not come by", i+1)
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
	}
}

// ofShims says the same for the points of the shim, and how the attempt that is killed there ends.
var ofShims = []struct{ point, scenario, end string }{
	{"shim.before-shim", "succeeds", "not-started"},
	{"shim.before-claim", "succeeds", "not-started"},
	{"shim.before-claim-text", "succeeds", "lost"},
	{"shim.before-spec", "succeeds", "lost"},
	{"shim.before-listen", "succeeds", "lost"},
	{"shim.before-task", "succeeds", "lost"},
	{"shim.before-limits", "limited", "not-started"},
	{"shim.before-start", "succeeds", "lost"},
	{"shim.before-polite", "succeeds", "lost"},
	{"shim.before-signal", "stopped", "lost"},
	{"shim.before-escalate", "stubborn", "lost"},
	{"shim.before-sweep-kill", "stopped, no groups", "lost"},
	{"shim.before-kill-group", "fails", "lost"},
	{"shim.before-drain", "fails", "lost"},
	{"shim.before-exit", "fails", "lost"},
	{"shim.before-sync", "fails", "lost"},
	{"shim.before-rename", "fails", "lost"},
	{"shim.after-rename", "fails", "exited"},
	{"shim.before-end", "fails", "exited"},
}

// The shim of the first attempt is killed; or all of them while the groom lives, and the groom as well, once two are
// dead or the task is stopped.
func TestEachPointOfTheShim(t *testing.T) {
	for _, c := range ofShims {
		for _, times := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s %s, %d times", c.point, c.scenario, times), func(t *testing.T) {
				t.Parallel()
				w, sc := newWorld(t), scenarios[c.scenario]
				if err := w.prepare(sc); err != nil {
					t.Fatal(err)
				}
				arm := c.point + "#1"
				if times > 1 {
					arm = c.point
				}
				a, err := w.live(fault.Env + "=" + arm)
				if err != nil {
					t.Fatal(err)
				}
				armed := sc
				armed.step = func(w *world, a *agent) (bool, error) {
					done, err := sc.step(w, a)
					return done || times > 1 && len(w.shimsKilled()) > 1, err
				}
				if _, err := w.drive(a, armed); err != nil {
					t.Fatal(err)
				}
				a.kill9()
				if err := w.finish(sc); err != nil {
					t.Error(err)
				}
				w.checkShims(c.end)
				for _, v := range w.sum {
					t.Error(v)
				}
			})
		}
	}
}

// shimsKilled is the attempts whose shims came by their point.
func (w *world) shimsKilled() []string {
	found, _ := filepath.Glob(filepath.Join(w.data, "local", "groom-*", "attempts", "*", "ctl", "fault"))
	for i, path := range found {
		found[i] = filepath.Base(filepath.Dir(filepath.Dir(path)))
	}
	return found
}

// checkShims holds the outcomes of attempts whose shims were killed against what they should be.
func (w *world) checkShims(end string) {
	killed := w.shimsKilled()
	if len(killed) == 0 {
		w.violate("the point was not reached")
	}
	d, err := w.task(w.lives[len(w.lives)-1])
	if err != nil {
		w.violate("the task cannot be asked for: %v", err)
	}
	for _, at := range d.Attempts {
		if slices.Contains(killed, string(at.ID)) && (at.Outcome == nil || string(at.Outcome.Kind) != end) {
			w.violate("%s: its shim was killed, and it is %v, want %s", at.ID, at.Outcome, end)
		}
	}
}

// elsewhere are points that need more than a short scenario, each with the test that kills there.
var elsewhere = func() map[string]string {
	all := map[string]string{
		"journal.before-snapshot": "TestKilledAroundASnapshot",
		"journal.after-snapshot":  "TestKilledAroundASnapshot",
	}
	for _, point := range strings.Fields(`before-seal after-seal after-anchor before-manifest after-manifest before-prune
		before-delete after-delete before-compact after-compact`) {
		all["journal."+point] = "TestKilledWhileHistoryIsArchived"
	}
	for _, point := range strings.Fields(`before-rebuild in-rebuild after-rebuild`) {
		all["journal."+point] = "TestKilledWhileRebuilding"
	}
	return all
}()

// A point that no scenario comes by proves nothing.
func TestEveryPointIsReached(t *testing.T) {
	var known []string
	for _, c := range reached {
		known = append(known, c.point)
	}
	for _, c := range ofShims {
		known = append(known, c.point)
	}
	for point := range elsewhere {
		known = append(known, point)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if found := pointsOf(t, "../.."); !slices.Equal(found, known) {
		t.Errorf("in the code %v\nin the tests %v", found, known)
	}
}

// pointsOf lists the failpoints of the source below dir.
func pointsOf(t *testing.T, dir string) []string {
	t.Helper()
	calls := regexp.MustCompile(`\b(?:fault\.Point|point)\("([a-z.-]+)"\)`)
	var found []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range calls.FindAllStringSubmatch(string(b), -1) {
			found = append(found, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return slices.Compact(found)
}
