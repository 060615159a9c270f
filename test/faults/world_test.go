package faults

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"groom/api"
	"groom/job"
	"groom/supervisor/shim"
)

// world is one data directory through all of its lives, with what its tasks did as they themselves marked it.
type world struct {
	dir   string
	data  string
	marks string // one line for each start and end of an attempt
	gate  string // tasks that wait for it go on when it is there
	spec  api.JobSpec
	job   api.JobID
	held  *os.File // a lock that the test itself holds
	args  []string // of every life
	wrap  []string // likewise
	lives []*agent
	sum   []string // violations
}

func newWorld(t testing.TB) *world {
	dir := t.TempDir()
	w := &world{dir: dir, data: filepath.Join(dir, "data"), marks: filepath.Join(dir, "marks"), gate: filepath.Join(dir, "gate")}
	t.Cleanup(func() {
		w.end()
		if t.Failed() {
			for i, a := range w.lives {
				b, _ := os.ReadFile(a.log)
				t.Logf("life %d said:\n%s", i, last(b, 4000))
			}
			b, _ := os.ReadFile(w.marks)
			t.Logf("marks:\n%s", b)
		}
	})
	return w
}

func last(b []byte, n int) []byte { return b[max(len(b)-n, 0):] }

// end kills what the world still runs.
func (w *world) end() {
	for _, a := range w.lives {
		if a.running() {
			a.kill9()
		}
	}
	for range 50 { // a task that was forked meanwhile is found by the next look
		shims, tasks := w.processes()
		if len(shims)+len(tasks) == 0 {
			return
		}
		for _, pid := range slices.Concat(shims, tasks) {
			_ = syscall.Kill(pid, syscall.SIGCONT)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// live begins a life with something in its environment.
func (w *world) live(env ...string) (*agent, error) { return w.begin(life{env: env}) }

func (w *world) begin(l life) (*agent, error) {
	l.args, l.wrap = slices.Concat(w.args, l.args), slices.Concat(w.wrap, l.wrap)
	a, err := launch(w.data, l)
	if err == nil {
		w.lives = append(w.lives, a)
	}
	return a, err
}

func (w *world) violate(format string, args ...any) {
	w.sum = append(w.sum, fmt.Sprintf(format, args...))
}

// script is a task in shell that marks its life: say WORD writes a line of its own attempt.
func (w *world) script(body string) api.JobSpec {
	s := api.JobSpec{
		Name: "marked", Type: api.Plain, Tasks: 1,
		Command: []string{"/bin/sh", "-c", `say() { echo "$GROOM_ATTEMPT $*" >> "$MARKS"; }; ` + body},
		Env:     map[string]string{"MARKS": w.marks, "GATE": w.gate},
		Stop:    api.Stop{Signal: "SIGTERM", Grace: api.Duration(5 * time.Second)},
		Restart: api.Restart{Limit: 10, Backoff: api.Duration(time.Millisecond), MaxBackoff: api.Duration(time.Millisecond)},
	}
	job.Defaults(&s)
	return s
}

// marked is what one attempt marked, in order.
func (w *world) marked() map[string][]string {
	b, _ := os.ReadFile(w.marks)
	by := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		id, word, _ := strings.Cut(strings.TrimSpace(line), " ")
		by[id] = append(by[id], word)
	}
	return by
}

func (w *world) said(word string) bool {
	for _, words := range w.marked() {
		if slices.Contains(words, word) {
			return true
		}
	}
	return false
}

// processes lists the living shims and task processes of this world, by their environment.
func (w *world) processes() (shims, tasks []int) {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", d.Name(), "environ"))
		if err != nil || !alive(pid) {
			continue
		}
		for v := range strings.SplitSeq(string(env), "\x00") {
			if dir, ok := strings.CutPrefix(v, shim.Env+"="); ok && strings.HasPrefix(dir, w.dir) {
				shims = append(shims, pid)
			}
			if v == "MARKS="+w.marks {
				tasks = append(tasks, pid)
			}
		}
	}
	return shims, tasks
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

// task asks for the only task of the job.
func (w *world) task(a *agent) (api.TaskDetail, error) {
	var d api.TaskDetail
	err := a.get("/tasks/"+string(w.job.Task(0)), &d)
	return d, err
}

// check holds the tables of a life that is settled against the world, and adds what does not agree to the violations:
// the task ran at most once in each attempt, one attempt after the other, each outcome is the one that the task itself
// tells, and what lives is what the tables hold as living.
func (w *world) check(a *agent) {
	d, err := w.task(a)
	if err != nil {
		w.violate("the task cannot be asked for: %v", err)
		return
	}
	marked := w.marked()
	living, failures := 0, 0
	for i, at := range d.Attempts {
		words := marked[string(at.ID)]
		delete(marked, string(at.ID))
		w.checkAttempt(at, words)
		if at.State != "ended" {
			living++
		}
		if at.Counted {
			failures++
		}
		// What ends for a stop is not held against the task, whatever became of it.
		stopped := d.State == api.TaskStopped && i == len(d.Attempts)-1
		if counts := at.Outcome != nil && at.Outcome.Counted(); at.Counted != counts && !(stopped && !at.Counted) {
			w.violate("%s: counted is %v, outcome %v", at.ID, at.Counted, at.Outcome)
		}
	}
	for id, words := range marked {
		w.violate("%s ran (%q), and the tables do not know it", id, words)
	}
	if failures > d.Limit || d.Failures > d.Limit {
		w.violate("%d failures counted, %d in the attempts, of %d", d.Failures, failures, d.Limit)
	}
	if living > 1 {
		w.violate("%d attempts of one task live in the tables", living)
	}
	if d.State.Terminal() && living > 0 {
		w.violate("the task is %s, and %d attempts live in the tables", d.State, living)
	}
	shims, tasks := w.processes()
	if len(shims) != living || living == 0 && len(tasks) > 0 || living > 0 && len(tasks) == 0 {
		w.violate("%d attempts live in the tables; in the world shims %v, tasks %v", living, shims, tasks)
	}
	var jobs []api.JobView
	if err := a.get("/jobs", &jobs); err != nil || len(jobs) != 1 {
		w.violate("handed in once, there are %d jobs (%v)", len(jobs), err)
	}
}

func (w *world) checkAttempt(at api.AttemptView, words []string) {
	starts, ends := 0, 0
	code := -1
	for _, word := range words {
		if word == "start" {
			starts++
		}
		if n, ok := strings.CutPrefix(word, "end "); ok {
			ends++
			code, _ = strconv.Atoi(n)
		}
	}
	if starts > 1 || ends > 1 {
		w.violate("%s ran more than once: %q", at.ID, words)
	}
	if at.State != "ended" {
		return
	}
	o := at.Outcome
	switch {
	case o == nil:
		w.violate("%s ended without an outcome", at.ID)
	case o.Kind == api.Exited && (ends != 1 || code != o.Code):
		w.violate("%s: %s, and the task says %q", at.ID, o, words)
	case o.Kind == api.NotStarted && starts > 0:
		w.violate("%s: %s, and the task says %q", at.ID, o, words)
	case strings.Contains(at.Words, "not proven"):
		w.violate("%s: %s", at.ID, at.Words)
	}
}

// checkDirs holds the attempt directories against the rows.
func (w *world) checkDirs(a *agent) {
	d, err := w.task(a)
	if err != nil {
		w.violate("the task cannot be asked for: %v", err)
		return
	}
	found, _ := filepath.Glob(filepath.Join(w.data, "local", "groom-*", "attempts", "*"))
	for _, dir := range found {
		if !slices.ContainsFunc(d.Attempts, func(at api.AttemptView) bool { return string(at.ID) == filepath.Base(dir) }) {
			w.violate("%s has no row", dir)
		}
	}
}
