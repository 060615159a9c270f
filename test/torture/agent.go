package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"groom/wire"
)

// slots is how many tasks the groom takes at once.
const slots = 8

// patience bounds what should take a moment: a start, an answer, the end of everything.
const patience = 60 * time.Second

// agent is the groom under torture: the real binary, with a master of its own, on ports of its own.
type agent struct {
	bin, data string
	log       *os.File
	reaper    *reaper
	host      *host
	http      *http.Client

	mu  sync.Mutex // guards cur
	cur *child
}

func newAgent(bin, dir, data string, r *reaper, h *host) (*agent, error) {
	log, err := os.OpenFile(filepath.Join(dir, "groom.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &agent{
		bin: bin, data: data, log: log, reaper: r, host: h,
		// No connection outlives its question: the next one may go to another process.
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}, nil
}

// start starts the groom, and does not wait for it. A point arms a place at which it dies by itself.
func (a *agent) start(point string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cur != nil && !a.cur.ended() {
		return nil
	}
	env := os.Environ()
	if point != "" {
		env = append(env, "GROOM_FAILPOINT="+point)
	}
	argv := []string{
		filepath.Join(a.bin, "groom"), "agent", "--data", a.data, "--max-tasks", fmt.Sprint(slots), "--name", "tortured",
		"--web-addr", "127.0.0.1:0", "--worker-addr", "127.0.0.1:0", "--report-addr", "127.0.0.1:0",
	}
	fmt.Fprintf(a.log, "torture: start, armed with %q\n", point)
	var err error
	a.cur, err = a.host.start(a.reaper, a.log, env, argv...)
	return err
}

// kill9 ends the groom, as nothing it could prepare for.
func (a *agent) kill9() {
	a.mu.Lock()
	c := a.cur
	a.mu.Unlock()
	if c != nil {
		a.reaper.signal(c, syscall.SIGKILL)
		<-c.done
	}
}

func (a *agent) send(sig syscall.Signal) {
	a.mu.Lock()
	c := a.cur
	a.mu.Unlock()
	if c != nil {
		a.reaper.signal(c, sig)
	}
}

// died says whether the groom ended by itself or by a point within the time.
func (a *agent) died(within time.Duration) bool {
	a.mu.Lock()
	c := a.cur
	a.mu.Unlock()
	select {
	case <-c.done:
		return true
	case <-time.After(within):
		return false
	}
}

var errGone = errors.New("the groom ended by itself")

// ready waits until the groom serves. One that ends by itself, or takes for ever, is a finding.
func (a *agent) ready() error {
	a.mu.Lock()
	c := a.cur
	a.mu.Unlock()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c.ended() {
			return errGone
		}
		resp, err := a.http.Get(a.base() + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the groom is not ready after %s", patience)
}

func (a *agent) base() string {
	addrs := map[string]string{}
	if b, err := os.ReadFile(filepath.Join(a.data, "addrs")); err == nil {
		_ = json.Unmarshal(b, &addrs) // half a file is read again
	}
	if addrs["web"] == "" {
		addrs["web"] = "127.0.0.1:1"
	}
	return "http://" + addrs["web"]
}

func (a *agent) client() *wire.Client {
	token, _ := os.ReadFile(filepath.Join(a.data, "token")) // without one the groom refuses, and it is tried again
	return &wire.Client{Base: a.base(), Token: strings.TrimSpace(string(token)), HTTP: a.http}
}

func (a *agent) get(path string, v any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return a.client().Get(ctx, path, v)
}

func (a *agent) post(path string, message, reply any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return a.client().Post(ctx, path, message, reply)
}
