package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"groom/api"
	"groom/fault"
	"groom/job"
	"groom/supervisor/ctl"
)

// scenario is what a world goes through. It is level-triggered, as the agent itself is: after a life that died, the
// next one is taken through the same steps, and each of them may have been taken already.
type scenario struct {
	spec   func(w *world) api.JobSpec
	alone  bool                                   // no life has control groups
	before func(w *world) error                   // lives without faults, before
	step   func(w *world, a *agent) (bool, error) // taken again and again until it is done
	check  func(w *world, a *agent)               // nil: of the marks
}

// scenarios by name. Each begins with an empty data directory.
var scenarios = map[string]scenario{
	// A task that succeeds.
	"succeeds": {
		spec: func(w *world) api.JobSpec { return w.script(`say start; echo some output; say end 0`) },
		step: until(api.JobSucceeded),
	},
	// A task that fails twice, and may not more often.
	"fails": {
		spec: func(w *world) api.JobSpec {
			s := w.script(`say start; say end 7; exit 7`)
			s.Restart.Limit = 2
			return s
		},
		step: until(api.JobFailed),
	},
	// A task that ends politely when it is told to, and leaves a process behind that did not hear it.
	"stopped": {spec: leaving, step: stop},
	"stopped, no groups": {
		spec:  leaving,
		alone: true,
		step:  stop,
	},
	// A task that does not listen.
	"stubborn": {
		spec: func(w *world) api.JobSpec {
			s := w.script(`trap '' TERM; say start; while :; do sleep 0.1; done`)
			s.Stop.Grace = api.Duration(50 * time.Millisecond)
			return s
		},
		step: stop,
	},
	// A task that runs while its groom is killed, and ends after the next start.
	"adopted": {
		spec:   waits,
		before: func(w *world) error { return w.leave() },
		step: func(w *world, a *agent) (bool, error) {
			if err := errors.Join(a.ready(), w.open()); err != nil {
				return false, err
			}
			return until(api.JobSucceeded)(w, a)
		},
	},
	// A task that ends while its groom is away.
	"away": {
		spec: waits,
		before: func(w *world) error {
			if err := w.leave(); err != nil {
				return err
			}
			return errors.Join(w.open(), w.gone("the shim", func() bool { s, _ := w.processes(); return len(s) == 0 }))
		},
		step: until(api.JobSucceeded),
	},
	// A shim that is killed while its groom is away, with a process that has left the task's session.
	"shim lost": {spec: leaver, before: loseShim, step: until(api.JobSucceeded)},
	// The same where there are no control groups: what is left is known by its token alone.
	"shim lost, no groups": {spec: leaver, alone: true, before: loseShim, step: until(api.JobSucceeded)},
	// A task that takes limits upon itself before it is the program.
	"limited": {
		spec: func(w *world) api.JobSpec {
			s := w.script(`say start; say end 0`)
			s.Rlimits = map[string]string{"nofile": "100"}
			return s
		},
		step: until(api.JobSucceeded),
	},
	// A lock that is held and a shim that never says who it is: as one looks that was frozen right after the fork.
	"unborn": {
		spec: func(w *world) api.JobSpec { return w.script(`say start; say end 0`) },
		before: func(w *world) error {
			a, err := w.live("GROOM_FAILPOINT=supervisor.before-fork")
			if err != nil {
				return err
			}
			if killed, err := w.drive(a, scenario{step: until(api.JobSucceeded)}); err != nil || !killed {
				return fmt.Errorf("was not killed: %w", err)
			}
			locks, err := filepath.Glob(filepath.Join(w.data, "local", "groom-*", "attempts", "*", ctl.Lock))
			if err != nil || len(locks) != 1 {
				return fmt.Errorf("locks %v: %w", locks, err)
			}
			f, err := os.Open(locks[0])
			if err != nil {
				return err
			}
			w.held = f
			return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		},
		step: until(api.JobSucceeded),
	},
	// A task that runs, and a groom whose tables do not know it.
	"orphan": {
		spec: waits,
		before: func(w *world) error {
			if err := w.leave(); err != nil {
				return err
			}
			return errors.Join(os.RemoveAll(filepath.Join(w.data, "groom")), os.RemoveAll(filepath.Join(w.data, "master")))
		},
		step: found,
		check: func(w *world, a *agent) {
			if shims, tasks := w.processes(); len(shims)+len(tasks) > 0 {
				w.violate("nobody's, and still alive: shims %v, tasks %v", shims, tasks)
			}
			if dirs, _ := filepath.Glob(filepath.Join(w.data, "local", "groom-*", "attempts", "*")); len(dirs) > 0 {
				w.violate("nobody's, and still there: %v", dirs)
			}
		},
	},
	// A control group that was made, and that no file and no row names.
	"group left": {
		spec: waits,
		before: func(w *world) error {
			a, err := w.live(fault.Env + "=supervisor.before-spec")
			if err != nil {
				return err
			}
			if killed, err := w.drive(a, scenario{step: until(api.JobSucceeded)}); err != nil || !killed {
				return fmt.Errorf("was not killed: %w", err)
			}
			w.job = ""
			return errors.Join(os.RemoveAll(filepath.Join(w.data, "groom")), os.RemoveAll(filepath.Join(w.data, "master")))
		},
		step: found,
		check: func(w *world, a *agent) {
			id, err := os.ReadFile(filepath.Join(w.data, "id"))
			if left, _ := filepath.Glob("/sys/fs/cgroup/*/groom-" + strings.TrimSpace(string(id)) + "/attempt_*"); err != nil || len(left) > 0 {
				w.violate("nobody's, and still there: %v (%v)", left, err)
			}
		},
	},
	// A job that is forgotten as soon as it has ended.
	"forgotten": {
		spec: func(w *world) api.JobSpec {
			s := w.script(`say start; say end 0`)
			s.Retention = api.Retention{Keep: api.Duration(time.Millisecond), KeepFailed: api.Duration(time.Millisecond)}
			return s
		},
		step: func(w *world, a *agent) (bool, error) {
			if w.job == "" {
				_, err := w.handIn(a)
				return false, err
			}
			if p, ok := errors.AsType[*api.Problem](a.get("/jobs/"+string(w.job), nil)); !ok || p.Code != api.CodeNotFound {
				return false, nil
			}
			dirs, err := filepath.Glob(filepath.Join(w.data, "local", "groom-*", "attempts", "*"))
			specs, _ := filepath.Glob(filepath.Join(w.data, "specs", "*"))
			return len(dirs)+len(specs) == 0, err
		},
		check: func(w *world, a *agent) {
			for id, words := range w.marked() {
				if !slices.Equal(words, []string{"start", "end 0"}) {
					w.violate("%s says %q", id, words)
				}
			}
			if shims, tasks := w.processes(); len(shims)+len(tasks) > 0 {
				w.violate("forgotten, and still alive: shims %v, tasks %v", shims, tasks)
			}
		},
	},
	// A BSP job with a result that has to come into its place.
	"output": {
		spec: func(w *world) api.JobSpec {
			s := w.script("")
			s.Type, s.Command, s.Output = api.BSP, []string{filepath.Join(bin, "pi")}, filepath.Join(w.dir, "out")
			s.Config = map[string]string{"samples": "1000"}
			job.Defaults(&s)
			return s
		},
		step: until(api.JobSucceeded),
		check: func(w *world, a *agent) {
			b, err := os.ReadFile(filepath.Join(w.dir, "out", "pi"))
			if pi, e := strconv.ParseFloat(string(b[:max(len(b)-1, 0)]), 64); err != nil || e != nil || pi < 3 || pi > 4 {
				w.violate("the result is %q: %v", b, err)
			}
			if shims, tasks := w.processes(); len(shims)+len(tasks) > 0 {
				w.violate("ended, and still alive: shims %v, tasks %v", shims, tasks)
			}
		},
	},
}

