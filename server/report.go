package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/wire"
)

// Bounds of what a task may report. Every heartbeat carries the counters of every task, and has a bound of its own.
const (
	reportLimit  = 1 << 20 // bytes of a body
	pingLimit    = 16 << 10
	counterLimit = 32
)

var counterName = regexp.MustCompile(`^[A-Za-z0-9_.:/-][A-Za-z0-9 _.:/-]{0,63}$`)

// serveReports opens the task report server: on a unix socket, and on loopback for tasks that cannot use one.
func (g *Groom) serveReports() error {
	path := g.o.Home.Path("report.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err) // the data directory's lock says that nobody listens on it
	}
	short, err := g.shorten(path)
	if err != nil {
		return err
	}
	sock, err := net.Listen("unix", short)
	if err != nil {
		return fmt.Errorf("listen for reports: %w", err)
	}
	// A token is asked for, so any user's task may connect, where the groom can have such tasks.
	if os.Geteuid() == 0 {
		if err := os.Chmod(short, 0o666); err != nil {
			sock.Close()
			return fmt.Errorf("open socket to tasks: %w", err)
		}
	}
	tcp, err := g.o.Home.Listen("report", g.o.ReportAddr)
	if err != nil {
		sock.Close()
		return err
	}
	g.socket, g.report = short, tcp
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/task", g.forTask(g.taskInfo))
	mux.HandleFunc("POST /v1/ping", g.forTask(g.ping))
	mux.HandleFunc("POST /v1/done", g.forTask(g.done))
	mux.HandleFunc("POST /v1/fail", g.forTask(g.fail))
	mux.HandleFunc("POST /v1/stream", g.forTask(g.stream))
	g.serve(mux, sock, tcp)
	return nil
}

// maxSocketPath is what fits into a sockaddr_un with its terminating zero.
const maxSocketPath = 107

// shorten is a path by which the socket can be bound and reached. A long one gets a link in the directory for
// temporary files, named by the groom's id, so that it is the same after every start.
func (g *Groom) shorten(path string) (string, error) {
	if len(path) <= maxSocketPath {
		return path, nil
	}
	link := filepath.Join(os.TempDir(), "groom-"+g.o.Home.ID)
	if target, err := os.Readlink(link); err != nil || target != g.o.Home.Dir || !mine(link) {
		_ = os.Remove(link) // of another user it stays, and the next line fails
		if err := os.Symlink(g.o.Home.Dir, link); err != nil {
			return "", fmt.Errorf("shorten path of socket: %w", err)
		}
	}
	return filepath.Join(link, filepath.Base(path)), nil
}

// mine says that a link is this user's own: whoever owns it could point it elsewhere later.
func mine(link string) bool {
	info, err := os.Lstat(link)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// serve answers on listeners until the groom is closed.
func (g *Groom) serve(h http.Handler, listeners ...net.Listener) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				g.log.Error("serve", "addr", l.Addr(), "err", err)
			}
		})
	}
	g.closers = append(g.closers, func() error {
		err := srv.Close()
		serving.Wait()
		return err
	})
}

// tokens finds the attempt that a token was made for.
type tokens struct {
	mu sync.Mutex
	by map[string]api.AttemptID
}

func (t *tokens) add(token string, id api.AttemptID) {
	t.mu.Lock()
	t.by[token] = id
	t.mu.Unlock()
}

func (t *tokens) drop(token string) {
	t.mu.Lock()
	delete(t.by, token)
	t.mu.Unlock()
}

func (t *tokens) find(token string) (api.AttemptID, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok := t.by[token]
	return id, ok
}

// forTask lets a request through that carries the token of a living attempt.
func (g *Groom) forTask(h func(http.ResponseWriter, *http.Request, fsm.Attempt) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := g.caller(r)
		if err == nil {
			err = h(w, r, a)
		}
		if err != nil {
			wire.Answer(w, nil, err)
		}
	}
}

