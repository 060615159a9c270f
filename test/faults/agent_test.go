// Package faults breaks what the whole agent stands on, one thing at a time (its own life, its shims', system calls,
// disks, the host), and holds what the next start makes of it against marks that the tasks left on disk.
package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"groom/api"
	"groom/server/home"
	"groom/wire"
)

// bin is where TestMain builds the product and the tools of this package.
var bin string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "groom-faults")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags", "-X main.build=first", "-o", dir + "/groom", "../.."},
		{"build", "-trimpath", "-o", dir + "/pi", "../../examples/pi"},
		{"build", "-trimpath", "-o", dir + "/cut", "./cut"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build:", err)
			return 1
		}
	}
	return m.Run()
}

// patience bounds every wait for another process. It is long, because a wait that is over early costs nothing.
const patience = 60 * time.Second

// agent is one life of a groom with a master of its own.
type agent struct {
	data string
	log  string // what it said
	cmd  *exec.Cmd
	done chan struct{}
}

// launch starts a life. wrap is put before the command line, env beside the test's own environment.
func launch(data string, wrap, env, args []string) (*agent, error) {
	line := append(append([]string{}, wrap...), filepath.Join(bin, "groom"), "agent", "--data", data,
		"--web-addr", "127.0.0.1:0", "--worker-addr", "127.0.0.1:0", "--report-addr", "127.0.0.1:0")
	line = append(line, args...)
	out, err := os.CreateTemp(filepath.Dir(data), "agent-*.log")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	a := &agent{data: data, log: out.Name(), cmd: exec.Command(line[0], line[1:]...), done: make(chan struct{})}
	a.cmd.Env = append(os.Environ(), env...)
	a.cmd.Stdout, a.cmd.Stderr = out, out
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = a.cmd.Wait() // how it ended is looked at by ended
		close(a.done)
	}()
	return a, nil
}

func (a *agent) running() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// killed says whether the life has ended by SIGKILL.
func (a *agent) killed() bool {
	if a.running() {
		return false
	}
	status := a.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == syscall.SIGKILL || status.ExitStatus() == 128+int(syscall.SIGKILL)
}

// kill9 ends the life as a power cut of its own would.
func (a *agent) kill9() {
	_ = a.cmd.Process.Kill()
	<-a.done
}

// client asks the agent's own pages. It is made anew for each question, since the port is known only once it listens.
func (a *agent) client() *wire.Client {
	token, _ := os.ReadFile(filepath.Join(a.data, "token"))
	addr := home.ReadAddrs(a.data)["web"]
	if addr == "" {
		addr = "127.0.0.1:1"
	}
	return &wire.Client{Base: "http://" + addr, Token: strings.TrimSpace(string(token)), HTTP: &http.Client{Timeout: 10 * time.Second}}
}

func (a *agent) get(path string, v any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return a.client().Get(ctx, path, v)
}

func (a *agent) post(path string, message, v any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return a.client().Post(ctx, path, message, v)
}

var errDead = errors.New("the agent is dead")

// await polls until ok, or the agent has died, or patience is over.
func (a *agent) await(what string, ok func() bool) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if !a.running() {
			return errDead
		}
		if ok() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: never so", what)
		}
	}
}

func (a *agent) ready() error {
	return a.await("ready", func() bool {
		resp, err := a.client().HTTP.Get(a.client().Base + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// submit hands the job in under one request id, so that it is one job however often it is handed in.
func (a *agent) submit(request string, spec api.JobSpec) (api.JobID, error) {
	var s api.Submission
	err := a.post("/jobs", api.SubmitRequest{Version: api.Version, Request: request, Spec: spec}, &s)
	return s.Job, err
}
