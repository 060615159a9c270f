package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"groom/api"
	"groom/story"
)

const (
	token   = "a-token-of-the-tests"
	jobID   = api.JobID("job_202611240915_0001")
	plainID = api.JobID("job_202611240915_0002")
)

// world is a groom with its master, as the pages see it.
type world struct {
	submitted []api.SubmitRequest
	mu        sync.Mutex
	step      int    // of the running job
	last      uint64 // of both journals
	feeds     map[string]*story.Feed
	acts      []api.ActRequest
	logs      map[string]*log
	rows      int   // of a diff
	broken    error // of every view
}

// log is a stream that grows.
type log struct {
	text []byte
	end  bool
	grew chan struct{} // closed and made anew at each change
}

func newWorld() *world {
	w := &world{step: 41, rows: 1, last: 300, feeds: map[string]*story.Feed{"groom": story.NewFeed(), "master": story.NewFeed()}, logs: map[string]*log{}}
	for _, s := range streams {
		w.logs[s] = &log{grew: make(chan struct{})}
	}
	w.logs["stdout"].text = []byte("loaded 1,218 packages\n<b>not markup</b>\n")
	w.logs["stderr"].text = []byte("warning: dangling mass 0.13\n")
	return w
}

func (w *world) write(stream, text string, end bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[stream]
	l.text, l.end = append(l.text, text...), end
	close(l.grew)
	l.grew = make(chan struct{})
}

// advance applies one entry of a journal.
func (w *world) advance(of string) api.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	w.step++
	e := api.Event{ID: w.last, Of: of, Kind: "attempt.ended", Job: jobID, Task: jobID.Task(0), Words: fmt.Sprintf("entry %d", w.last), At: time.Now()}
	w.feeds[of].Publish(e)
	return e
}

var began = time.Now().Add(-90 * time.Second).UTC()

func (w *world) jobView() api.JobView {
	w.mu.Lock()
	defer w.mu.Unlock()
	return api.JobView{
		ID: jobID, Name: "pagerank", Type: api.BSP, State: api.JobRunning, Tasks: 3, Epoch: 2, Step: w.step,
		ByState: map[api.TaskState]int{api.TaskRunning: 2, api.TaskBackoff: 1}, SubmittedAt: began, StartedAt: began.Add(time.Second),
	}
}

func (w *world) Jobs(context.Context) ([]api.JobView, error) {
	return []api.JobView{
		w.jobView(),
		{
			ID: plainID, Name: "copies", Type: api.Plain, State: api.JobFailed, Reason: "task 0 failed 3 of 3 times: exited with code 3",
			Tasks: 1, Step: -1, ByState: map[api.TaskState]int{api.TaskFailed: 1}, SubmittedAt: began, StartedAt: began, EndedAt: began.Add(4 * time.Second),
		},
		{ID: "job_202611240915_0003", Name: "wide", Type: api.Plain, State: api.JobQueued, Reason: "needs 5 tasks, 1 of 3 slots is free", Tasks: 5, Step: -1, SubmittedAt: began},
	}, w.broken
}

func (w *world) taskView(i int) api.TaskView {
	v := api.TaskView{
		ID: jobID.Task(i), Index: i, State: api.TaskRunning, Groom: "elm", GroomID: "0123456789abcdef", GroomURL: "http://127.0.0.1:40015",
		Attempt: 1, Limit: 3, Epoch: 2, Pid: 4711 + i, Step: w.jobView().Step, LastPing: began.Add(89 * time.Second), Words: "started as pid 4711",
		Counters: map[string]int64{"vertices": 1218},
	}
	if i == 2 {
		v.State, v.Attempt, v.Failures, v.Pid, v.NextTry = api.TaskBackoff, 2, 1, 0, began.Add(92*time.Second)
		v.Words = "attempt 2 ended by SIGSEGV, not sent by groom: failure 1 of 3, next try in 2 s"
	}
	return v
}

var events = []api.EventView{
	{Index: 12, At: began, Kind: "directive.accepted", Words: "the master ordered: launch tasks 0, 1, 2 of pagerank in epoch 1"},
	{Index: 31, At: began.Add(2 * time.Second), Kind: "attempt.ended", Words: "attempt 1 of task 2 ended by SIGKILL, not sent by groom"},
}

