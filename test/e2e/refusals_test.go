package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
)

// What a person gets wrong is told in words with a hint, and loses nothing.
func TestWrongCommandLines(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := write(t, "good.yaml", threeSleepers)
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"unknown verb", []string{"runn"}, 2, []string{`unknown command "runn"`, "hint: groom --help"}},
		{"unknown flag", []string{"agent", "--dada", "x"}, 2, []string{"unknown flag: --dada", "hint: groom agent --help"}},
		{"missing argument", []string{"run"}, 2, []string{"hint: groom run --help"}},
		{"no such file", []string{"run", "nowhere.yaml"}, 1, []string{"nowhere.yaml", "no such file"}},
		{
			"unknown field",
			[]string{"job", "validate", write(t, "a.yaml", "name: a\ntype: plain\ntask: 1\ncommand: [true]\n")},
			2,
			[]string{`:3:1: unknown field "task"; did you mean "tasks"?`, "docs/job.md"},
		},
		{
			"wrong type",
			[]string{"run", write(t, "b.yaml", "name: b\ntype: plain\ntasks: many\ncommand: [sleep, \"1\"]\n")},
			2,
			[]string{`:3:8: tasks: want a whole number, found "many"`},
		},
		{
			"0 tasks",
			[]string{"run", write(t, "c.yaml", "name: c\ntype: plain\ntasks: 0\ncommand: [sleep, \"1\"]\n")},
			2,
			[]string{"tasks: want a number from 1 to", "found 0"},
		},
		{
			"a port that is taken", append(agentArgs("--data", t.TempDir()), "--web-addr", taken.Addr().String()),
			1,
			[]string{"address already in use", "-addr flags"},
		},
		{
			"an address that others reach", append(agentArgs("--data", t.TempDir()), "--web-addr", "0.0.0.0:0"),
			1,
			[]string{"without TLS", "--insecure"},
		},
		{"nobody answers", []string{"job", "list", "--addr", "127.0.0.1:1"}, 3, []string{"connection refused", "groom agent"}},
		{"no journal", []string{"journal", "ls", "--data", t.TempDir()}, 1, []string{"holds no journal"}},
		{"no such directory", []string{"journal", "ls", "--data", "/nowhere/at/all"}, 1, []string{"no such file"}},
		{"masters without a token", agentArgs("--data", t.TempDir(), "--masters", "127.0.0.1:1"), 2, []string{"--master-token-file"}},
		{"data directory that is a file", []string{"run", "--data", good, good}, 1, []string{"data directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "groom"), c.args...)
			b, _ := cmd.CombinedOutput() // its status is what is asked for
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(string(b), want) {
					t.Errorf("does not say %q:\n%s", want, b)
				}
			}
		})
	}
}

// in runs a shell script in a mount namespace of its own, where it may make file systems.
func in(t *testing.T, script string, args ...string) (string, int) {
	t.Helper()
	flags := "-m"
	if os.Geteuid() != 0 {
		flags = "-Urm"
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{flags, "sh", "-ec", script, "sh"}, args...)...)
	b, _ := cmd.CombinedOutput()
	return string(b), cmd.ProcessState.ExitCode()
}

func TestDataDirectoryReadOnlyOrFull(t *testing.T) {
	groom, file, dir := filepath.Join(bin, "groom"), write(t, "job.yaml", threeSleepers), t.TempDir()
	out, code := in(t, `mount -t tmpfs -o ro none "$1"; exec "$2" run --data "$1/data" "$3"`, dir, groom, file)
	if code != 1 || !strings.Contains(out, "read-only file system") || !strings.Contains(out, "hint: ") {
		t.Errorf("read-only: exit %d:\n%s", code, out)
	}
	out, code = in(t, `mount -t tmpfs -o size=1m none "$1"; exec "$2" run --data "$1/data" "$3"`, dir, groom, file)
	if code != 1 || !strings.Contains(out, "room") || !strings.Contains(out, "hint: ") {
		t.Errorf("full: exit %d:\n%s", code, out)
	}
}

