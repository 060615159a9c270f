package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// throng is the number of tasks of a large groom, whose master is in another process.
const throng = 1000

// starts is how often the large groom is killed and started again.
const starts = 5

// watched is how long the heartbeats are watched at a time.
const watched = 10 * time.Second

// beats passes on what a groom sends to its master, and notes when a heartbeat arrives.
type beats struct {
	addr   string
	server *http.Server

	mu sync.Mutex
	at []time.Time
}

func newBeats(master string) (*beats, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	on := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: master})
	on.ErrorLog = log.New(io.Discard, "", 0) // a groom that is killed in the middle of one is what is measured
	b := &beats{addr: l.Addr().String()}
	b.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/heartbeat" {
			b.mu.Lock()
			b.at = append(b.at, time.Now())
			b.mu.Unlock()
		}
		on.ServeHTTP(w, r)
	})}
	go func() { _ = b.server.Serve(l) }() // until it is closed
	return b, nil
}

// gap is the longest time without a heartbeat between two moments, and the first one after the first moment.
func (b *beats) gap(from, to time.Time) (longest, first time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := from
	for _, at := range append(slices.Clone(b.at), to) {
		if at.Before(from) || at.After(to) {
			continue
		}
		if last.Equal(from) {
			first = at.Sub(from)
		}
		longest, last = max(longest, at.Sub(last)), at
	}
	return longest, first
}

// thousandRows measures a groom with many tasks.
func thousandRows(bin, dir string) (rows []row, err error) {
	roll, err := newCall(dir)
	if err != nil {
		return nil, err
	}
	m, err := newAgent(bin, filepath.Join(dir, "master"), throng, roll)
	if err != nil {
		return nil, err
	}
	a, err := newAgent(bin, dir, throng, roll)
	if err != nil {
		return nil, err
	}
	if err := m.run("master", "--master-addr", "127.0.0.1:0", "--web-addr", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	defer m.kill()
	b, err := newBeats(m.addrs()["master"])
	if err != nil {
		return nil, err
	}
	defer b.server.Close()
	a.of, a.masters = m.data, []string{"--masters", b.addr, "--master-token-file", filepath.Join(m.data, "token")}
	if err := a.up(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.down()) }()

	began := time.Now()
	if err := a.gather(); err != nil {
		return nil, err
	}
	if _, err := roll.hear(throng); err != nil {
		return nil, err
	}
	started := time.Since(began)
	starting, _ := b.gap(began, time.Now())
	if _, err := a.running(); err != nil {
		return nil, err
	}
	still := func() time.Duration {
		began := time.Now()
		time.Sleep(watched)
		longest, _ := b.gap(began, time.Now())
		return longest
	}
	before := still()
	var crashed []time.Duration
	for _, pid := range slices.Clone(roll.all)[:turns] {
		took, _, err := crash(pid, roll)
		if err != nil {
			return nil, err
		}
		crashed = append(crashed, took)
	}
	var ready, away, behind []time.Duration
	for range starts {
		a.kill()
		began := time.Now()
		if err := a.again(); err != nil {
			return nil, err
		}
		ready = append(ready, time.Since(began))
		behind = append(behind, still())
		_, first := b.gap(began, time.Now())
		away = append(away, first)
	}
	if n := len(asleep(roll.all)); n != throng || len(roll.all) != throng+turns {
		return nil, fmt.Errorf("%d of %d processes are left, %d were ever started", n, throng, len(roll.all))
	}
	anonymous, err := memory(a.agent(), "Anonymous:")
	if err != nil {
		return nil, err
	}
	cpu, _, err := usage(a.agent())
	if err != nil {
		return nil, err
	}
	time.Sleep(watched)
	cpu2, _, err := usage(a.agent())
	longest := max(starting, before, slices.Max(behind))
	return []row{
		{
			what: "1,000 tasks started, each journaled", got: ms(started),
			beside: "from `groom job submit` to a master in another process until each has begun to run",
		},
		{
			what: "crash of a task to its new process, 1,000 tasks", goal: "<= 10ms", met: median(crashed) <= 10*time.Millisecond,
			got: ms(median(crashed)), beside: fmt.Sprintf("at most %s", ms(slices.Max(crashed))),
		},
		{
			what: "killed agent started again: 1,000 tasks adopted, ready", goal: "< 2 s", met: median(ready) < 2*time.Second,
			got: ms(median(ready)), beside: fmt.Sprintf("at most %s; from the start to the first heartbeat %s", ms(slices.Max(ready)), ms(median(away))),
		},
		{
			what: "longest time without a heartbeat, 1,000 tasks", goal: "<= 1.1 s", met: longest <= 1100*time.Millisecond, got: ms(longest),
			beside: fmt.Sprintf("period 1 s; %s while they start, %s while they run, %s after a start", ms(starting), ms(before), ms(slices.Max(behind))),
		},
		{
			what: "agent's anonymous memory with 1,000 tasks", goal: "< 150 MB", met: anonymous < 150e6, got: mb(anonymous),
			beside: fmt.Sprintf("%.1f %% of a core while they sleep", 100*float64(cpu2-cpu)/float64(watched)),
		},
	}, err
}