func (w *world) Job(_ context.Context, name string) (api.JobDetail, error) {
	if name != string(jobID) && name != "pagerank" {
		return api.JobDetail{}, api.Problemf(api.CodeNotFound, "no job %s", name).WithHint("groom job list")
	}
	d := api.JobDetail{
		JobView: w.jobView(), SpecHash: strings.Repeat("ab", 32), Output: "/srv/ranks",
		Spec: api.JobSpec{
			Name: "pagerank", Type: api.BSP, Tasks: 3, Command: []string{"bin/pagerank", "--damping", "0.85"}, Env: map[string]string{"API_KEY": "******"},
			Stop: api.Stop{Signal: "SIGTERM", Grace: api.Duration(10 * time.Second)}, Restart: api.Restart{Limit: 3, Backoff: api.Duration(time.Second), MaxBackoff: api.Duration(time.Minute)},
		},
		Events: events,
	}
	for i := range 3 {
		d.TaskViews = append(d.TaskViews, w.taskView(i))
	}
	for i := range 70 {
		d.Supersteps = append(d.Supersteps, api.Superstep{
			Epoch: 2, Step: i, TookNS: 4e6 + int64(i*i%17)*1e6, ComputeNS: []int64{3e6, 2e6 + int64(i)*1e4}, Messages: 12_000, Bytes: 96_000,
		})
	}
	return d, w.broken
}

func (w *world) Task(_ context.Context, id string) (api.TaskDetail, error) {
	task, err := api.ParseTaskID(id)
	if err != nil || task.Job() != jobID || task.Index() > 2 {
		return api.TaskDetail{}, api.Problemf(api.CodeNotFound, "no task %s", id).WithHint("groom job status JOB")
	}
	d := api.TaskDetail{TaskView: w.taskView(task.Index()), Job: w.jobView(), Events: events}
	for n := range d.Attempt {
		a := api.AttemptView{ID: task.Attempt(n + 1), N: n + 1, Epoch: n + 1, State: "running", Pid: 4711, StartedAt: began, StdoutLen: 41, StderrLen: 28, MaxRSS: 18 << 20}
		if task.Index() == 2 {
			a.State, a.EndedAt, a.Words, a.Counted = "ended", began.Add(3*time.Second), "ended by SIGSEGV, not sent by groom, core dumped", true
			a.Outcome = &api.Outcome{Kind: api.Signaled, Signal: "SIGSEGV", By: api.ByOthers, Core: true}
			a.Failure = "panic: index out of range"
		}
		d.Attempts = append(d.Attempts, a)
	}
	return d, w.broken
}

func (w *world) Nodes(context.Context) ([]api.NodeView, error) {
	return []api.NodeView{
		{Status: w.status(), State: "ready", WebURL: "http://127.0.0.1:40015", LastSeen: began.Add(89 * time.Second), Placed: 3},
		{Status: api.GroomStatus{ID: "fedcba9876543210", Name: "oak", MaxTasks: 3, Reasons: []string{"its lease ended"}}, State: "lost", LastSeen: began, Failures: 2},
	}, w.broken
}

func (w *world) status() api.GroomStatus {
	return api.GroomStatus{
		ID: "0123456789abcdef", Name: "elm", Incarnation: 4, Build: "v0.1.0", StartedAt: began, MaxTasks: 3, Health: api.HealthOK,
		Attempts: []api.AttemptStatus{{ID: jobID.Task(0).Attempt(1)}, {ID: jobID.Task(1).Attempt(1)}},
		Dirs:     []api.DirStatus{{Path: "/var/lib/groom/local", OK: true, FreeBytes: 40 << 30, TotalBytes: 100 << 30}},
		Host:     api.HostStatus{CPUs: 2, Load1: 0.42, MemTotal: 8 << 30, MemFree: 5 << 30},
	}
}

func (w *world) Removals(context.Context) ([]api.Removal, error) {
	return []api.Removal{{
		At: time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC), Attempt: "attempt_202611240915_0001_000000_1", Dir: "/data/attempts",
		Bytes: 4096, Why: "its retention of 1h0m0s is over",
	}}, w.broken
}

func (w *world) Recoveries(context.Context) ([]api.RecoveryReport, error) {
	return []api.RecoveryReport{{
		Incarnation: 4, At: began, SameBoot: true, Replayed: 1288, JournalTook: api.Duration(38 * time.Millisecond), Took: api.Duration(61 * time.Millisecond),
		Found: []api.RecoveryRow{
			{Attempt: jobID.Task(0).Attempt(1), Finding: api.FoundAlive, Pid: 4711, Words: "its shim lives: adopted"},
			{Attempt: jobID.Task(2).Attempt(1), Finding: api.FoundEnded, Words: "ended by SIGKILL while the groom was away: restarted"},
		},
	}}, w.broken
}

