package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"groom/api"
	"groom/fsm/table"
)

// uncountedLimit bounds the ends of a BSP task that are nobody's fault.
const uncountedLimit = 10

// reported takes what a groom tells of its tasks. Each report has its effect once: it is known by the revision in its
// id, and a groom tells of one task in order. Reports of jobs that the tables do not hold have none.
func (d *decider) reported(o Reported) {
	var touched []api.JobID
	for _, r := range o.Reports {
		j, ok := table.Get(d.draft, d.Jobs, string(r.Task.Job()))
		if i := r.Task.Index(); !ok || i < 0 || i >= j.Tasks {
			continue
		}
		if d.report(o.Groom, r, j) && !slices.Contains(touched, j.ID) {
			touched = append(touched, j.ID)
		}
	}
	// Only when all of them are counted is it decided what becomes of the jobs: of several deaths told at once, one may
	// be the last that its task had left.
	for _, id := range touched {
		j, _ := table.Get(d.draft, d.Jobs, string(id))
		d.judge(&j)
		d.putJob(j)
	}
}

// revision is the groom's revision of the task's row, which the report's id ends with.
func revision(r api.Report) uint64 {
	_, text, _ := strings.Cut(r.ID, "/")
	n, _ := strconv.ParseUint(text, 10, 64) // 0 is older than any: such a report has no effect
	return n
}

// report takes one report, and says whether it was news.
func (d *decider) report(from string, r api.Report, j Job) bool {
	t := d.task(j, r.Task.Index())
	rev := revision(r)
	if rev <= t.Seen[from] {
		return false
	}
	t.Seen = maps.Clone(t.Seen)
	if t.Seen == nil {
		t.Seen = map[string]uint64{}
	}
	t.Seen[from] = rev
	if r.Outcome != nil {
		d.charge(&j, &t, from, r)
	}
	if !d.follow(&j, &t, from, r) {
		d.say("%s tells of %s: %s", d.nameOf(from), t.ID, r.Because)
	}
	d.putTask(t)
	d.putJob(j)
	return true
}

// charge counts the end of an attempt. A plain task's budget is its groom's; of a BSP task it is kept here, over all
// epochs of the budget period and whichever groom the attempt was on, for as long as the job may still go on.
func (d *decider) charge(j *Job, t *Task, from string, r api.Report) {
	t.Outcome = r.Outcome
	if r.Counted {
		j.Failures++
		d.blame(from)
	} else {
		j.Uncounted++
	}
	if j.Type != api.BSP {
		if j.GroomOf(r.Task.Index()) == from {
			t.Failures = r.Failures
		}
		return
	}
	if j.State != api.JobRunning && j.State != api.JobQueued {
		return
	}
	if r.Healthy {
		t.Failures, t.Uncounted = 0, 0
	}
	switch kind := r.Outcome.Kind; {
	case r.Counted:
		t.Failures++
	case kind == api.NotStarted, kind == api.Lost, kind == api.RolledBack:
		t.Uncounted++
	}
	if t.Failures >= j.Limit || t.Uncounted > uncountedLimit {
		d.fail(j, endOf(*t, *j, r))
	}
}

// blame counts a failure against the groom that it happened on, for people.
func (d *decider) blame(groom string) {
	if g, ok := table.Get(d.draft, d.Grooms, groom); ok {
		g.Failures++
		table.Put(d.draft, d.Grooms, groom, g)
	}
}

// endOf tells the end of an attempt in words.
func endOf(t Task, j Job, r api.Report) string {
	if r.Counted && r.Outcome != nil && r.Outcome.Kind == api.Exited && r.Outcome.Code == 0 {
		return fmt.Sprintf("%s: %s%s", t.ID, r.Outcome, api.NotDone)
	}
	switch {
	case r.Outcome == nil:
		return fmt.Sprintf("%s: %s", t.ID, r.Because)
	case r.Counted && t.Failures > 0:
		return fmt.Sprintf("%s: %s (failure %d of %d)%s", t.ID, r.Outcome, t.Failures, j.Limit, colon(r.Told))
	case r.Counted:
		return fmt.Sprintf("%s: %s%s", t.ID, r.Outcome, colon(r.Told))
	case t.Uncounted > uncountedLimit:
		return fmt.Sprintf("%s: %s (not counted, but more than %d such ends)", t.ID, r.Outcome, uncountedLimit)
	}
	return fmt.Sprintf("%s: %s (not counted)", t.ID, r.Outcome)
}

