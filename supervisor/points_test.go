package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"groom/api"
	"groom/fault"
	"groom/supervisor/ctl"
	"groom/supervisor/shim"

	"golang.org/x/sys/unix"
)

// The points of the groom's side, by what they interrupt.
var (
	spawnPoints = []string{
		"supervisor.before-mkdir", "supervisor.before-ctl", "supervisor.before-group", "supervisor.before-spec",
		"supervisor.before-lock", "supervisor.before-fork", "supervisor.after-fork", "supervisor.before-started",
		"supervisor.before-ungroup", "supervisor.before-ended",
	}
	adoptPoints = []string{"supervisor.before-look", "supervisor.before-second-look"}
	stopPoints  = []string{"supervisor.before-order", "supervisor.after-order"}
	otherPoints = []string{
		"supervisor.before-group-kill", "supervisor.after-group-end", "supervisor.before-leftover", "supervisor.before-sweep-kill",
	}
	// Before and after a claim that no shim may make any more.
	forbidPoints = []string{"supervisor.before-forbid", "supervisor.after-forbid"}
	cleanPoints  = []string{"supervisor.before-remove", "supervisor.before-remove-ctl"}
	// Killed at in test/faults, by the whole agent alone: they want a stop that is under way, or a row that is gone.
	wholePoints = []string{
		"supervisor.before-orphan-kill", "shim.before-signal", "shim.before-escalate", "shim.before-sweep-kill",
	}
)

func TestEachPointOfSpawnOnce(t *testing.T) {
	bin := binary(t, "agent")
	for _, point := range spawnPoints {
		for _, pass := range []int{1, 5} {
			t.Run(fmt.Sprintf("%s#%d", point, pass), func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				groom := groomID(t)
				cmd := exec.CommandContext(t.Context(), bin, root, "12", groom)
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s#%d", fault.Env, point, pass))
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("was not killed: %v: %s", err, out)
				}
				out, err := exec.CommandContext(t.Context(), bin, root, "12", groom).CombinedOutput()
				if err != nil || !strings.Contains(string(out), "LEFTOVERS 0") {
					t.Fatalf("next start: %v: %s", err, out)
				}
				readHistory(t, root).check(t, root, 12)
			})
		}
	}
}

// detached is an attempt that runs, with no supervisor that watches it. The shim's pid comes with it.
func detached(t *testing.T, script string) (Spec, int) {
	t.Helper()
	s, spec := newSupervisor(t), shell(t, script)
	start(t, s, spec)
	shim := wantStarted(t, s).ShimPid
	_ = s.Close()
	return spec, shim
}

// waitFree waits for the end of an attempt that nobody watches.
func waitFree(t *testing.T, spec Spec) {
	t.Helper()
	until(t, "the lock to come free", func() bool { held, err := ctl.Held(spec.Dir); return err == nil && !held })
}

func TestEachPointOfAdoptionOnce(t *testing.T) {
	for _, point := range adoptPoints {
		t.Run(point, func(t *testing.T) {
			spec, _ := detached(t, "echo ran >> ran; exec sleep 60")
			if !once(t, point, "adopt", spec, nil) {
				t.Fatal("was not killed")
			}
			var f Finding
			once(t, "", "adopt", spec, &f)
			if f.Kind != api.FoundAlive || f.Pid == 0 || written(t, spec, "ran") != "ran" {
				t.Errorf("next start: %+v", f)
			}
		})
	}
}

func TestEachPointOfStopOnce(t *testing.T) {
	for _, point := range stopPoints {
		t.Run(point, func(t *testing.T) {
			spec, _ := detached(t, "trap 'echo heard >> heard; exit 5' TERM; echo ready > ready; while :; do sleep 0.01; done")
			written(t, spec, "ready")
			if !once(t, point, "stop", spec, nil) {
				t.Fatal("was not killed")
			}
			if point == "supervisor.after-order" {
				waitFree(t, spec)
			}
			var e Event
			once(t, "", "stop", spec, &e)
			if e.Exit == nil || e.Exit.Outcome != (api.Outcome{Kind: api.Exited, Code: 5}) || e.Exit.Asked != api.ByStop {
				t.Errorf("next start: %+v", e.Exit)
			}
			if got := written(t, spec, "heard"); got != "heard" {
				t.Errorf("the signal came more than once: %q", got)
			}
		})
	}
}

func TestKilledBeforeTheSweepKills(t *testing.T) {
	spec, shim := detached(t, `setsid sh -c 'echo $$ > far; exec sleep 60' & echo $$ > leader; exec sleep 60`)
	far, _ := strconv.Atoi(written(t, spec, "far"))
	kill(t, shim, unix.SIGKILL)
	waitFree(t, spec)
	if !once(t, "supervisor.before-sweep-kill", "adopt", spec, nil) {
		t.Fatal("was not killed")
	}
	if !alive(far) {
		t.Error("the sweep killed before its point")
	}
	var f Finding
	once(t, "", "adopt", spec, &f)
	if f.Kind != api.FoundLost || f.Exit.Unproven || alive(far) {
		t.Errorf("next start: %+v, exit %+v, grandchild alive: %v", f, f.Exit, alive(far))
	}
}

func TestKilledWhenAShimIsForbidden(t *testing.T) {
	for _, point := range forbidPoints {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			spec := fabricated(t, map[string]string{ctl.Lock: ""})
			hold(t, spec)
			if !once(t, point, "adopt", spec, nil) {
				t.Fatal("was not killed")
			}
			f, err := hasty(t).Adopt(t.Context(), refOf(t, spec))
			if err != nil || f.Kind != api.FoundUnborn {
				t.Errorf("next start: %+v, %v", f, err)
			}
		})
	}
}

