package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/fsm/table"
	"groom/journal"
)

// lanes are the jobs that live at one time in the long history.
const lanes = 256

// life is a groom that never was: its tables and its journal are real, and so is every decision.
type life struct {
	state *fsm.State
	m     *table.Machine
	j     *journal.Journal
}

func openLife(dir string) (*life, error) {
	l := &life{state: fsm.NewState()}
	l.m = fsm.NewMachine(l.state, nil)
	var err error
	l.j, err = journal.Open(context.Background(), journal.Options{Dir: dir, Machine: l.m, Build: "bench"})
	return l, err
}

// see decides about an observation, and records it.
func (l *life) see(o fsm.Observation) error {
	now := api.Moment{Wall: time.Now().UTC(), Boot: time.Hour, ID: "bench"}
	var dec fsm.Decision
	var err error
	l.m.View(func() { dec, err = fsm.Decide(l.state, o, now, 1) })
	if err != nil || len(dec.Changes) == 0 {
		return err
	}
	body, err := fsm.Record(o, dec, now, 1)
	if err != nil {
		return err
	}
	_, err = l.j.Propose(context.Background(), journal.Record{Kind: o.Kind(), Version: 1, Body: body})
	return err
}

// job takes one job with one task through its life: it fails, is started again, succeeds, is reported, and forgotten.
func (l *life) job(seq uint64) error {
	id := api.NewJobID(time.Now(), seq)
	task := id.Task(0)
	place := fsm.Place{Dir: "/var/lib/groom/local/groom-1/attempts", BootID: "bench", PIDNS: 1}
	directive := func(kind api.DirectiveKind) fsm.Directed {
		return fsm.Directed{Directive: api.Directive{Version: 1, ID: string(id) + "/" + string(kind), Cluster: "c", Kind: kind, Job: id}}
	}
	launch, forget := directive(api.DirectiveLaunch), directive(api.DirectiveForget)
	launch.Directive.Launch = &api.Launch{Tasks: []api.TaskLaunch{{Index: 0, Attempt: 1}}}
	launch.Spec = strings.Repeat("5", 64)
	launch.Job = &fsm.Job{
		ID: id, Name: "bench", Type: api.Plain, Spec: launch.Spec, Tasks: 1, Local: []int{0},
		Stop:    api.Stop{Signal: "SIGTERM", Grace: api.Duration(10 * time.Second)},
		Restart: api.Restart{Policy: api.RestartOnFailure, Limit: 3, Backoff: api.Duration(time.Second), MaxBackoff: api.Duration(time.Minute), Healthy: api.Duration(10 * time.Minute)},
	}
	now := api.Moment{Wall: time.Now().UTC(), Boot: time.Hour, ID: "bench"}
	ended := func(n, code int) fsm.Ended {
		return fsm.Ended{Attempt: task.Attempt(n), Place: &place, End: fsm.End{
			Outcome: api.Outcome{Kind: api.Exited, Code: code}, Status: code << 8, At: now, MaxRSS: 7 << 20, Words: fmt.Sprintf("exited with code %d", code),
		}}
	}
	for _, o := range []fsm.Observation{
		launch,
		fsm.Due{Tasks: []api.TaskID{task}, Place: place},
		fsm.Started{Attempt: task.Attempt(1), Pid: 4711, ShimPid: 4710, At: now},
		ended(1, 3), nil,
		fsm.Started{Attempt: task.Attempt(2), Pid: 4713, ShimPid: 4712, At: now},
		ended(2, 0), nil, forget,
	} {
		if o == nil {
			o = l.reports(task)
		}
		if err := l.see(o); err != nil {
			return fmt.Errorf("job %s: %T: %w", id, o, err)
		}
	}
	return nil
}

// reports acknowledges what the groom has to say about a task.
func (l *life) reports(task api.TaskID) fsm.Acked {
	var acked fsm.Acked
	l.m.View(func() {
		for id := range l.state.Outbox.All() {
			if strings.HasPrefix(id, string(task)+"/") {
				acked.Reports = append(acked.Reports, id)
			}
		}
	})
	return acked
}

