package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"groom/api"
)

// agent is a groom with a master of its own, started from the built binary.
type agent struct {
	bin, data, spec string
	of              string // data directory of its master
	tasks           int
	masters         []string // flags that name masters in other processes
	call            *call
	cmd             *exec.Cmd
	job             string
}

var _ contender = (*agent)(nil)

func newAgent(bin, dir string, tasks int, c *call) (*agent, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	a := &agent{bin: bin, data: filepath.Join(dir, "agent"), spec: filepath.Join(dir, "crowd.yaml"), tasks: tasks, call: c}
	a.of = a.data
	if err := os.MkdirAll(a.data, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("name: crowd\ntype: plain\ntasks: %d\ncommand: [sh, -c, %q]\n", tasks, c.script())
	return a, os.WriteFile(a.spec, []byte(text), 0o600)
}

func (a *agent) name() string { return "groom" }

func (a *agent) version() string { return "of this tree" }

func (a *agent) up() error {
	return a.run("agent", append([]string{
		"--max-tasks", strconv.Itoa(a.tasks), "--web-addr", "127.0.0.1:0", "--worker-addr", "127.0.0.1:0", "--report-addr", "127.0.0.1:0",
	}, a.masters...)...)
}

// run starts a process of groom that stays, and waits until it is ready.
func (a *agent) run(verb string, args ...string) error {
	a.cmd = exec.Command(filepath.Join(a.bin, "groom"), append([]string{verb, "--data", a.data}, args...)...)
	log, err := os.Create(a.data + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		return err
	}
	return await(verb+" is ready", func() bool {
		resp, err := http.Get(a.url("/readyz"))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (a *agent) gather() error {
	var err error
	a.job, err = a.groom("job", "submit", a.spec)
	return err
}

func (a *agent) agent() int { return a.cmd.Process.Pid }

func (a *agent) kill() { kill9(a.cmd) }

// helpers are the shims, as the pages tell them.
func (a *agent) helpers() ([]int, error) {
	tasks, err := a.running()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, t := range tasks {
		var d api.TaskDetail
		if err := a.get("/tasks/"+string(t.ID), &d); err != nil {
			return nil, err
		}
		pids = append(pids, d.Attempts[len(d.Attempts)-1].ShimPid)
	}
	return pids, nil
}

// again is over when the groom is ready, and its recovery report says that every task was adopted.
func (a *agent) again() error {
	if err := a.up(); err != nil {
		return err
	}
	var reports []api.RecoveryReport
	if err := a.get("/recoveries", &reports); err != nil {
		return err
	}
	found := map[api.Finding]int{}
	maps.Copy(found, reports[0].Omitted)
	for _, r := range reports[0].Found {
		found[r.Finding]++
	}
	if found[api.FoundAlive] != a.tasks {
		return fmt.Errorf("of %d tasks: %v", a.tasks, found)
	}
	return nil
}

func (a *agent) down() error {
	if a.job != "" {
		if _, err := a.groom("job", "kill", a.job); err != nil {
			return err
		}
		err := await("job is killed", func() bool {
			var d api.JobDetail
			return a.get("/jobs/"+a.job, &d) == nil && d.State.Terminal()
		})
		if err != nil {
			return err
		}
		a.job = ""
	}
	a.kill()
	return a.call.dismiss()
}

func (a *agent) url(path string) string { return "http://" + a.addrs()["web"] + path }

// addrs is where the process listens, as it keeps it in its data directory.
func (a *agent) addrs() map[string]string {
	addrs := map[string]string{}
	if b, err := os.ReadFile(filepath.Join(a.data, "addrs")); err == nil {
		_ = json.Unmarshal(b, &addrs) // half a file is read again
	}
	return addrs
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
	out, err := exec.Command(filepath.Join(a.bin, "groom"), append(args, "--data", a.of)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("groom %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// running is the tasks of the job once all of them run, as the pages show them.
func (a *agent) running() ([]api.TaskView, error) {
	var d api.JobDetail
	var failed error
	err := await("all tasks run", func() bool {
		failed = a.get("/jobs/"+a.job, &d)
		return failed != nil || d.ByState[api.TaskRunning] == a.tasks
	})
	if failed != nil {
		return nil, failed
	}
	return d.TaskViews, err
}

// idleRows looks at an agent whose tasks sleep.
func idleRows(bin, dir string, idle time.Duration) (rows []row, err error) {
	roll, err := newCall(dir)
	if err != nil {
		return nil, err
	}
	a, err := newAgent(bin, dir, crowd, roll)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := a.down(); err == nil {
			err = e
		}
	}()
	if err := a.up(); err != nil {
		return nil, err
	}
	if err := a.gather(); err != nil {
		return nil, err
	}
	if _, err := roll.hear(crowd); err != nil {
		return nil, err
	}
	// After a start the reports and the first heartbeats settle; what is measured is the rest.
	time.Sleep(settled)
	cpu, written, err := usage(a.agent())
	if err != nil {
		return nil, err
	}
	time.Sleep(idle)
	cpu2, written2, err := usage(a.agent())
	share := 100 * float64(cpu2-cpu) / float64(idle)
	return []row{{
		what: fmt.Sprintf("idle for %s, 50 sleeping tasks", idle), goal: "< 0.5 % of a core, no write",
		met: share < 0.5 && written2 == written, got: fmt.Sprintf("%.2f %%, %d bytes", share, written2-written),
		beside: "a heartbeat a second, in this process",
	}}, err
}