func TestKilledWhileCleaningUp(t *testing.T) {
	for _, point := range cleanPoints {
		t.Run(point, func(t *testing.T) { killedWhileCleaningUp(t, point) })
	}
}

func killedWhileCleaningUp(t *testing.T, point string) {
	spec := shell(t, "")
	for _, name := range []string{"ctl/lock", "log/stdout.0", "work/deep/er/file"} {
		path := filepath.Join(spec.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if point == "supervisor.before-remove" {
		point += "#2" // log/ is gone, work/ is not
	}
	if !once(t, point, "clean", spec, nil) {
		t.Fatal("was not killed")
	}
	if _, err := os.Stat(filepath.Join(spec.Dir, ctl.Lock)); err != nil {
		t.Errorf("what is left is not known for an attempt: %v", err)
	}
	once(t, "", "clean", spec, nil)
	if _, err := os.Stat(spec.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// shimPoints is every point of the shim, with what the groom must make of an attempt that ended there.
var shimPoints = []struct {
	point string
	want  api.Outcome
	runs  bool // the task may have been started
}{
	{"shim.before-shim", api.Outcome{Kind: api.NotStarted, Why: "its shim never claimed it"}, false},
	{"shim.before-claim", api.Outcome{Kind: api.NotStarted, Why: "its shim never claimed it"}, false},
	{"shim.before-claim-text", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, false},
	{"shim.before-listen", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, false},
	{"shim.before-spec", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, false},
	{"shim.before-task", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, false},
	{"shim.before-limits", api.Outcome{Kind: api.NotStarted, Why: "its process ended before it was the task's"}, false},
	{"shim.before-start", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true},
	{"shim.before-polite", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true},
	{"shim.before-kill-group", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true},
	{"shim.before-drain", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true},
	{"shim.before-sync", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true},
	{"shim.before-exit", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true},
	{"shim.before-rename", api.Outcome{Kind: api.Lost, Why: api.WhyShim}, true},
	{"shim.after-rename", api.Outcome{Kind: api.Exited, Code: 6}, true},
	{"shim.before-end", api.Outcome{Kind: api.Exited, Code: 6}, true},
}

func TestEachPointOfTheShimOnce(t *testing.T) {
	for _, c := range shimPoints {
		for _, how := range []string{"watched", "adopted"} {
			t.Run(c.point+" "+how, func(t *testing.T) {
				t.Setenv(shim.EnvFault, c.point)
				s, spec := newSupervisor(t), shell(t, "echo ran >> ran; exit 6")
				spec.Own.Umask = ptr(uint32(0o022)) // so that there is a last stage before the task
				start(t, s, spec)
				var e *Exit
				if how == "watched" {
					e = wantEnded(t, s)
				} else {
					_ = s.Close()
					waitFree(t, spec)
					f, err := newSupervisor(t).Adopt(t.Context(), refOf(t, spec))
					if err != nil || f.Exit == nil {
						t.Fatalf("adopt: %+v, %v", f, err)
					}
					e = f.Exit
				}
				if e.Outcome != c.want || e.Unproven {
					t.Errorf("exit %+v", e)
				}
				if ran, _ := os.ReadFile(filepath.Join(spec.Dir, "work", "ran")); string(ran) != "ran\n" && (c.want.Kind == api.Exited || len(ran) > 0) {
					t.Errorf("ran %q", ran)
				} else if len(ran) > 0 && !c.runs {
					t.Error("the task ran")
				}
			})
		}
	}
}

// A point that no test kills at proves nothing.
func TestEveryPointIsTested(t *testing.T) {
	tested := slices.Concat(spawnPoints, adoptPoints, stopPoints, otherPoints, forbidPoints, cleanPoints, wholePoints)
	for _, p := range shimPoints {
		tested = append(tested, p.point)
	}
	calls := regexp.MustCompile(`\b(?:fault\.Point|point)\("([a-z.-]+)"\)`)
	var found []string
	for _, pattern := range []string{"*.go", "shim/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range calls.FindAllStringSubmatch(string(b), -1) {
				found = append(found, m[1])
			}
		}
	}
	slices.Sort(found)
	slices.Sort(tested)
	if !slices.Equal(found, tested) {
		t.Errorf("in the code %v\nin the tests %v", found, tested)
	}
	design, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		if !strings.Contains(string(design), "`"+name+"`") {
			t.Errorf("DESIGN.md does not tell what a kill at %s leaves", name)
		}
	}
}

// Whatever key stands in a record or an order, DESIGN.md names it.
func TestEveryKeyIsTold(t *testing.T) {
	b, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, records, _ := strings.Cut(string(b), "## Records")
	records, _, _ = strings.Cut(records, "\n## ")
	told := map[string]bool{}
	for _, word := range regexp.MustCompile(`[a-z]+`).FindAllString(records, -1) {
		told[word] = true
	}
	keys := regexp.MustCompile(`\b(?:Add|appendInt|appendText|append)\((?:s\.rec, |b, )?"([a-z]+)"`)
	for _, pattern := range []string{"*.go", "shim/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range keys.FindAllStringSubmatch(string(source), -1) {
				if !told[m[1]] {
					t.Errorf("%s writes %q, and DESIGN.md does not tell of it", name, m[1])
				}
			}
		}
	}
}
