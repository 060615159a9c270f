package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"groom/api"
	"groom/server/home"
	"groom/wire"
)

// patience bounds every wait for another process. It is long, because a wait that is over early costs nothing.
const patience = 60 * time.Second

// life says how the next agent is started.
type life struct {
	verb string   // "" for an agent with a master of its own
	exe  string   // "" for the groom that was built
	wrap []string // put before the command line
	env  []string // beside the test's own
	args []string // after those of every life
	uid  uint32   // whose it is
}

// agent is one life of a groom with a master of its own, or of whatever else the verb says.
type agent struct {
	data string
	log  string // what it said
	cmd  *exec.Cmd
	done chan struct{}
}

// launch starts a life.
func launch(data string, l life) (*agent, error) {
	if l.exe == "" {
		l.exe = filepath.Join(bin, "groom")
	}
	line := append(slices.Clone(l.wrap), l.exe)
	if l.verb == "" {
		line = append(line, "agent", "--worker-addr", "127.0.0.1:0", "--report-addr", "127.0.0.1:0")
	} else {
		line = append(line, l.verb)
	}
	line = append(append(line, "--data", data, "--web-addr", "127.0.0.1:0"), l.args...)
	out, err := os.CreateTemp(filepath.Dir(data), "agent-*.log")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	a := &agent{data: data, log: out.Name(), cmd: exec.Command(line[0], line[1:]...), done: make(chan struct{})}
	a.cmd.Env = append(os.Environ(), l.env...)
	if l.uid > 0 {
		a.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: l.uid, Gid: l.uid}}
	}
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

// groom runs a verb of the command line against the agent.
func (a *agent) groom(args ...string) string {
	cmd := exec.Command(filepath.Join(bin, "groom"), append(args, "--data", a.data)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v", out, err)
	}
	return string(out)
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
