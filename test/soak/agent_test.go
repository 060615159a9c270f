package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"
)

// agent is a running groom with its master.
type agent struct {
	t    *testing.T
	data string
	cmd  *exec.Cmd
}

func start(t *testing.T, places int) *agent {
	t.Helper()
	a := &agent{t: t, data: t.TempDir()}
	a.cmd = exec.Command(bin, "agent", "--data", a.data, "--max-tasks", strconv.Itoa(places), "--stop-tasks",
		"--web-addr", "127.0.0.1:0", "--worker-addr", "127.0.0.1:0", "--report-addr", "127.0.0.1:0")
	log, err := os.Create(filepath.Join(t.ArtifactDir(), "groom.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.cmd.Process.Signal(os.Interrupt) // it stops its tasks
		if err := a.cmd.Wait(); err != nil {
			t.Errorf("end of the groom: %v", err)
		}
	})
	a.await("ready", func() bool {
		resp, err := http.Get(a.url("/readyz"))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return a
}

func (a *agent) url(path string) string {
	addrs := map[string]string{}
	if b, err := os.ReadFile(filepath.Join(a.data, "addrs")); err == nil {
		_ = json.Unmarshal(b, &addrs) // half a file is read again
	}
	return "http://" + addrs["web"] + path
}

// await polls the other process until it is as wanted.
func (a *agent) await(what string, ok func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("never so: %s", what)
		}
	}
}

func (a *agent) get(path string, v any) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, a.url(path), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("%s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		a.t.Fatalf("%s: %v", path, err)
	}
}

func (a *agent) submit(spec string) api.JobID {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "job.yaml")
	if err := os.WriteFile(file, []byte(spec), 0o600); err != nil {
		a.t.Fatal(err)
	}
	out, err := exec.Command(bin, "job", "submit", "--data", a.data, file).CombinedOutput()
	if err != nil {
		a.t.Fatalf("submit: %v: %s", err, out)
	}
	return api.JobID(strings.TrimSpace(string(out)))
}

func (a *agent) awaitState(id api.JobID, want api.JobState) {
	a.t.Helper()
	a.await(fmt.Sprintf("%s is %s", id, want), func() bool {
		var all []api.JobView // of the list, since a job's own page reads its history
		a.get("/jobs", &all)
		for _, j := range all {
			if j.ID == id {
				if j.State.Terminal() && j.State != want {
					a.t.Fatalf("%s is %s", id, j.State)
				}
				return j.State == want
			}
		}
		return false
	})
}

// sample is what could grow.
type sample struct {
	descriptors, threads, goroutines, zombies, children, rows, dirs, anonymous int64
}

func (s sample) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d goroutines, %d zombies, %d children, %d rows, %d directories, %.1f MB",
		s.descriptors, s.threads, s.goroutines, s.zombies, s.children, s.rows, s.dirs, float64(s.anonymous)/1e6)
}

// sample looks at the groom once it has forgotten every short job, and has nothing left to do.
func (a *agent) sample() (s sample) {
	a.t.Helper()
	http.DefaultClient.CloseIdleConnections() // the groom's side of them are descriptors and goroutines
	a.await("ended jobs are forgotten, their directories removed", func() bool {
		s.dirs = a.dirs()
		return s.dirs == sleepers && a.table("groom", "outbox") == 0 && a.table("groom", "jobs") == 1 && a.table("master", "jobs") == 1
	})
	s.rows = a.rows()
	pid := a.cmd.Process.Pid
	s.descriptors = entries(a.t, fmt.Sprintf("/proc/%d/fd", pid))
	s.threads = entries(a.t, fmt.Sprintf("/proc/%d/task", pid))
	s.goroutines = a.metric("go_goroutines")
	s.children, s.zombies = children(pid)
	s.anonymous = anonymous(a.t, pid)
	return s
}

// windowed tables keep a bounded number of rows of what was seen.
var windowed = map[string]bool{"directives": true, "incarnations": true}

// rows counts those of the groom and its master that are not bounded by a window.
func (a *agent) rows() (n int64) {
	for _, of := range []string{"groom", "master"} {
		for name, rows := range a.tables(of) {
			if !windowed[name] {
				n += int64(len(rows))
			}
		}
	}
	return n
}

func (a *agent) table(of, name string) int { return len(a.tables(of)[name]) }

func (a *agent) tables(of string) map[string]map[string]json.RawMessage {
	a.t.Helper()
	tables := map[string]map[string]json.RawMessage{}
	a.get("/state?of="+of, &tables)
	return tables
}

// dirs counts attempt directories.
func (a *agent) dirs() int64 {
	a.t.Helper()
	found, err := filepath.Glob(filepath.Join(a.data, "local", "groom-*", "attempts", "*"))
	if err != nil {
		a.t.Fatal(err)
	}
	return int64(len(found))
}

// metric is the value of one without labels.
func (a *agent) metric(name string) int64 {
	a.t.Helper()
	resp, err := http.Get(a.url("/metrics"))
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				a.t.Fatal(err)
			}
			return int64(f)
		}
	}
	a.t.Fatalf("no metric %s", name)
	return 0
}

func entries(t *testing.T, dir string) int64 {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(found))
}

// children counts the processes whose parent is this one, and those of them that nobody has waited for.
func children(parent int) (all, zombies int64) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		// The name before the last parenthesis may hold anything.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if fields[1] != strconv.Itoa(parent) {
			continue
		}
		all++
		if fields[0] == "Z" {
			zombies++
		}
	}
	return all, zombies
}

func anonymous(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Anonymous:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no anonymous memory")
	return 0
}