func (w *world) Journals(context.Context) ([]api.JournalInfo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []api.JournalInfo
	for _, of := range []string{"groom", "master"} {
		all = append(all, api.JournalInfo{
			Of: of, Dir: "/var/lib/groom/" + of, First: 1, Last: w.last, Entries: w.last - 8, Bytes: 4 << 20, ChainTip: strings.Repeat("0f", 32),
			Digest: strings.Repeat("e1", 32), Snapshot: 256, Health: api.HealthOK, Incarnation: 4,
		})
	}
	return all, w.broken
}

func (w *world) Journal(_ context.Context, q JournalQuery) ([]api.EntryView, error) {
	if q.Of == "" {
		q.Of = "groom"
	}
	if q.Of != "groom" && q.Of != "master" {
		return nil, api.Problemf(api.CodeNotFound, "no journal %q", q.Of).WithHint("groom journal info")
	}
	last := w.last
	if q.To == 0 || q.To > last {
		q.To = last
	}
	from := max(q.From, 1)
	if q.To >= uint64(q.Limit) {
		from = max(from, q.To-uint64(q.Limit)+1)
	}
	var page []api.EntryView
	for i := from; i <= q.To; i++ {
		page = append(page, api.EntryView{
			Of: q.Of, Index: i, Term: 2, At: began.Add(time.Duration(i) * time.Millisecond), Kind: "attempt.ended", Version: 1, Size: 412, Hash: strings.Repeat("0f", 32),
			Words: fmt.Sprintf("attempt %d ended: exited with code 0", i), Body: json.RawMessage(`{"now":{"wall":"2026-11-24T09:15:00Z"},"obs":{"code":0}}`),
		})
	}
	return page, w.broken
}

func (w *world) Kinds(context.Context, string) ([]api.KindCount, error) {
	return []api.KindCount{
		{Kind: "attempt.ended", Entries: 290, Bytes: 119_480, First: began, Last: began.Add(300 * time.Millisecond)},
		{Kind: "groom.booted", Entries: 2, Bytes: 1400, First: began, Last: began},
	}, w.broken
}

func (w *world) Show(_ context.Context, of string, index uint64) (api.EntryView, error) {
	page, err := w.Journal(context.Background(), JournalQuery{Of: of, From: index, To: index, Limit: 1})
	if err == nil && len(page) == 0 {
		err = api.Problemf(api.CodeNotFound, "the journal has no entry %d", index).WithHint("groom journal info")
	}
	if err != nil {
		return api.EntryView{}, err
	}
	e := page[0]
	e.Observed, e.Changes = json.RawMessage(`{"code":0}`), someChanges()
	return e, nil
}

func someChanges() []api.RowChange {
	return []api.RowChange{{
		Table: "tasks", Key: string(jobID.Task(2)), Before: json.RawMessage(`{"state":"running"}`), After: json.RawMessage(`{"state":"failed"}`),
		Fields: []api.FieldChange{{Field: "state", Before: "running", After: "failed"}, {Field: "words", After: "no try <b>is left</b>"}},
	}}
}

func (w *world) Diff(_ context.Context, of, a, b string) (api.Diff, error) {
	x, err := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	if err != nil || err2 != nil {
		return api.Diff{}, api.Problemf(api.CodeInvalid, "no moment")
	}
	return api.Diff{Of: of, A: x, B: y, Rows: slices.Repeat(someChanges(), w.rows)}, w.broken
}

func (w *world) Why(_ context.Context, _, object string) (api.Story, error) {
	if !strings.HasPrefix(object, "attempt_") && !strings.HasPrefix(object, "task_") && !strings.HasPrefix(object, "job_") {
		return api.Story{}, api.Problemf(api.CodeNotFound, "the history says nothing of %s", object)
	}
	e, err := w.Show(context.Background(), "groom", 40)
	return api.Story{Object: object, Answer: "it ended: out of contact", Steps: []api.StoryStep{
		{EntryView: e},
		{EntryView: e, Settled: true, Believed: []api.RowView{{Table: "tasks", Key: string(jobID.Task(2)), Row: json.RawMessage(`{"state":"running"}`)}}},
	}}, err
}

