package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"groom/api"
	"groom/fsm/cluster"
	"groom/job"
	"groom/wire"
)

// askPatience bounds a question to a groom, so that a page does not wait for one that is gone.
const askPatience = time.Second

// Jobs lists the jobs, newest first.
func (m *Master) Jobs(context.Context) ([]api.JobView, error) {
	living, present := m.grooms.attempts(), m.grooms.present()
	all := []api.JobView{}
	m.machine.View(func() {
		waits := m.waits(present)
		for _, j := range slices.Backward(m.state.InOrder()) {
			v := m.jobView(j, waits)
			if j.State.Terminal() {
				// Its tasks were settled one by one, or with a groom that is lost: no need to look at each.
				v.ByState = maps.Clone(j.Count)
				if rest := j.Tasks - total(j.Count); rest > 0 {
					v.ByState = add(v.ByState, unreported[j.State], rest)
				}
			} else {
				m.count(&v, m.tasks(j, living))
			}
			all = append(all, v)
		}
	})
	return all, nil
}

// unreported is the state of tasks that ended with their job, without a word from a groom.
var unreported = map[api.JobState]api.TaskState{
	api.JobFailed: api.TaskFailed, api.JobKilled: api.TaskKilled, api.JobSucceeded: api.TaskSucceeded,
}

func total(count map[api.TaskState]int) int {
	n := 0
	for _, c := range count {
		n += c
	}
	return n
}

func add(count map[api.TaskState]int, state api.TaskState, n int) map[api.TaskState]int {
	if count == nil {
		count = map[api.TaskState]int{}
	}
	count[state] += n
	return count
}

// waits says for what each queued job waits. It is called under View.
func (m *Master) waits(present []string) map[api.JobID]string {
	waits := map[api.JobID]string{}
	if m.upTo > 0 { // which grooms it was in contact with nobody knows; those that it held for ready come close
		for id, g := range m.state.Grooms.All() {
			if g.State == cluster.Ready {
				present = append(present, id)
			}
		}
	}
	for _, v := range m.state.Queue(present) {
		waits[v.Job] = v.Why
	}
	return waits
}

// jobView is called under View.
func (m *Master) jobView(j cluster.Job, waits map[api.JobID]string) api.JobView {
	v := api.JobView{
		ID: j.ID, Name: j.Name, Type: j.Type, State: j.State, Reason: j.Reason, Tasks: j.Tasks, Epoch: j.Epoch, Step: -1,
		SubmittedAt: j.Submitted.Wall, StartedAt: j.Started.Wall, EndedAt: j.Ended.Wall,
	}
	why := waits[j.ID]
	if g, ok := m.state.LostGroom(j); ok && why == "" && !j.State.Terminal() && j.State != api.JobStopped {
		why = fmt.Sprintf("waits for groom %s, which is lost", g.Name)
	}
	switch {
	case why != "" && j.Reason != "": // why it is in the queue again, or was asked to end
		v.Reason = why + "; " + j.Reason
	case why != "":
		v.Reason = why
	}
	return v
}

func (m *Master) count(v *api.JobView, tasks []api.TaskView) {
	for _, t := range tasks {
		v.ByState = add(v.ByState, t.State, 1)
		v.Step = max(v.Step, t.Step)
	}
}

// tasks shows every task of a job as the tables and the newest heartbeats have it. It is called under View.
func (m *Master) tasks(j cluster.Job, living map[api.TaskID]living) []api.TaskView {
	all := make([]api.TaskView, 0, j.Tasks)
	for i := range j.Tasks {
		all = append(all, m.taskView(j, i, living))
	}
	return all
}

func (m *Master) taskView(j cluster.Job, index int, living map[api.TaskID]living) api.TaskView {
	t := m.state.Task(j, index)
	groom, _ := m.state.Grooms.Get(j.GroomOf(index))
	v := api.TaskView{
		ID: t.ID, Index: index, State: t.State, Groom: groom.Name, GroomID: groom.ID, GroomURL: groom.WebURL,
		Attempt: t.Attempt, Failures: t.Failures, Limit: j.Limit, Epoch: t.Epoch, Step: -1, Outcome: t.Outcome, Words: t.Words,
	}
	a, ok := living[t.ID]
	if !ok || a.groom != groom.ID || a.ID.N() < t.Attempt || t.State.Terminal() ||
		t.State == api.TaskStopped || t.State == api.TaskCommitting {
		return v // it has no process, or one that is about to go
	}
	v.Attempt, v.Pid, v.Step, v.Progress, v.LastPing, v.Counters = a.ID.N(), a.Pid, a.Step, a.Progress, a.LastPing, a.Counters
	if a.Epoch == j.Epoch {
		v.State = a.State
	}
	if groom.State == cluster.Lost {
		v.Words = "its groom is lost, and what it runs is not known"
	}
	return v
}