// A journal that was altered or cut is told, by the entry where that can be known, and is left as it is.
func TestJournalAlteredOrCut(t *testing.T) {
	for _, c := range []struct {
		name  string
		harm  func(t *testing.T, path string)
		words string
	}{
		{"altered", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			i := bytes.LastIndex(b, []byte(`"name":"sleepers"`))
			if i < 0 {
				t.Fatal("the journal does not name the job")
			}
			for i >= 0 { // every copy: the store leaves old pages behind
				b[i+8] = 'S'
				i = bytes.LastIndex(b[:i], []byte(`"name":"sleepers"`))
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "entry "},
		{"cut", func(t *testing.T, path string) {
			if err := os.Truncate(path, 8<<10); err != nil {
				t.Fatal(err)
			}
		}, "journal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := start(t, t.TempDir(), agentArgs()...)
			a.awaitTasks(a.submit(write(t, "job.yaml", threeSleepers)), api.TaskRunning)
			a.kill9()
			path := filepath.Join(a.data, "groom", "raft.db")
			c.harm(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out, code := a.try(append(agentArgs(), "--data", a.data)...)
			if code != 1 || !strings.Contains(out, c.words) || !strings.Contains(out, "hint: ") {
				t.Errorf("exit %d:\n%s", code, out)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the journal was written to")
			}
			if out, _ := atFiles(a.data, "journal", "info"); strings.Contains(out[:strings.Index(out, "journal of the master")], "health    ok") {
				t.Errorf("it is told as sound:\n%s", out)
			}
			if out, _ := atFiles(a.data, "journal", "rebuild"); strings.Contains(out, "can be read") {
				t.Errorf("it is told as sound:\n%s", out)
			}
			if n := len(attemptsOf(a.data)); n != 3 {
				t.Errorf("%d tasks live, want all 3", n)
			}
		})
	}
}

// What changes something needs the token, from this origin, in bounds, in a version that is known.
func TestRefusedRequests(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", threeSleepers))
	tasks := a.awaitTasks(id, api.TaskRunning)
	token, err := os.ReadFile(filepath.Join(a.data, "token"))
	if err != nil {
		t.Fatal(err)
	}
	addrs := kept(t, a.data)
	own, other := environ(t, tasks[0].Pid), environ(t, tasks[1].Pid)
	good := "Bearer " + strings.TrimSpace(string(token))
	kill := "http://" + addrs["web"] + "/jobs/" + string(id) + "/kill"
	ping := "http://" + addrs["report"] + "/v1/ping"
	huge := `{"version":1,"reason":"` + strings.Repeat("x", 8<<20) + `"}`
	for _, c := range []struct {
		name, url, token, body string
		more                   map[string]string
		code                   int
	}{
		{"no token", kill, "", `{"version":1}`, nil, 401},
		{"wrong token", kill, "Bearer 0123", `{"version":1}`, nil, 401},
		{"another origin", kill, good, `{"version":1}`, map[string]string{"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, 403},
		{"another host name", kill, good, `{"version":1}`, map[string]string{"Host": "evil.example"}, 403},
		{"body beyond the limit", kill, good, huge, nil, 413},
		{"unknown version", kill, good, `{"version":99}`, nil, 426},
		{"report without token", ping, "", `{"version":1}`, nil, 401},
		{"report with a wrong token", ping, "Bearer 0123", `{"version":1}`, nil, 401},
		{"report with the agent's token", ping, good, `{"version":1}`, nil, 401},
		{"report for another attempt", ping, "Bearer " + own[api.EnvToken], `{"version":1}`, map[string]string{"Groom-Attempt": other[api.EnvAttempt]}, 403},
		{"report of an unknown version", ping, "Bearer " + own[api.EnvToken], `{"version":99}`, nil, 426},
		{"report beyond the limit", ping, "Bearer " + own[api.EnvToken], huge, nil, 413},
		{"counters beyond the limit", ping, "Bearer " + own[api.EnvToken], `{"version":1,"counters":{"<<":1}}`, nil, 400},
		{"report as it should be", ping, "Bearer " + own[api.EnvToken], `{"version":1}`, nil, 204},
		{"directive without the worker's token", "http://" + addrs["worker"] + "/v1/directives", good, `{"version":1}`, nil, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.token != "" {
				req.Header.Set("Authorization", c.token)
			}
			req.Header.Set("Content-Type", "application/json")
			for k, v := range c.more {
				req.Header.Set(k, v)
			}
			if host := c.more["Host"]; host != "" {
				req.Host = host
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.code {
				t.Errorf("%s, want %d: %s", resp.Status, c.code, body)
			}
		})
	}
	for path := range map[string]bool{"/jobs/" + string(id) + "/kill": true, "/tasks/" + string(tasks[0].ID) + "/stop": true} {
		resp, err := http.Get("http://" + addrs["web"] + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
	}
	for i, task := range a.awaitTasks(id, api.TaskRunning) {
		if task.Pid != tasks[i].Pid {
			t.Errorf("task %d is pid %d, was %d: a refused request had an effect", i, task.Pid, tasks[i].Pid)
		}
	}
}

// environ is the environment of a process.
func environ(t *testing.T, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for v := range strings.SplitSeq(string(b), "\x00") {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return env
}
