package web

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"

	"groom/api"
)

// empty is a process in which nothing has happened yet.
type empty struct{}

func (empty) Overview(context.Context) (api.Overview, error) {
	return api.Overview{Role: "master", Master: &api.MasterStatus{Name: "elm"}}, nil
}
func (empty) Jobs(context.Context) ([]api.JobView, error) { return nil, nil }
func (empty) Job(context.Context, string) (api.JobDetail, error) {
	return api.JobDetail{}, api.Problemf(api.CodeNotFound, "no job")
}

func (empty) Task(_ context.Context, id string) (api.TaskDetail, error) {
	return api.TaskDetail{TaskView: api.TaskView{ID: api.TaskID(id), State: api.TaskPending}}, nil
}
func (empty) Nodes(context.Context) ([]api.NodeView, error)                  { return nil, nil }
func (empty) Removals(context.Context) ([]api.Removal, error)                { return nil, nil }
func (empty) Recoveries(context.Context) ([]api.RecoveryReport, error)       { return nil, nil }
func (empty) Journals(context.Context) ([]api.JournalInfo, error)            { return nil, nil }
func (empty) Journal(context.Context, JournalQuery) ([]api.EntryView, error) { return nil, nil }
func (empty) State(context.Context, string) (json.RawMessage, error) {
	return json.RawMessage(`{}`), nil
}

func (empty) Kinds(context.Context, string) ([]api.KindCount, error) { return nil, nil }

func (empty) Show(context.Context, string, uint64) (api.EntryView, error) {
	return api.EntryView{}, api.Problemf(api.CodeNotFound, "no entry")
}

func (empty) Diff(context.Context, string, string, string) (api.Diff, error) {
	return api.Diff{Rows: []api.RowChange{}}, nil
}

func (empty) Why(context.Context, string, string) (api.Story, error) {
	return api.Story{}, api.Problemf(api.CodeNotFound, "nothing")
}

func (empty) At(context.Context, string, string) (Views, api.Instant, error) {
	return nil, api.Instant{}, api.Problemf(api.CodeNotFound, "no past")
}
func (empty) Events(context.Context, string, uint64) <-chan api.Event { return nil }
func (empty) Logs(context.Context, api.AttemptID, string, int64, bool) (iter.Seq2[api.LogChunk, error], error) {
	return nil, api.Problemf(api.CodeNotFound, "no attempt")
}

// request and record answer without a socket.
func request(method, path string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

func record(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
