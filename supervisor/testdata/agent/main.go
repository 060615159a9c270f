// Command agent is the smallest groom: it runs tasks 0 to N-1, each once, eight at a time, over its own death at any
// moment. Its journal is a file of lines, synced one by one. The second argument is N, the third the id of the groom.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"groom/api"
	"groom/supervisor"

	"golang.org/x/sys/unix"
)

const atOnce = 8

type agent struct {
	root    string
	journal *os.File
	s       *supervisor.Supervisor
	attempt []int  // newest of each task
	settled []bool // the newest attempt has ended
	done    []bool
	running int
}

func main() {
	n, err := strconv.Atoi(os.Args[2])
	must(err)
	a := &agent{
		root: os.Args[1], s: supervisor.New(supervisor.Options{Groom: os.Args[3]}),
		attempt: make([]int, n), settled: make([]bool, n), done: make([]bool, n),
	}
	a.lock()
	a.replay()
	for task := range n {
		if a.attempt[task] > 0 && !a.settled[task] {
			a.adopt(task)
		}
	}
	for task := 0; ; {
		for ; task < n && a.running < atOnce; task++ {
			if !a.done[task] && (a.attempt[task] == 0 || a.settled[task]) {
				a.start(task)
			}
		}
		if a.running == 0 {
			break
		}
		if e := <-a.s.Events(); e.Kind == supervisor.Ended {
			a.running--
			index := e.ID.Task().Index()
			if a.end(index, e.Exit); !a.done[index] {
				a.start(index)
			}
		}
	}
	// Every task is done, so that whatever group is there belongs to nobody.
	gone, err := a.s.Leftovers(context.Background(), func(api.AttemptID) bool { return false })
	must(err)
	must(a.s.Close())
	fmt.Println("LEFTOVERS", len(gone))
	fmt.Println("ALLDONE")
}

func (a *agent) lock() {
	must(os.MkdirAll(a.root, 0o700))
	f, err := os.OpenFile(filepath.Join(a.root, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	must(err)
	fd := int(f.Fd())
	// What a dying predecessor forked may hold its files for a moment.
	for deadline := time.Now().Add(5 * time.Second); unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			must(fmt.Errorf("lock is held"))
		}
	}
}

func (a *agent) replay() {
	f, err := os.OpenFile(filepath.Join(a.root, "journal"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	must(err)
	a.journal = f
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var kind string
		var task, attempt int
		if n, _ := fmt.Sscan(sc.Text(), &kind, &task, &attempt); n < 3 {
			continue
		}
		switch kind {
		case "intent":
			a.attempt[task], a.settled[task] = attempt, false
		case "end":
			a.settled[task] = true
		case "done":
			a.settled[task], a.done[task] = true, true
		}
	}
}

func (a *agent) record(format string, args ...any) {
	_, err := fmt.Fprintf(a.journal, format+"\n", args...)
	must(err)
	must(unix.Fdatasync(int(a.journal.Fd())))
}

func (a *agent) ref(task int) supervisor.Ref {
	boot, pidns, err := supervisor.Host()
	must(err)
	id := api.TaskID(fmt.Sprintf("task_202611240915_0001_%06d", task)).Attempt(a.attempt[task])
	return supervisor.Ref{
		ID: id, Dir: filepath.Join(a.root, string(id)), BootID: boot, PIDNS: pidns,
		// The whole path: a base name alone is the same in every test, and a token must be nobody else's.
		Token: "agent-" + a.root + "-" + string(id),
	}
}

func (a *agent) adopt(task int) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	f, err := a.s.Adopt(ctx, a.ref(task))
	must(err)
	if f.Kind == api.FoundAlive {
		a.record("adopt %d %d %d", task, a.attempt[task], f.ShimPid)
		a.running++
		return
	}
	a.end(task, f.Exit)
}

func (a *agent) start(task int) {
	a.attempt[task]++
	a.settled[task] = false
	a.record("intent %d %d", task, a.attempt[task])
	ref := a.ref(task)
	script := fmt.Sprintf("echo %d.%d >> ../../ran; i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; sleep 0.0%d; exit %d",
		task, a.attempt[task], task%4, task%100)
	must(a.s.Start(context.Background(), supervisor.Spec{
		ID: ref.ID, Dir: ref.Dir, Token: ref.Token,
		Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
	}))
	a.running++
}

// end records how the newest attempt ended. A task is done when its own code is known.
func (a *agent) end(task int, e *supervisor.Exit) {
	a.settled[task] = true
	if e.Outcome.Kind == api.Exited {
		a.done[task] = true
		a.record("done %d %d %d", task, a.attempt[task], e.Outcome.Code)
		return
	}
	a.record("end %d %d %s %s", task, a.attempt[task], e.Outcome.Kind, e.Words)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(3)
	}
}
