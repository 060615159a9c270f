package bsp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"groom/api"
	"groom/wire"
)

const (
	// askWithin bounds one request. The journal may have to sync, and the host to wake up.
	askWithin = 5 * time.Second
	// pingWithin bounds a ping: a late one is worth less than the next one.
	pingWithin = 2 * time.Second
	// silence is how long a peer of a job that spans grooms goes on without a word of its groom. Then the groom may be
	// cut off, its lease (15 s) about to end, and the peer's task about to be given to another groom; with the last
	// ping under way the peer has ended before that. A job on one groom has nowhere to go: its peers wait for ever.
	silence = 10 * time.Second
	// listenEvery bounds the pause between two pings of a job that spans grooms, so that silence is noticed.
	listenEvery = time.Second
	// reportWithin bounds the telling of a failure. How the process ends is recorded anyway.
	reportWithin = 5 * time.Second
)

// ErrNoGroom is returned when a program was not started by a groom.
var ErrNoGroom = errors.New("not started by a groom")

// agent is the groom as its task sees it.
type agent struct {
	client  wire.Client
	network string
	addr    string
	born    time.Time
	touched atomic.Int64 // when it was heard of, in nanoseconds since born
}

// newAgent reads from the environment where the groom is.
func newAgent(env func(string) string) (*agent, error) {
	a := &agent{network: "unix", addr: env(api.EnvSocket), born: time.Now()}
	base := "http://localhost"
	if a.addr == "" {
		a.network, a.addr = "tcp", env(api.EnvReport)
		base = "http://" + a.addr
	}
	token := env(api.EnvToken)
	if a.addr == "" || token == "" {
		return nil, fmt.Errorf("%w: %s and %s are not set; run it as the command of a job (groom run JOB.yaml)",
			ErrNoGroom, api.EnvSocket, api.EnvToken)
	}
	a.client = wire.Client{Base: base, Token: token, HTTP: &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) },
		MaxIdleConnsPerHost: 2,
	}}}
	return a, nil
}

func (a *agent) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: askWithin}
	return d.DialContext(ctx, a.network, a.addr)
}

func (a *agent) close() { a.client.HTTP.CloseIdleConnections() }

// touch notes that the groom was heard of.
func (a *agent) touch() { a.touched.Store(int64(time.Since(a.born))) }

// silent is for how long it was not.
func (a *agent) silent() time.Duration { return time.Since(a.born) - time.Duration(a.touched.Load()) }

// insist asks until the groom answers: it may be away, or just starting and not yet know its tasks again.
func (a *agent) insist(ctx context.Context, ask func(context.Context) error) error {
	pause := firstPause
	for {
		try, cancel := context.WithTimeout(ctx, askWithin)
		err := ask(try)
		cancel()
		problem, answered := errors.AsType[*api.Problem](err)
		if err == nil || answered {
			a.touch()
		}
		switch {
		case err == nil:
			return nil
		case answered && problem.Code == api.CodeForbidden:
			return fmt.Errorf("%w: %s", ErrRolledBack, problem.Detail)
		case answered && problem.Code != api.CodeToken && problem.Code != api.CodeUnavailable && problem.Code != api.CodeInternal:
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, lastPause)
	}
}

func (a *agent) task(ctx context.Context) (info api.TaskInfo, err error) {
	err = a.insist(ctx, func(ctx context.Context) error { return a.client.Get(ctx, "/v1/task", &info) })
	if err == nil && (info.Version > api.Version || info.Version < api.Version-1) {
		err = fmt.Errorf("the groom speaks version %d, this program %d", info.Version, api.Version)
	}
	if err != nil {
		return info, fmt.Errorf("get task: %w", err)
	}
	return info, nil
}

// done returns once the groom's journal holds it: whatever dies next, this attempt counts as done.
func (a *agent) done(ctx context.Context) error {
	err := a.insist(ctx, func(ctx context.Context) error {
		return a.client.Post(ctx, "/v1/done", api.DoneMessage{Version: api.Version}, nil)
	})
	if err != nil {
		return fmt.Errorf("report done: %w", err)
	}
	return nil
}

// fail tells the groom why this attempt is about to end, if it can be told soon.
func (a *agent) fail(cause error, stack string) error {
	ctx, cancel := context.WithTimeout(context.Background(), reportWithin)
	defer cancel()
	m := api.FailMessage{Version: api.Version, Kind: api.FailFatal, Reason: clip(cause.Error()), Stack: clip(stack)}
	if _, ok := errors.AsType[*fs.PathError](cause); ok {
		m.Kind = api.FailFileSystem
	} else if _, ok := errors.AsType[*os.LinkError](cause); ok {
		m.Kind = api.FailFileSystem
	}
	err := a.insist(ctx, func(ctx context.Context) error { return a.client.Post(ctx, "/v1/fail", m, nil) })
	if err != nil {
		return fmt.Errorf("report failure: %w", err)
	}
	return nil
}

// clip keeps a text within what a journal entry takes.
func clip(s string) string {
	const most = 16 << 10
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// ping tells the groom that the peer lives, for as long as it does. A groom that does not answer is away, or starting.
func (p *Peer) ping() {
	for {
		ctx, cancel := context.WithTimeout(p.life, pingWithin)
		err := p.agent.client.Post(ctx, "/v1/ping", p.pulse(), nil)
		cancel()
		problem, answered := errors.AsType[*api.Problem](err)
		if err == nil || answered {
			p.agent.touch()
		}
		pause := time.Duration(p.info.Ping.Period)
		if pause <= 0 {
			pause = listenEvery
		}
		switch {
		case answered && problem.Code == api.CodeForbidden:
			p.die(fmt.Errorf("%w: %s", ErrRolledBack, problem.Detail))
		case p.spans.Load() && p.agent.silent() > silence:
			p.die(fmt.Errorf("%w for %v", ErrSilence, p.agent.silent().Round(time.Second)))
		case p.spans.Load():
			pause = min(pause, listenEvery)
		}
		select {
		case <-p.life.Done():
			return
		case <-time.After(pause):
		}
	}
}
