package web

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"groom/api"
	"groom/wire"
)

// changing serves what may change something, once there is something to change. The token was seen before.
func (s *Site) changing(f func(w http.ResponseWriter, r *http.Request, a Actions) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		now := s.ready.Load()
		if now == nil {
			s.starting(w, r)
			return
		}
		if now.actions == nil {
			s.problem(w, r, api.Problemf(api.CodeForbidden, "nothing can be changed here").WithHint("groom agent runs jobs; these pages only show what was"))
			return
		}
		if err := f(w, r, now.actions); err != nil {
			s.problem(w, r, err)
		}
	}
}

func (s *Site) submit(w http.ResponseWriter, r *http.Request, a Actions) error {
	m := api.SubmitRequest{Spec: s.o.Job}
	if err := wire.Read(r, wire.Limit, &m); err != nil {
		return err
	}
	reply, err := a.Submit(r.Context(), m)
	if err == nil {
		wire.Answer(w, reply, nil)
	}
	return err
}

// act stops, kills, resumes or restarts a job or a task: asked for by a program, in JSON or without a body, or by a form of a
// page, which is shown again then.
func (s *Site) act(w http.ResponseWriter, r *http.Request, a Actions) error {
	m := api.ActRequest{Version: api.Version}
	form := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	if form {
		if err := readForm(w, r); err != nil {
			return err
		}
		m.Reason = "asked for on a page"
	} else if r.ContentLength != 0 {
		if err := wire.Read(r, wire.Limit, &m); err != nil {
			return err
		}
	}
	// What the address says is what is meant, whatever the body says.
	vars := mux.Vars(r)
	m.Verb, m.Job, m.Tasks = api.Verb(vars["verb"]), vars["job"], nil
	if name, ok := vars["task"]; ok {
		id, err := api.ParseTaskID(name)
		if err != nil {
			return api.Problemf(api.CodeInvalid, "%v", err).WithHint("groom job status JOB lists the tasks of a job")
		}
		m.Job, m.Tasks = string(id.Job()), []int{id.Index()}
	}
	reply, err := a.Act(r.Context(), m)
	if err != nil {
		return err
	}
	if form {
		http.Redirect(w, r, backOf(r), http.StatusSeeOther)
		return nil
	}
	wire.Answer(w, reply, nil)
	return nil
}