func (g *Groom) caller(r *http.Request) (fsm.Attempt, error) {
	id, ok := g.tokens.find(wire.Bearer(r))
	if !ok {
		return fsm.Attempt{}, api.Problemf(api.CodeToken, "no token, or not one of an attempt of this groom").
			WithHint("send Authorization: Bearer $GROOM_TOKEN")
	}
	// A task may name itself; then the two have to agree.
	if named := r.Header.Get("Groom-Attempt"); named != "" && named != string(id) {
		return fsm.Attempt{}, api.Problemf(api.CodeForbidden, "the token is not that of %s", named)
	}
	var a fsm.Attempt
	g.machine.View(func() { a, ok = g.state.Attempts.Get(string(id)) })
	if !ok || a.State == fsm.AttemptEnded {
		return a, api.Problemf(api.CodeForbidden, "%s has ended", id)
	}
	return a, nil
}

func (g *Groom) taskInfo(w http.ResponseWriter, _ *http.Request, a fsm.Attempt) error {
	job, spec, err := g.specOf(a.ID.Task().Job())
	if err != nil {
		return err
	}
	info := api.TaskInfo{
		Version: api.Version, Job: job.ID, Name: spec.Name, Task: a.ID.Task(), Attempt: a.ID,
		Index: a.ID.Task().Index(), Tasks: spec.Tasks, Epoch: a.Epoch, Config: spec.Config, Ping: spec.Ping,
	}
	if job.Type == api.BSP {
		info.Secret = g.o.Home.Secret(secretName(job.ID, a.Epoch))
		info.Output = outputDir(a, spec)
	}
	wire.Answer(w, info, nil)
	return nil
}

func (g *Groom) ping(w http.ResponseWriter, r *http.Request, a fsm.Attempt) error {
	var m api.PingMessage
	if err := wire.Read(r, pingLimit, &m); err != nil {
		return err
	}
	if err := checkCounters(m.Counters); err != nil {
		m.Counters = nil
		g.pulses.beat(a.ID, m) // it lives, whatever it counts
		return err
	}
	g.pulses.beat(a.ID, m)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func checkCounters(counters map[string]int64) error {
	if len(counters) > counterLimit {
		return api.Problemf(api.CodeInvalid, "%d counters: want %d at most", len(counters), counterLimit)
	}
	for name := range counters {
		if !counterName.MatchString(name) {
			return api.Problemf(api.CodeInvalid, "counter %q: want up to 64 letters, digits, spaces and _ . : / -", name)
		}
	}
	return nil
}

// done is answered once the journal holds it: a task that hears it may exit 0 and counts as done whatever dies next.
func (g *Groom) done(w http.ResponseWriter, r *http.Request, a fsm.Attempt) error {
	var m api.DoneMessage
	if err := wire.Read(r, pingLimit, &m); err != nil {
		return err
	}
	if err := g.observe(r.Context(), fsm.Done{Attempt: a.ID}); err != nil {
		return unavailable(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *Groom) fail(w http.ResponseWriter, r *http.Request, a fsm.Attempt) error {
	var m api.FailMessage
	if err := wire.Read(r, reportLimit, &m); err != nil {
		return err
	}
	told := string(m.Kind) + ": " + m.Reason
	if m.Stack != "" {
		told += "\n" + m.Stack
	}
	if err := g.observe(r.Context(), fsm.Told{Attempt: a.ID, Failure: strings.ToValidUTF8(told, "�")}); err != nil {
		return unavailable(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// streamProtocol is the name that the control stream of a BSP task is upgraded to.
const streamProtocol = "groom-bsp/1"

func (g *Groom) stream(w http.ResponseWriter, r *http.Request, a fsm.Attempt) error {
	conn, err := upgrade(w, r, streamProtocol)
	if err != nil {
		return err
	}
	g.hub.ServeTask(context.WithoutCancel(r.Context()), conn, a.ID, a.Epoch)
	return nil
}

// unavailable is an error of the journal as a task or a master sees it: try again.
func unavailable(err error) error {
	if _, ok := errors.AsType[*api.Problem](err); ok {
		return err
	}
	return api.Problemf(api.CodeUnavailable, "the journal does not hold it: %v", err).WithHint("try again")
}