// follow takes over the state that the report tells, if it is about what the master ordered last.
func (d *decider) follow(j *Job, t *Task, from string, r api.Report) bool {
	at := j.at(r.Task.Index())
	if at < 0 || j.Places[at].Groom != from || j.Places[at].Gone {
		return false // the task has moved on, or its job ends without it
	}
	if j.State == api.JobQueued || j.State.Terminal() || t.State.Terminal() {
		return false
	}
	if j.Type == api.BSP && r.Epoch != j.Epoch {
		// Of an older epoch. Only an end that was asked for counts all the same: the order to end may have reached the
		// groom before the newer epoch did. While the job stops, one that was killed is not such an end, but a process that
		// an epoch without a place for it had ended.
		ending := r.State.Terminal() && (j.State == api.JobKilling || j.State == api.JobFailing)
		if !ending && (r.State != api.TaskStopped || j.State != api.JobStopping) {
			return false
		}
	}
	words := endOf(*t, *j, r)
	switch {
	case r.State == api.TaskFailed && j.State != api.JobFailing && j.State != api.JobKilling:
		d.fail(j, words)
	case j.Type == api.BSP && r.State == api.TaskKilled && j.State == api.JobRunning:
		d.fail(j, words)
	case j.Type == api.BSP && !settled(r.State) && r.Outcome != nil && j.State == api.JobRunning && j.Cause == "":
		j.Cause = words
		d.say("epoch %d of %s has to end: %s", j.Epoch, j.ID, words)
	}
	d.turn(j, t, at, r.State)
	t.Attempt, t.Since = max(t.Attempt, r.Attempt), r.At
	t.Words = r.Because
	if settled(t.State) {
		t.Asked = ""
	}
	d.say("%s is %s", t.ID, t.State)
	return true
}

// turn moves a task to a state and keeps the job's counts true.
func (d *decider) turn(j *Job, t *Task, at int, state api.TaskState) {
	j.Places = slices.Clone(j.Places)
	p := &j.Places[at]
	for _, step := range []struct {
		state api.TaskState
		n     int
	}{{t.State, -1}, {state, +1}} {
		if !settled(step.state) {
			continue
		}
		j.Count = counted(j.Count, step.state, step.n)
		if step.state == api.TaskStopped {
			p.Stopped += step.n
		} else {
			p.Done += step.n
		}
	}
	t.State = state
}

// fail makes the job end as failed: at once, when it has no process, and else when the last one is gone.
func (d *decider) fail(j *Job, reason string) {
	reason = clip(reason, reasonLimit)
	switch j.State {
	case api.JobQueued:
		d.drop(j, api.JobFailed, reason)
	case api.JobRunning, api.JobStopping, api.JobStopped, api.JobCommitting:
		j.State, j.Reason, j.Cause, j.Resume = api.JobFailing, reason, "", false
		d.dying[j.ID] = true
		d.say("%s fails: %s", j.ID, reason)
	}
}

// judge decides what the states of the tasks mean for their job.
func (d *decider) judge(j *Job) {
	if j.State.Terminal() || j.State == api.JobQueued {
		return
	}
	over, stopped, done := j.over(), j.Count[api.TaskStopped], j.Count[api.TaskCommitting]
	switch {
	case over == j.Tasks:
		d.finish(j)
	case j.State == api.JobFailing || j.State == api.JobKilling:
		if d.dying[j.ID] {
			d.reap(j)
		}
	case j.State == api.JobStopping && j.Type == api.BSP && done == j.Tasks:
		j.State, j.Reason, j.Resume = api.JobRunning, "", false
		d.say("%s was done before the stop reached it", j.ID)
	case (j.State == api.JobStopping || j.State == api.JobRunning && stopped > 0) && stopped+over+done == j.Tasks:
		j.State = api.JobStopped
		d.say("%s has stopped", j.ID)
		if j.Resume {
			d.resumeJob(j)
		}
	}
}

// finish ends a job of which every task has ended.
func (d *decider) finish(j *Job) {
	switch {
	case j.State == api.JobFailing, j.Count[api.TaskFailed] > 0:
		d.end(j, api.JobFailed, j.Reason)
	case j.State == api.JobKilling:
		d.end(j, api.JobKilled, j.Reason)
	case j.Count[api.TaskSucceeded] == j.Tasks:
		d.end(j, api.JobSucceeded, "")
	default:
		d.end(j, api.JobKilled, fmt.Sprintf("%d of its %s killed", j.Count[api.TaskKilled], tasks(j.Tasks)))
	}
}

// reap orders the end of every process of a job that has just begun to end. It names the tasks, so that a groom which
// has not heard of one of them yet holds it as ended, and starts nothing should an older launch still reach it.
func (d *decider) reap(j *Job) {
	for _, groom := range j.grooms() {
		d.supersede(*j, groom, api.DirectiveLaunch, api.DirectiveStop, api.DirectiveResume, api.DirectiveRestart)
		if j.Type == api.Plain && !slices.ContainsFunc(j.Places, func(p Place) bool { return p.Groom == groom && p.Done < p.Count }) {
			continue // nothing is left there
		}
		d.order(j, Order{Groom: groom, Kind: api.DirectiveKill, Placed: true, Fail: j.State == api.JobFailing, Reason: j.Reason})
	}
}

func (d *decider) end(j *Job, state api.JobState, reason string) {
	j.State, j.Reason, j.Cause, j.Resume, j.Ended = state, reason, "", false, d.now
	d.say("%s %s%s", j.ID, state, colon(reason))
}
