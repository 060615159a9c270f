package master

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	"groom/api"
	"groom/fsm/cluster"
	"groom/job"
	"groom/wire"
)

// API is what grooms and clients ask: the same for those in this process and for others. All of it needs the token of
// the data directory.
func (m *Master) API() http.Handler { return m.api }

func (m *Master) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/register", post(m.register))
	mux.HandleFunc("POST /v1/heartbeat", post(m.beat))
	mux.HandleFunc("POST /v1/jobs", post(m.Submit))
	mux.HandleFunc("POST /v1/act", post(m.Act))
	mux.HandleFunc("GET /v1/jobs", func(w http.ResponseWriter, r *http.Request) {
		jobs, err := m.Jobs(r.Context())
		wire.Answer(w, jobs, err)
	})
	mux.HandleFunc("GET /v1/jobs/{name}", func(w http.ResponseWriter, r *http.Request) {
		d, err := m.Job(r.Context(), r.PathValue("name"))
		wire.Answer(w, d, err)
	})
	mux.HandleFunc("GET /v1/tasks/{id}", func(w http.ResponseWriter, r *http.Request) {
		d, err := m.Task(r.Context(), r.PathValue("id"))
		wire.Answer(w, d, err)
	})
	mux.HandleFunc("GET /v1/nodes", func(w http.ResponseWriter, r *http.Request) {
		nodes, err := m.Nodes(r.Context())
		wire.Answer(w, nodes, err)
	})
	mux.HandleFunc("GET /v1/logs", wire.Logs(m.Logs))
	return wire.Guard(m.o.Home.Token, mux)
}

// post reads a message, and answers what f makes of it.
func post[M, R any](f func(context.Context, M) (R, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var message M
		if err := wire.Read(r, wire.Limit, &message); err != nil {
			wire.Answer(w, nil, err)
			return
		}
		reply, err := f(r.Context(), message)
		wire.Answer(w, reply, err)
	}
}

// Submit takes a job. The same request id answers the same job, however often it is handed in.
func (m *Master) Submit(ctx context.Context, r api.SubmitRequest) (api.Submission, error) {
	reply := api.Submission{Version: api.Version}
	if len(r.Request) > 128 {
		return reply, api.Problemf(api.CodeInvalid, "the request id is over 128 bytes")
	}
	if r.Request == "" {
		r.Request = rand.Text()
	}
	job.Complete(&r.Spec)
	if err := job.Validate(r.Spec); err != nil {
		return reply, api.Problemf(api.CodeInvalid, "%v", err).WithHint("docs/job.md describes every field")
	}
	hash, canonical, err := job.Hash(r.Spec)
	if err != nil {
		return reply, err
	}
	if len(canonical) > job.MaxSize {
		return reply, api.Problemf(api.CodeTooLarge, "the spec is over %d bytes", job.MaxSize)
	}
	m.specs.mu.Lock()
	defer m.specs.mu.Unlock()
	// The spec is durable before the entry that names it. A kill between leaves a file, which the next start removes.
	if _, err := m.specs.home.PutSpec(canonical); err != nil {
		return reply, api.Problemf(api.CodeUnavailable, "keep spec: %v", err)
	}
	s := r.Spec
	if _, err := m.observe(ctx, cluster.Submitted{
		Request: r.Request, Spec: hash, Name: s.Name, Type: s.Type, Tasks: s.Tasks, Shared: s.SharedDir != "",
		Reschedule: s.OnGroomLost == "reschedule", Limit: s.Restart.Limit, Retention: s.Retention,
	}); err != nil {
		return reply, problem(err)
	}
	m.machine.View(func() {
		taken, _ := m.state.Requests.Get(r.Request)
		reply.Job, reply.Index = taken.Job, m.state.Requests.Index(r.Request)
	})
	m.log.Info("job submitted", "job", reply.Job, "name", s.Name, "type", s.Type, "tasks", s.Tasks, "index", reply.Index)
	return reply, nil
}

// tasksAtOnce bounds the tasks of one request, which has to fit into one entry.
const tasksAtOnce = 64

// Act stops, kills, resumes or restarts a job, or some tasks of a plain one.
func (m *Master) Act(ctx context.Context, r api.ActRequest) (api.ActReply, error) {
	reply := api.ActReply{Version: api.Version}
	switch r.Verb {
	case api.VerbStop, api.VerbKill, api.VerbResume, api.VerbRestart:
	default:
		return reply, api.Problemf(api.CodeInvalid, "verb %q: want stop, kill, resume or restart", r.Verb)
	}
	if len(r.Tasks) > tasksAtOnce {
		return reply, api.Problemf(api.CodeInvalid, "%d tasks: name at most %d at once, or the whole job", len(r.Tasks), tasksAtOnce)
	}
	j, err := m.find(r.Job)
	if err != nil {
		return reply, err
	}
	reply.Job = j.ID
	reply.Index, err = m.observe(ctx, cluster.Asked{Job: j.ID, Verb: r.Verb, Tasks: r.Tasks, Reason: r.Reason})
	if err != nil {
		return reply, problem(err)
	}
	reply.Already = reply.Index == 0
	m.log.Info("asked", "verb", r.Verb, "job", j.ID, "tasks", r.Tasks, "reason", r.Reason, "already", reply.Already)
	return reply, nil
}

// find is the job with an id, or with a name that no other job has.
func (m *Master) find(name string) (cluster.Job, error) {
	var found []cluster.Job
	m.machine.View(func() {
		if j, ok := m.state.Jobs.Get(name); ok {
			found = append(found, j)
			return
		}
		for _, j := range m.state.InOrder() {
			if j.Name == name {
				found = append(found, j)
			}
		}
	})
	switch len(found) {
	case 0:
		return cluster.Job{}, api.Problemf(api.CodeNotFound, "there is no job %s", name).WithHint("groom job list")
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, j := range found {
		ids = append(ids, string(j.ID))
	}
	return cluster.Job{}, api.Problemf(api.CodeConflict, "%d jobs are named %s", len(found), name).
		WithHint("name one by its id: %s", strings.Join(ids[max(0, len(ids)-10):], ", "))
}