// leaving is a task that ends when it is told to, and leaves a process behind.
func leaving(w *world) api.JobSpec {
	s := w.script(`trap 'say end 5; exit 5' TERM; setsid sleep 600 & say start; while :; do wait; done`)
	s.Stop.Grace = api.Duration(400 * time.Millisecond)
	return s
}

// leaver is a task whose first attempt leaves a process in a session of its own.
func leaver(w *world) api.JobSpec {
	return w.script(`[ ! -e "$GATE" ] || { say start; say end 0; exit 0; }; setsid sleep 600 & say start; exec sleep 600`)
}

func loseShim(w *world) error {
	if err := w.leave(); err != nil {
		return err
	}
	shims, _ := w.processes()
	for _, pid := range shims {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return w.open()
}

// found waits for the start to have looked for what it does not know.
func found(_ *world, a *agent) (bool, error) {
	if err := a.ready(); err != nil {
		return false, err
	}
	var reports []api.RecoveryReport
	if err := a.get("/recoveries", &reports); err != nil {
		return false, err
	}
	return len(reports) > 0, nil
}

// waits is a task that goes on until the gate is there.
func waits(w *world) api.JobSpec {
	return w.script(`say start; until [ -e "$GATE" ]; do sleep 0.01; done; say end 0`)
}

// until hands the job in and waits for its end.
func until(state api.JobState) func(*world, *agent) (bool, error) {
	return func(w *world, a *agent) (bool, error) {
		d, err := w.handIn(a)
		if err != nil {
			return false, err
		}
		if d.State.Terminal() && d.State != state {
			return false, fmt.Errorf("the job is %s: %s", d.State, d.Reason)
		}
		return d.State == state, nil
	}
}

// stop has the job stopped once its task runs.
func stop(w *world, a *agent) (bool, error) {
	d, err := w.handIn(a)
	if err != nil || !w.said("start") {
		return false, err
	}
	if d.State.Terminal() {
		return false, fmt.Errorf("the job is %s: %s", d.State, d.Reason)
	}
	if d.State == api.JobRunning {
		r := api.ActRequest{Version: api.Version, Verb: api.VerbStop}
		return false, a.post("/jobs/"+string(w.job)+"/stop", r, nil)
	}
	return d.State == api.JobStopped, nil
}

// handIn hands the job in, again and again under the same request.
func (w *world) handIn(a *agent) (api.JobDetail, error) {
	var d api.JobDetail
	id, err := a.submit("the only one", w.spec)
	if err != nil {
		return d, err
	}
	if w.job != "" && w.job != id {
		w.violate("handed in again, it is %s, and was %s", id, w.job)
	}
	w.job = id
	return d, a.get("/jobs/"+string(id), &d)
}

// drive takes one life through the scenario. It says whether the life was killed before the end.
func (w *world) drive(a *agent, sc scenario) (killed bool, err error) {
	var why error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		done, err := sc.step(w, a)
		if !a.running() {
			if !a.killed() {
				return false, fmt.Errorf("the agent ended by itself: %v", a.cmd.ProcessState)
			}
			return true, nil
		}
		if done {
			return false, nil
		}
		if err != nil {
			why = err // it is not up yet, or has just died
		}
	}
	return false, fmt.Errorf("it does not come to its end: %w", why)
}

