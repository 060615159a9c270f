// Package node is one process of groom: its data directory, a groom, a master or both, and the pages that show them.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"groom/api"
	"groom/job"
	"groom/journal"
	"groom/master"
	"groom/notify"
	"groom/server"
	"groom/server/home"
	"groom/web"
	"groom/wire"
)

// ErrExposed is returned when a server would listen beyond loopback without TLS, and nobody said that it may.
var ErrExposed = errors.New("listens beyond this host without TLS")

// Options says what the process is.
type Options struct {
	Data    string
	Name    string // for people; the host's name unless told
	Build   string
	WebAddr string
	// Insecure lets servers listen beyond loopback.
	Insecure bool
	Groom    *GroomOptions     // nil: no groom in this process
	Master   *MasterOptions    // nil: no master in this process
	Retain   journal.Retention // of the history of each journal
	Manager  *notify.Manager   // who started the process, and is told how it is; nil: nobody
	Log      *slog.Logger
}

// GroomOptions is what a groom is told beyond what every process is.
type GroomOptions struct {
	LocalDirs  []string
	MaxTasks   int
	ReportAddr string
	WorkerAddr string
	Masters    []string // host:port of each; none when the master is in this process
	Token      string   // the masters' token
}

// MasterOptions is what a master is told beyond what every process is.
type MasterOptions struct {
	Addr string // "" when its only groom is in this process
}

// Node is a running process.
type Node struct {
	Home   *home.Home
	Groom  *server.Groom  // nil without one
	Master *master.Master // nil without one
	URL    string         // of the pages
	// Views and Actions are what the pages show and can change.
	Views   web.Views
	Actions web.Actions

	site    *web.Site
	teller  *teller
	unserve func() error   // ends the pages
	closers []func() error // what Close undoes, newest last
}

// Open starts a process: its pages first, so that a start which takes long can be watched; then the master, whom the
// groom asks to be admitted; then the groom. What was started when a step fails is closed again, in reverse.
func Open(ctx context.Context, o Options) (_ *Node, err error) {
	n := &Node{teller: newTeller(ctx, o)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := guard(o); err != nil {
		return nil, err
	}
	if n.Home, err = home.Open(o.Data); err != nil {
		return nil, err
	}
	n.closers = append(n.closers, n.Home.Close)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := journal.Metrics(registry); err != nil {
		return nil, err
	}
	if err := n.serveWeb(o, registry); err != nil {
		return nil, err
	}
	worker := new(lateHandler)
	if o.Master != nil {
		if err := n.openMaster(ctx, o, registry, worker); err != nil {
			return nil, err
		}
	}
	if o.Groom != nil {
		if err := n.openGroom(ctx, o, registry); err != nil {
			return nil, err
		}
		worker.set(n.Groom.Worker())
	}
	v := &views{node: n, cluster: n.cluster(o), insecure: o.Insecure}
	n.Views, n.Actions = v, v
	n.site.Ready(v, v)
	n.teller.ready(n)
	return n, nil
}

// guard refuses addresses that anybody on the network could reach.
func guard(o Options) error {
	addrs := []string{o.WebAddr}
	if o.Groom != nil {
		addrs = append(addrs, o.Groom.ReportAddr, o.Groom.WorkerAddr)
	}
	if o.Master != nil {
		addrs = append(addrs, o.Master.Addr)
	}
	for _, addr := range addrs {
		host, _, err := net.SplitHostPort(addr)
		if addr == "" || o.Insecure {
			continue
		}
		if err != nil {
			return fmt.Errorf("address %q: %w", addr, err)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("%s: %w", addr, ErrExposed)
		}
	}
	return nil
}

func (n *Node) serveWeb(o Options, registry *prometheus.Registry) error {
	l, err := n.Home.Listen("web", o.WebAddr)
	if err != nil {
		return err
	}
	n.URL = "http://" + l.Addr().String()
	host, _, _ := net.SplitHostPort(o.WebAddr)
	var defaults api.JobSpec
	job.Defaults(&defaults)
	n.site = web.New(web.Options{
		Job:   defaults,
		Token: n.Home.Token, Hosts: []string{host}, Insecure: o.Insecure, Log: o.Log,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	})
	srv := &http.Server{Handler: n.site, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("serve pages", "err", err)
		}
	})
	n.unserve = func() error {
		n.site.Close()
		err := srv.Close()
		serving.Wait()
		return err
	}
	return nil
}

func (n *Node) openMaster(ctx context.Context, o Options, registry *prometheus.Registry, worker http.Handler) (err error) {
	mo := master.Options{
		Home: n.Home, Name: o.Name, Build: o.Build, WebURL: n.URL, Addr: o.Master.Addr, Registry: registry, Log: o.Log,
		Progress: n.starting, Retain: o.Retain,
	}
	if o.Groom != nil {
		mo.Embedded = worker
	}
	if n.Master, err = master.Open(ctx, mo); err != nil {
		return fmt.Errorf("open master: %w", err)
	}
	n.closers = append(n.closers, n.Master.Close)
	return nil
}

func (n *Node) openGroom(ctx context.Context, o Options, registry *prometheus.Registry) (err error) {
	masters := n.masters(o)
	if n.Groom, err = server.Open(ctx, server.Options{
		Home: n.Home, Name: o.Name, LocalDirs: o.Groom.LocalDirs, MaxTasks: o.Groom.MaxTasks,
		WorkerAddr: o.Groom.WorkerAddr, ReportAddr: o.Groom.ReportAddr, Masters: masters, WebURL: n.URL, Build: o.Build,
		Registry: registry, Log: o.Log, Progress: n.starting, Retain: o.Retain,
	}); err != nil {
		return fmt.Errorf("open groom: %w", err)
	}
	n.closers = append(n.closers, n.Groom.Close)
	return nil
}

// starting tells what the start does, on the pages and to the service manager.
func (n *Node) starting(phase string, applied, last uint64) {
	n.site.Starting(phase, applied, last)
	n.teller.starting(phase, applied, last)
}

// masters is how the groom asks each of its masters: the one in this process is asked without a socket.
func (n *Node) masters(o Options) []*wire.Client {
	if n.Master != nil {
		return []*wire.Client{{
			Base: "http://in-process", Token: n.Home.Token,
			HTTP: &http.Client{Transport: wire.InProcess{Handler: n.Master.API()}},
		}}
	}
	var clients []*wire.Client
	for _, addr := range o.Groom.Masters {
		clients = append(clients, &wire.Client{Base: "http://" + addr, Token: o.Groom.Token, HTTP: new(http.Client)})
	}
	return clients
}

func (n *Node) cluster(o Options) cluster {
	if n.Master != nil {
		return n.Master
	}
	return &distant{masters: n.masters(o)}
}

// Close ends the process and leaves its tasks running, in the reverse order of Open, but for the pages: they are first,
// since they read what is closed after them.
func (n *Node) Close() error {
	n.teller.close()
	var errs []error
	if n.unserve != nil {
		errs = append(errs, n.unserve())
		n.unserve = nil
	}
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}

// lateHandler answers for a groom that is still starting.
type lateHandler struct{ h atomic.Pointer[http.Handler] }

func (l *lateHandler) set(h http.Handler) { l.h.Store(&h) }

func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := l.h.Load()
	if h == nil {
		wire.Answer(w, nil, api.Problemf(api.CodeUnavailable, "the groom is starting").WithHint("try again"))
		return
	}
	(*h).ServeHTTP(w, r)
}
