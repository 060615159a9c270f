package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"groom/api"
)

// crowd is the number of tasks that an agent is measured with.
const crowd = 50

// agent is a groom with a master of its own, started from the built binary.
type agent struct {
	bin, data string
	cmd       *exec.Cmd
}

func (a *agent) start() error {
	a.cmd = exec.Command(filepath.Join(a.bin, "groom"), "agent", "--data", a.data, "--max-tasks", strconv.Itoa(crowd),
		"--web-addr", "127.0.0.1:0", "--worker-addr", "127.0.0.1:0", "--report-addr", "127.0.0.1:0")
	log, err := os.Create(a.data + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		return err
	}
	return await("agent is ready", func() bool {
		resp, err := http.Get(a.url("/readyz"))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// await looks every half millisecond, which bounds the error of what is timed by it.
func await(what string, ok func() bool) error {
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(500 * time.Microsecond) {
		if time.Now().After(deadline) {
			return errors.New("never so: " + what)
		}
	}
	return nil
}

func (a *agent) kill9() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func (a *agent) url(path string) string {
	addrs := map[string]string{}
	if b, err := os.ReadFile(filepath.Join(a.data, "addrs")); err == nil {
		_ = json.Unmarshal(b, &addrs) // half a file is read again
	}
	return "http://" + addrs["web"] + path
}

func (a *agent) get(path string, v any) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, a.url(path), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(v)
}

func (a *agent) groom(args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(a.bin, "groom"), append(args, "--data", a.data)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("groom %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// running is the tasks of a job once all of them run.
func (a *agent) running(job string) ([]api.TaskView, error) {
	var d api.JobDetail
	var failed error
	err := await("all tasks run", func() bool {
		if failed = a.get("/jobs/"+job, &d); failed != nil {
			return true
		}
		n := 0
		for _, t := range d.TaskViews {
			if t.State == api.TaskRunning {
				n++
			}
		}
		return n == crowd
	})
	return d.TaskViews, errors.Join(failed, err)
}

func agentRows(bin, dir string, idle time.Duration) ([]row, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	a := &agent{bin: bin, data: filepath.Join(dir, "agent")}
	if err := os.MkdirAll(a.data, 0o700); err != nil {
		return nil, err
	}
	if err := a.start(); err != nil {
		return nil, err
	}
	defer func() { a.kill9() }()
	spec := filepath.Join(dir, "crowd.yaml")
	text := fmt.Sprintf("name: crowd\ntype: plain\ntasks: %d\ncommand: [sleep, \"3600\"]\n", crowd)
	if err := os.WriteFile(spec, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var rows []row
	var starts []time.Duration
	var job string
	for i := range rounds {
		if i > 0 { // the last job stays
			if err := a.end(job); err != nil {
				return nil, err
			}
		}
		began := time.Now()
		if job, err = a.groom("job", "submit", spec); err != nil {
			return nil, err
		}
		if _, err := a.running(job); err != nil {
			return nil, err
		}
		starts = append(starts, time.Since(began))
	}
	defer func() { _ = a.end(job) }() // the agent is killed after this
	rows = append(rows, row{
		what: "50 tasks started, each journaled", goal: "<= 250ms", met: median(starts) <= 250*time.Millisecond,
		got: median(starts).Round(time.Millisecond).String(), beside: "from `groom job submit` to the last process seen running",
	})
	for _, part := range []func(string) (row, error){
		a.restartRow, a.shimRow, a.memoryRow, a.adoptRow,
		func(string) (row, error) { return a.idleRow(idle) },
	} {
		r, err := part(job)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (a *agent) end(job string) error {
	if _, err := a.groom("job", "kill", job); err != nil {
		return err
	}
	return await("job is killed", func() bool {
		var d api.JobDetail
		return a.get("/jobs/"+job, &d) == nil && d.State.Terminal()
	})
}

// restartRow kills tasks one by one, each for the first time, and reads when the next process of each was made.
func (a *agent) restartRow(job string) (row, error) {
	tasks, err := a.running(job)
	if err != nil {
		return row{}, err
	}
	var took []time.Duration
	for _, t := range tasks[:10] {
		began := time.Now()
		if err := syscall.Kill(t.Pid, syscall.SIGKILL); err != nil {
			return row{}, err
		}
		var d api.TaskDetail
		err := await("the task runs again", func() bool {
			return a.get("/tasks/"+string(t.ID), &d) == nil && d.Attempt == 2 && d.State == api.TaskRunning
		})
		if err != nil {
			return row{}, err
		}
		took = append(took, d.Attempts[1].StartedAt.Sub(began))
	}
	return row{
		what: "crash of a task to its new process", goal: "<= 10ms", met: median(took) <= 10*time.Millisecond,
		got: median(took).Round(10 * time.Microsecond).String(), beside: "from the kill to the time in the shim's start record",
	}, nil
}

func (a *agent) shimRow(job string) (row, error) {
	tasks, err := a.running(job)
	if err != nil {
		return row{}, err
	}
	var pss []int64
	for _, t := range tasks {
		var d api.TaskDetail
		if err := a.get("/tasks/"+string(t.ID), &d); err != nil {
			return row{}, err
		}
		n, err := memory(d.Attempts[len(d.Attempts)-1].ShimPid, "Pss:")
		if err != nil {
			return row{}, err
		}
		pss = append(pss, n)
	}
	return row{
		what: "helper memory per task (PSS)", goal: "<= 1 MiB", met: median(pss) <= 1<<20,
		got: fmt.Sprintf("%d KiB", median(pss)>>10), beside: fmt.Sprintf("median of %d shims", len(pss)),
	}, nil
}

func (a *agent) memoryRow(string) (row, error) {
	n, err := memory(a.cmd.Process.Pid, "Anonymous:")
	return row{
		what: "agent's anonymous memory with 50 tasks", goal: "<= 40 MB", met: n <= 40e6,
		got: fmt.Sprintf("%.1f MB", float64(n)/1e6), beside: "groom, master and pages in one process",
	}, err
}

// memory reads one line of smaps_rollup, in bytes.
func memory(pid int, name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s of %d", name, pid)
}

// adoptRow kills the agent and starts it again.
func (a *agent) adoptRow(job string) (row, error) {
	before, err := a.running(job)
	if err != nil {
		return row{}, err
	}
	var took []time.Duration
	for range rounds {
		a.kill9()
		began := time.Now()
		if err := a.start(); err != nil {
			return row{}, err
		}
		took = append(took, time.Since(began))
		after, err := a.running(job)
		if err != nil {
			return row{}, err
		}
		for i, t := range after {
			if t.Pid != before[i].Pid {
				return row{}, fmt.Errorf("task %d is pid %d, was %d", i, t.Pid, before[i].Pid)
			}
		}
	}
	return row{
		what: "killed agent started again: 50 tasks adopted, ready", goal: "<= 150ms", met: median(took) <= 150*time.Millisecond,
		got: median(took).Round(time.Millisecond).String(), beside: "from the start of the process to /readyz, same pids",
	}, nil
}

// idleRow looks at an agent whose tasks sleep.
func (a *agent) idleRow(idle time.Duration) (row, error) {
	pid := a.cmd.Process.Pid
	// After a start the reports and the first heartbeats settle; what is measured is the rest.
	time.Sleep(2 * time.Second)
	cpu, written, err := usage(pid)
	if err != nil {
		return row{}, err
	}
	time.Sleep(idle)
	cpu2, written2, err := usage(pid)
	share := 100 * float64(cpu2-cpu) / float64(idle)
	return row{
		what: fmt.Sprintf("idle for %s, 50 sleeping tasks", idle), goal: "< 0.5 % of a core, no write",
		met: share < 0.5 && written2 == written, got: fmt.Sprintf("%.2f %%, %d bytes", share, written2-written),
		beside: "a heartbeat a second, in this process",
	}, err
}

// usage is the processor time of a process, and the bytes that it made the disk write.
func usage(pid int) (time.Duration, int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	io, err3 := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(io), "\nwrite_bytes: ")
	line, _, _ := strings.Cut(rest, "\n")
	written, err := strconv.ParseInt(line, 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, written, err
}
