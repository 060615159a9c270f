// Package e2e starts the real binary, kills what it is told to kill, and looks at what people and programs see.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"groom/api"
)

// bin is where TestMain builds the product: groom and its examples, as `make build` does.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "groom-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	build := exec.Command("make", "-s", "-C", "../..", "build", "BIN="+dir)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// agent is a running groom, or master.
type agent struct {
	t    *testing.T
	cmd  *exec.Cmd
	data string
	out  *output
	args []string
	env  []string // beside the test's own
	done chan struct{}
}

// output is what a process said so far; it may be looked at while it says more.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs `groom <args> --data DATA` on ports of its own and waits until it is ready.
func start(t *testing.T, data string, args ...string) *agent {
	t.Helper()
	a := &agent{t: t, data: data, args: args}
	a.launch()
	t.Cleanup(func() {
		if a.running() {
			a.cmd.Process.Kill()
			<-a.done
		}
		killAttempts(t, data)
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(args, " "), a.out)
		}
	})
	return a
}

func (a *agent) launch() {
	a.t.Helper()
	os.Remove(filepath.Join(a.data, "ready"))
	a.out = new(output)
	a.cmd = exec.Command(filepath.Join(bin, "groom"), append(a.args, "--data", a.data)...)
	a.cmd.Env = append(os.Environ(), a.env...)
	a.cmd.Stdout, a.cmd.Stderr = a.out, a.out
	a.done = make(chan struct{})
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	cmd, done := a.cmd, a.done
	go func() {
		cmd.Wait()
		close(done)
	}()
	a.await("ready", func() bool {
		if !a.running() {
			a.t.Fatalf("%s ended at once:\n%s", a.args[0], a.out)
		}
		resp, err := http.Get("http://" + a.addr() + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (a *agent) running() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// addr is where the process serves its pages, as it keeps it in its data directory.
func (a *agent) addr() string {
	b, err := os.ReadFile(filepath.Join(a.data, "addrs"))
	if err != nil {
		return "127.0.0.1:1"
	}
	addrs := map[string]string{}
	json.Unmarshal(b, &addrs)
	return addrs["web"]
}

// kill9 ends the process as a power cut of its own would.
func (a *agent) kill9() {
	a.t.Helper()
	a.cmd.Process.Kill()
	<-a.done
}

// await polls the other process until it is as wanted.
func (a *agent) await(what string, ok func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: never so\n%s", what, a.out)
		}
	}
}

// groom runs a CLI verb against the agent and returns what it printed.
func (a *agent) groom(args ...string) string {
	a.t.Helper()
	out, code := a.try(args...)
	if code != 0 {
		a.t.Fatalf("groom %s: exit %d\n%s\nagent:\n%s", strings.Join(args, " "), code, out, a.out)
	}
	return out
}

func (a *agent) try(args ...string) (out string, code int) {
	a.t.Helper()
	cmd := exec.Command(filepath.Join(bin, "groom"), args...)
	cmd.Env = append(os.Environ(), "GROOM_ADDR="+a.addr(), "GROOM_TOKEN_FILE="+filepath.Join(a.data, "token"))
	b, _ := cmd.CombinedOutput()
	return string(b), cmd.ProcessState.ExitCode()
}

// get decodes the JSON twin of a page.
func (a *agent) get(path string, v any) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+a.addr()+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("%s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		a.t.Fatalf("%s: %v", path, err)
	}
}

// metrics is what a collector of metrics is told.
func (a *agent) metrics() string {
	a.t.Helper()
	resp, err := http.Get("http://" + a.addr() + "/metrics")
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// submit hands in a job file and returns its id.
func (a *agent) submit(file string) api.JobID {
	a.t.Helper()
	var s api.Submission
	if err := json.Unmarshal([]byte(a.groom("job", "submit", "--json", file)), &s); err != nil {
		a.t.Fatal(err)
	}
	return s.Job
}

func (a *agent) job(id api.JobID) api.JobDetail {
	a.t.Helper()
	var d api.JobDetail
	a.get("/jobs/"+string(id), &d)
	return d
}

func (a *agent) task(id api.TaskID) api.TaskDetail {
	a.t.Helper()
	var d api.TaskDetail
	a.get("/tasks/"+string(id), &d)
	return d
}

// awaitTasks waits until every task of the job is in the state, and returns them.
func (a *agent) awaitTasks(id api.JobID, state api.TaskState) []api.TaskView {
	a.t.Helper()
	var d api.JobDetail
	a.await(fmt.Sprintf("%s all %s", id, state), func() bool {
		d = a.job(id)
		n := 0
		for _, t := range d.TaskViews {
			if t.State == state {
				n++
			}
		}
		return n == d.Tasks
	})
	return d.TaskViews
}

// write makes a file below the test's own directory.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return fields[0] != "Z" && fields[0] != "X"
}

// attemptsOf lists the pids of living processes that carry a token of an attempt below the data directory, by attempt.
func attemptsOf(data string) map[string][]int {
	found := map[string][]int{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !alive(pid) {
			continue
		}
		var attempt string
		ours := false
		for v := range strings.SplitSeq(string(env), "\x00") {
			if id, ok := strings.CutPrefix(v, api.EnvAttempt+"="); ok {
				attempt = id
			}
			if sock, ok := strings.CutPrefix(v, api.EnvSocket+"="); ok {
				ours = strings.HasPrefix(sock, data) || linksTo(filepath.Dir(sock), data)
			}
		}
		if ours && attempt != "" {
			found[attempt] = append(found[attempt], pid)
		}
	}
	return found
}

func linksTo(link, data string) bool {
	target, err := os.Readlink(link)
	return err == nil && target == data
}

// killAttempts ends what a test left running: only processes that carry the environment of this data directory. It waits
// until their shims have written what there is to write, and removes the control groups that nobody will come back for.
func killAttempts(t *testing.T, data string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, pids := range attemptsOf(data) {
			for _, pid := range pids {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if !shimsOf(data) {
			break
		}
	}
	id, err := os.ReadFile(filepath.Join(data, "id"))
	if err != nil {
		return
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/groom-" + strings.TrimSpace(string(id)))
	for _, group := range groups {
		attempts, _ := filepath.Glob(filepath.Join(group, "attempt_*"))
		for _, dir := range append(attempts, group) {
			_ = syscall.Rmdir(dir) // one that is in use stays
		}
	}
}

// shimsOf says whether any shim of the data directory lives.
func shimsOf(data string) bool {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		env, err := os.ReadFile("/proc/" + d.Name() + "/environ")
		if err == nil && bytes.Contains(env, []byte("GROOM_SHIM="+data)) {
			return true
		}
	}
	return false
}

// ports lets a test's agent choose its own.
var ports = []string{"--web-addr", "127.0.0.1:0", "--worker-addr", "127.0.0.1:0", "--report-addr", "127.0.0.1:0"}

func agentArgs(more ...string) []string {
	return append(append([]string{"agent"}, ports...), more...)
}

// background starts a verb that stays.
func background(t *testing.T, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "groom"), args...)
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	data := ""
	for i, arg := range args {
		if arg == "--data" {
			data = args[i+1]
		}
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		killAttempts(t, data)
	})
	return cmd, out
}

// offline runs a verb on a data directory that no process holds.
func offline(t *testing.T, data string, args ...string) string {
	t.Helper()
	b, err := exec.Command(filepath.Join(bin, "groom"), append(args, "--data", data)...).CombinedOutput()
	if err != nil {
		t.Fatalf("groom %s: %v\n%s", strings.Join(args, " "), err, b)
	}
	return string(b)
}

// kept is where the servers of a data directory listen.
func kept(t *testing.T, data string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, "addrs"))
	if err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{}
	if err := json.Unmarshal(b, &addrs); err != nil {
		t.Fatal(err)
	}
	return addrs
}

// build makes a program of one Go file.
func build(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.Command("go", "build", "-o", program, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return program
}