// makeHistory has a groom live through so many entries.
func makeHistory(dir string, entries uint64) (took time.Duration, err error) {
	l, err := openLife(dir)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for _, o := range []fsm.Observation{
		fsm.Booted{ID: "1", Name: "bench", BootID: "bench", PIDNS: 1, Build: "bench", MaxTasks: 2 * lanes}, fsm.Pinned{Cluster: "c"},
	} {
		if err := l.see(o); err != nil {
			return 0, err
		}
	}
	var wg sync.WaitGroup
	errs := make(chan error, lanes)
	for lane := range lanes {
		wg.Go(func() {
			for seq := uint64(lane); l.j.Stats().Last < entries; seq += lanes {
				if err := l.job(seq); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return 0, err
	}
	return time.Since(began), l.j.Close()
}

// asked is what it cost a command to answer.
type asked struct {
	took  time.Duration
	first time.Duration // until its first line
	rss   int64         // bytes at most
}

func ask(bin string, args ...string) (asked, error) {
	cmd := exec.Command(filepath.Join(bin, "groom"), args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return asked{}, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return asked{}, err
	}
	var a asked
	r := bufio.NewReaderSize(out, 1<<20)
	for lines := 0; ; lines++ {
		if _, err := r.ReadString('\n'); err != nil {
			break
		}
		if lines == 2 { // behind the title and the head of the table
			a.first = time.Since(began)
		}
	}
	err = cmd.Wait()
	a.took = time.Since(began)
	if err != nil {
		return a, fmt.Errorf("groom %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	a.rss = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return a, nil
}

// millionRows measures what a long history costs those who ask it.
func millionRows(bin, dir string, entries uint64) ([]row, error) {
	data := filepath.Join(dir, "data")
	took, err := makeHistory(filepath.Join(data, "groom"), entries)
	if err != nil {
		return nil, err
	}
	const most = 200 << 20
	rows := []row{{
		what: fmt.Sprintf("%d entries made, every one decided, recorded and applied", entries), got: fmt.Sprintf("%.0f s", took.Seconds()),
		beside: fmt.Sprintf("%.0f decisions a second, 256 in flight", float64(entries)/took.Seconds()),
	}}
	add := func(what, goal string, met bool, got, beside string) {
		rows = append(rows, row{what: what, goal: goal, met: met, got: got, beside: beside})
	}
	var all []asked
	for i := range uint64(20) {
		a, err := ask(bin, "journal", "state", "--data", data, "--at", strconv.FormatUint(entries*(2*i+1)/40, 10))
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	worst := slices.MaxFunc(all, func(a, b asked) int { return int(a.took - b.took) })
	fattest := slices.MaxFunc(all, func(a, b asked) int { return int(a.rss - b.rss) })
	add("journal state --at, 20 moments over the whole history", "< 1 s, 200 MB", worst.took < time.Second && fattest.rss < most,
		fmt.Sprintf("at most %.2f s, %d MB", worst.took.Seconds(), fattest.rss>>20), "")
	for _, c := range []struct {
		goal time.Duration
		args []string
	}{
		{15 * time.Second, []string{"journal", "verify"}},
		{0, []string{"journal", "verify", "--deep"}},
		{0, []string{"journal", "info"}},
		{0, []string{"journal", "redecide"}},
		{0, []string{"journal", "why", string(jobAt(data, entries/2))}},
	} {
		a, err := ask(bin, append(c.args, "--data", data)...)
		if err != nil {
			return nil, err
		}
		goal := "200 MB"
		if c.goal > 0 {
			goal = fmt.Sprintf("< %.0f s, 200 MB", c.goal.Seconds())
		}
		add(strings.Join(c.args[:min(len(c.args), 3)], " "), goal, (c.goal == 0 || a.took < c.goal) && a.rss < most, fmt.Sprintf("%.1f s, %d MB", a.took.Seconds(), a.rss>>20), "")
	}
	a, err := ask(bin, "journal", "ls", "--limit", "0", "--data", data)
	if err != nil {
		return nil, err
	}
	add("journal ls --limit 0: its first line; all", "< 0.1 s, 200 MB", a.first < 100*time.Millisecond && a.rss < most,
		fmt.Sprintf("%.3f s; %.1f s, %d MB", a.first.Seconds(), a.took.Seconds(), a.rss>>20), "")
	began := time.Now()
	l, err := openLife(filepath.Join(data, "groom"))
	if err != nil {
		return nil, err
	}
	opened, s := time.Since(began), l.j.Stats()
	add("start: journal open and ready", "< 1 s", opened < time.Second, fmt.Sprintf("%.2f s", opened.Seconds()),
		fmt.Sprintf("%d entries replayed; log %d MB, archive %d MB", s.Replayed, s.FileBytes>>20, s.ArchiveBytes>>20))
	return rows, l.j.Close()
}

// jobAt is a job that lived when the journal had so many entries.
func jobAt(data string, index uint64) api.JobID {
	h, err := journal.OpenHistory(filepath.Join(data, "groom"))
	if err != nil {
		return ""
	}
	defer h.Close()
	for e, err := range h.Entries(index, 0) {
		if at := strings.Index(string(e.Body), `"job_`); err == nil && at >= 0 {
			id := string(e.Body[at+1:])
			return api.JobID(id[:strings.IndexAny(id, `"/`)])
		}
	}
	return ""
}
