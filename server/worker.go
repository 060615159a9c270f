package server

import (
	"context"
	"net/http"
	"strconv"

	"groom/api"
	"groom/wire"
)

// workerMux is the worker server: where the master gives directives and reads what only
// the groom keeps (logs, attempts, supersteps), and where other grooms join the
// barriers of jobs whose root is here. All of that asks for the worker token, which only the registration
// tells; a groom shows the secret of the epoch.
func (g *Groom) workerMux() http.Handler {
	mux := http.NewServeMux()
	token := g.workerToken()
	mux.Handle("POST /v1/directives", wire.Guard(token, http.HandlerFunc(g.directives)))
	mux.Handle("GET /v1/logs", wire.Guard(token, wire.Logs(g.Logs)))
	mux.Handle("GET /v1/task", wire.Guard(token, http.HandlerFunc(g.taskForMaster)))
	mux.Handle("GET /v1/steps", wire.Guard(token, http.HandlerFunc(g.stepsForMaster)))
	mux.HandleFunc("POST /v1/barrier", g.joinBarrier)
	return mux
}

// Worker answers the directives of a master in this process.
func (g *Groom) Worker() http.Handler { return g.workerMux() }

func (g *Groom) workerToken() string { return g.o.Home.Derive("worker") }

// serveWorker listens for directives from other processes, if there can be any.
func (g *Groom) serveWorker() error {
	if g.o.WorkerAddr == "" {
		return nil
	}
	l, err := g.o.Home.Listen("worker", g.o.WorkerAddr)
	if err != nil {
		return err
	}
	g.worker = l
	g.serve(g.workerMux(), l)
	return nil
}

// workerAddr is what the master is told, "" for the one in this process.
func (g *Groom) workerAddr() string {
	if g.worker == nil {
		return ""
	}
	return g.worker.Addr().String()
}

func (g *Groom) taskForMaster(w http.ResponseWriter, r *http.Request) {
	detail, err := g.Task(r.Context(), r.URL.Query().Get("id"))
	wire.Answer(w, detail, err)
}

func (g *Groom) stepsForMaster(w http.ResponseWriter, r *http.Request) {
	id, err := api.ParseJobID(r.URL.Query().Get("job"))
	if err != nil {
		wire.Answer(w, nil, api.Problemf(api.CodeInvalid, "%v", err))
		return
	}
	steps, err := g.Supersteps(id)
	if steps == nil {
		steps = []api.Superstep{}
	}
	wire.Answer(w, steps, err)
}

// joinBarrier lets another groom's tasks take part in the barriers of a job whose root is here.
func (g *Groom) joinBarrier(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	id, err := api.ParseJobID(q.Get("job"))
	if err != nil {
		wire.Answer(w, nil, api.Problemf(api.CodeInvalid, "%v", err))
		return
	}
	epoch, _ := strconv.Atoi(q.Get("epoch"))
	secret := g.o.Home.Secret(secretName(id, epoch))
	if !wire.Same(wire.Bearer(r), secret) {
		wire.Answer(w, nil, api.Problemf(api.CodeToken, "no secret of epoch %d of %s, or a wrong one", epoch, id))
		return
	}
	conn, err := upgrade(w, r, streamProtocol)
	if err != nil {
		wire.Answer(w, nil, err)
		return
	}
	g.hub.ServeGroom(context.WithoutCancel(r.Context()), conn, id, epoch, q.Get("groom"))
}