// Job is one job with its tasks. Supersteps are the word of its root, as far as that answers.
func (m *Master) Job(ctx context.Context, name string) (api.JobDetail, error) {
	var d api.JobDetail
	j, err := m.find(name)
	if err != nil {
		return d, err
	}
	living, present := m.grooms.attempts(), m.grooms.present()
	m.machine.View(func() {
		// As it is now, together with its tasks; it is forgotten at the earliest in a moment.
		if now, ok := m.state.Jobs.Get(string(j.ID)); ok {
			j = now
		}
		d.JobView = m.jobView(j, m.waits(present))
		d.TaskViews = m.tasks(j, living)
		m.count(&d.JobView, d.TaskViews)
	})
	d.SpecHash = j.Spec
	if spec, err := m.specs.spec(j.Spec); err == nil {
		d.Spec, d.Output = job.Mask(spec), spec.Output
	} else {
		m.log.Warn("show spec", "job", j.ID, "err", err)
	}
	if j.Type == api.BSP && j.Epoch > 0 {
		d.Supersteps = m.supersteps(ctx, j)
		if n := len(d.Supersteps); n > 0 {
			d.Step = max(d.Step, d.Supersteps[n-1].Step)
		}
	}
	d.Events, err = m.story(j.ID, "")
	return d, err
}

// supersteps asks the groom where the job's barriers meet. Without an answer there are none to show.
func (m *Master) supersteps(ctx context.Context, j cluster.Job) []api.Superstep {
	client := m.clientOf(j.Root())
	if client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	var steps []api.Superstep
	if err := client.Get(ctx, "/v1/steps?"+url.Values{"job": {string(j.ID)}}.Encode(), &steps); err != nil {
		m.log.Debug("ask for supersteps", "job", j.ID, "err", err)
		return nil
	}
	return steps
}

func (m *Master) story(id api.JobID, task api.TaskID) ([]api.EventView, error) {
	last := m.upTo
	if last == 0 {
		last = m.journal.Stats().Last
	}
	return m.stories.Of(last, id, task)
}

// Task is one task with its attempts, as its groom tells them; without the groom it is what was reported.
func (m *Master) Task(ctx context.Context, id string) (api.TaskDetail, error) {
	var d api.TaskDetail
	name, err := api.ParseTaskID(id)
	if err != nil {
		return d, api.Problemf(api.CodeInvalid, "%v", err)
	}
	j, err := m.find(string(name.Job()))
	if err != nil || name.Index() >= j.Tasks {
		return d, api.Problemf(api.CodeNotFound, "there is no task %s", id).WithHint("groom job list")
	}
	living, present := m.grooms.attempts(), m.grooms.present()
	m.machine.View(func() {
		d.Job = m.jobView(j, m.waits(present))
		m.count(&d.Job, m.tasks(j, living))
		d.TaskView = m.taskView(j, name.Index(), living)
	})
	if d.Events, err = m.story(j.ID, name); err != nil {
		return d, err
	}
	if client := m.clientOf(d.GroomID); client != nil {
		ctx, cancel := context.WithTimeout(ctx, askPatience)
		defer cancel()
		var own api.TaskDetail
		if err := client.Get(ctx, "/v1/task?"+url.Values{"id": {id}}.Encode(), &own); err == nil {
			d.Attempts = own.Attempts
			if own.Attempt >= d.Attempt {
				d.TaskView = own.TaskView
			}
		}
	}
	return d, nil
}

// Nodes lists the grooms, by name.
func (m *Master) Nodes(context.Context) ([]api.NodeView, error) {
	all := []api.NodeView{}
	m.machine.View(func() {
		used := m.state.Used()
		for id, g := range m.state.Grooms.All() {
			k := m.grooms.get(id)
			v := api.NodeView{
				Status: k.status, WebURL: g.WebURL, State: string(g.State), LastSeen: k.wall, Placed: used[id], Failures: g.Failures,
			}
			if k.client == nil {
				v.Status = api.GroomStatus{ID: id, Name: g.Name, Incarnation: g.Incarnation, MaxTasks: g.MaxTasks}
				if m.upTo == 0 { // of a past nobody knows
					v.LastSeen = g.Since.Wall
					v.Status.Reasons = []string{"it has not been heard of since this master started"}
				}
			}
			if g.Reason != "" && g.State == cluster.Lost {
				v.Status.Reasons = []string{g.Reason}
			}
			all = append(all, v)
		}
	})
	slices.SortStableFunc(all, func(a, b api.NodeView) int { return cmp.Compare(a.Status.Name, b.Status.Name) })
	return all, nil
}

// Logs passes on a stream of an attempt from the groom that has it. A groom in this process is not followed through
// here, since its answers come whole: whoever shows it asks it directly.
func (m *Master) Logs(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error) {
	j, err := m.find(string(id.Task().Job()))
	if err != nil {
		return nil, err
	}
	// A task that moved has earlier attempts elsewhere.
	grooms := []string{j.GroomOf(id.Task().Index())}
	for _, groom := range j.Had {
		if groom != grooms[0] {
			grooms = append(grooms, groom)
		}
	}
	err = api.Problemf(api.CodeNotFound, "no groom has an attempt %s", id)
	for _, groom := range grooms {
		k := m.grooms.get(groom)
		if k.client == nil {
			continue
		}
		q := url.Values{"attempt": {string(id)}, "stream": {stream}, "offset": {strconv.FormatInt(offset, 10)}}
		if follow && k.remote {
			q.Set("follow", "1")
		}
		chunks, e := wire.Lines[api.LogChunk](ctx, k.client, "/v1/logs?"+q.Encode())
		if e == nil {
			return chunks, nil
		}
		if p, ok := errors.AsType[*api.Problem](e); ok && p.Code != api.CodeNotFound {
			return nil, e
		} else if !ok {
			err = api.Problemf(api.CodeUnavailable, "the groom that has %s does not answer: %v", id, e)
		}
	}
	return nil, err
}