// leave begins the task in a life without faults, and ends that life with the task running.
func (w *world) leave(env ...string) error {
	a, err := w.live(env...)
	if err != nil {
		return err
	}
	_, err = w.drive(a, scenario{step: func(w *world, a *agent) (bool, error) {
		_, err := w.handIn(a)
		if err != nil {
			return false, err
		}
		d, err := w.task(a)
		return d.State == api.TaskRunning && w.said("start"), err
	}})
	a.kill9()
	return err
}

func (w *world) open() error { return os.WriteFile(w.gate, nil, 0o600) }

// gone waits for what happens without an agent.
func (w *world) gone(what string, ok func() bool) error {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: never gone", what)
		}
	}
	return nil
}

// prepare makes the job of a scenario and takes its lives before the faults.
func (w *world) prepare(sc scenario) error {
	w.spec = sc.spec(w)
	if sc.alone {
		w.wrap = []string{"unshare", "-m", "sh", "-c", `umount -R /sys/fs/cgroup && exec "$@"`, "sh"}
	}
	if sc.before == nil {
		return nil
	}
	return sc.before(w)
}

// finish takes a life without faults to the end of the scenario, and checks what there is then.
func (w *world) finish(sc scenario) error {
	a, err := w.live()
	if err != nil {
		return err
	}
	if killed, err := w.drive(a, sc); err != nil || killed {
		return fmt.Errorf("without faults: killed %v: %w", killed, err)
	}
	if sc.check != nil {
		sc.check(w, a)
		return nil
	}
	w.check(a)
	w.checkDirs(a)
	return nil
}