// At is the world when job and tasks had not come yet, or as it is when the moment is late.
func (w *world) At(_ context.Context, of, moment string) (Views, api.Instant, error) {
	index, err := strconv.ParseUint(moment, 10, 64)
	if _, e := time.Parse(time.RFC3339, moment); e == nil {
		index, err = 40, nil
	}
	if err != nil || index > w.last || index == 0 {
		return nil, api.Instant{}, api.Problemf(api.CodeNotFound, "entry %s: the journal goes from entry 1 to entry %d", moment, w.last).WithHint("groom journal info")
	}
	if of == "" {
		of = "groom"
	}
	i := api.Instant{Of: of, Index: index, First: 1, Last: w.last, At: began.Add(5 * time.Second), Kind: "attempt.ended", Words: fmt.Sprintf("attempt %d ended", index)}
	if index > 5 {
		i.TroubleBefore = 5
	}
	if index < 60 {
		i.TroubleAfter = 60
	}
	return then{w, index}, i, nil
}

// then is the world in the past.
type then struct {
	*world
	index uint64
}

func (t then) Jobs(ctx context.Context) ([]api.JobView, error) {
	if t.index < 10 {
		return nil, nil
	}
	return t.world.Jobs(ctx)
}

func (t then) Job(ctx context.Context, name string) (api.JobDetail, error) {
	if t.index < 10 {
		return api.JobDetail{}, api.Problemf(api.CodeNotFound, "no job %s", name)
	}
	d, err := t.world.Job(ctx, name)
	d.Supersteps = nil // in no journal
	return d, err
}

func (w *world) Overview(ctx context.Context) (api.Overview, error) {
	status := w.status()
	jobs, _ := w.Jobs(ctx)
	nodes, _ := w.Nodes(ctx)
	journals, _ := w.Journals(ctx)
	found, _ := w.Recoveries(ctx)
	return api.Overview{
		Role: "groom+master", Groom: &status, Master: &api.MasterStatus{Cluster: "c1a5", Name: "elm", Incarnation: 4, Health: api.HealthOK, Reachable: true},
		Jobs: jobs, Nodes: nodes, Journals: journals, Recovery: &found[0],
	}, w.broken
}

func (w *world) State(context.Context, string) (json.RawMessage, error) {
	return json.RawMessage(`{"attempts":{},"jobs":{"job_202611240915_0001":{"name":"pagerank"}}}`), w.broken
}

func (w *world) Logs(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error) {
	if id.Task().Job() != jobID {
		return nil, api.Problemf(api.CodeNotFound, "no attempt %s", id)
	}
	return func(yield func(api.LogChunk, error) bool) {
		for {
			w.mu.Lock()
			l := w.logs[stream]
			text, end, grew := bytes.Clone(l.text), l.end, l.grew
			w.mu.Unlock()
			if offset < 0 {
				offset = max(0, int64(len(text))+offset)
			}
			for int64(len(text)) > offset {
				piece := text[offset:min(int64(len(text)), offset+16<<10)]
				if !yield(api.LogChunk{Stream: stream, Offset: offset, Data: piece}, nil) {
					return
				}
				offset += int64(len(piece))
			}
			if end || !follow {
				if end {
					yield(api.LogChunk{Stream: stream, Offset: offset, End: true}, nil)
				}
				return
			}
			select {
			case <-grew:
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

func (w *world) Events(ctx context.Context, of string, after uint64) <-chan api.Event {
	return w.feeds[of].Listen(ctx, after)
}

func (w *world) Submit(_ context.Context, r api.SubmitRequest) (api.Submission, error) {
	w.mu.Lock()
	w.submitted = append(w.submitted, r)
	w.mu.Unlock()
	return api.Submission{Version: api.Version, Job: jobID, Index: 7}, nil
}

func (w *world) Act(_ context.Context, r api.ActRequest) (api.ActReply, error) {
	if r.Job == string(plainID) {
		return api.ActReply{}, api.Problemf(api.CodeConflict, "job %s is failed", plainID).WithHint("groom job submit JOB.yaml")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acts = append(w.acts, r)
	return api.ActReply{Version: api.Version, Job: jobID, Index: 8}, nil
}

// serve shows a world.
func serve(t *testing.T, w *world) (*httptest.Server, *Site) {
	t.Helper()
	s := New(Options{Token: token, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "groom_up 1") })})
	if w != nil {
		s.Ready(w, w)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return srv, s
}

// ask makes one request, with headers as "name: value".
func ask(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

const (
	asPerson  = "Accept: text/html,application/xhtml+xml"
	asProgram = "Accept: application/json"
	withToken = "Authorization: Bearer " + token
	asForm    = "Content-Type: application/x-www-form-urlencoded"
)
