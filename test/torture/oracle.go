package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"groom/api"
	"groom/test/torture/mark"
)

// invariants of DESIGN.md section 11 that the torture holds the groom to, by their numbers there.
var invariants = []int{1, 2, 3, 4, 5, 6, 7, 8, 10, 12}

// violation is a broken invariant, in words.
type violation struct {
	invariant int
	words     string
}

// evidence is all that is known of a round once it is over.
type evidence struct {
	marks      []mark.Execution
	history    *history
	x          *executioner
	w          *work
	bystanders *bystanders
	leftovers  []victim
	results    map[string]int // contents of the results of BSP jobs
	digests    []string       // where the live and the replayed journal differ
}

// judge compares what the marks show with what the journals tell. The marks were made by the tasks themselves, the
// kills are the harness's own: neither comes from groom.
func judge(e *evidence) []violation {
	j := &judgement{evidence: e, of: map[string][]mark.Execution{}}
	for _, m := range e.marks {
		j.of[m.Attempt] = append(j.of[m.Attempt], m)
	}
	j.acknowledged()
	j.overlaps()
	j.intents()
	for _, id := range slices.Sorted(maps.Keys(e.history.attempts)) {
		j.outcome(id, e.history.attempts[id])
	}
	for _, words := range e.bystanders.harmed() {
		j.say(5, "%s", words)
	}
	j.budgets()
	j.terminal()
	for _, words := range e.digests {
		j.say(8, "%s", words)
	}
	if len(e.results) > 1 {
		j.say(10, "the same BSP job has %d different results: %q", len(e.results), slices.Sorted(maps.Keys(e.results)))
	}
	j.descendants()
	return j.found
}

type judgement struct {
	*evidence
	of    map[string][]mark.Execution // by attempt
	found []violation
}

func (j *judgement) say(invariant int, format string, args ...any) {
	j.found = append(j.found, violation{invariant, fmt.Sprintf(format, args...)})
}

// acknowledged: what was answered is there, by the entry that the answer named, and once.
func (j *judgement) acknowledged() {
	for _, words := range j.w.wrong {
		j.say(1, "%s", words)
	}
	jobs := map[string][]string{} // by request
	for id, rows := range j.history.jobs {
		jobs[rows[0].Request] = append(jobs[rows[0].Request], id)
	}
	for request, ids := range jobs {
		if len(ids) != 1 {
			j.say(1, "request %s made %d jobs: %v", request, len(ids), ids)
		}
	}
	for _, s := range j.w.sent {
		if s.job == "" {
			continue
		}
		if !slices.Contains(jobs[s.request], string(s.job)) {
			j.say(1, "%s was acknowledged for request %s, and is in no entry", s.job, s.request)
		}
		if e, ok := at(j.history.master, s.index); !ok || e.Kind != "job.submitted" {
			j.say(1, "the submission of %s was acknowledged with entry %d, which is %q", s.job, s.index, e.Kind)
		}
	}
	for _, a := range j.w.acts {
		if e, ok := at(j.history.master, a.index); !ok || e.Kind != "job.asked" {
			j.say(1, "%s of %s was acknowledged with entry %d, which is %q", a.verb, a.job, a.index, e.Kind)
		}
	}
	for id, a := range j.history.attempts {
		if by := j.history.against(id, a.index); by.kind != "" {
			j.say(1, "%s was intended by entry %d, after the groom took a %s of its job by entry %d", id, a.index, by.kind, by.index)
		}
	}
}

// against is the stop or the kill that stood when an attempt was intended, if there was one.
func (h *history) against(id string, index uint64) order {
	var by order
	for _, o := range h.orders[string(jobOfAttempt(id))] {
		switch {
		case o.index >= index || by.kind == api.DirectiveKill:
		case o.kind == api.DirectiveKill || o.kind == api.DirectiveStop:
			by = o
		case o.kind == api.DirectiveResume || o.kind == api.DirectiveLaunch || o.kind == api.DirectiveRecover:
			by = order{}
		}
	}
	return by
}

// overlaps: at any moment at most one process of an attempt, and of a task, lives; no attempt runs twice.
func (j *judgement) overlaps() {
	mains := map[string][]mark.Execution{} // by task
	for _, m := range j.marks {
		if m.Kind == mark.Main {
			mains[m.Task] = append(mains[m.Task], m)
		}
		for _, name := range m.Saw {
			if _, kind, _, _ := mark.Parse(name); kind == mark.Main {
				j.say(2, "%s began as pid %d while %s lived", m.Attempt, m.Pid, name)
			}
		}
	}
	for task, all := range mains {
		slices.SortFunc(all, func(a, b mark.Execution) int { return int(a.Start - b.Start) })
		for i, m := range all {
			for _, n := range all[i+1:] {
				if n.Start > 0 && n.Start <= m.Last() {
					j.say(2, "%s: pid %d (%s) lived from %d to %d, pid %d (%s) began at %d", task, m.Pid, m.Attempt, m.Start, m.Last(), n.Pid, n.Attempt, n.Start)
				}
				if n.Attempt == m.Attempt {
					j.say(2, "%s ran twice, as pid %d and as pid %d", n.Attempt, m.Pid, n.Pid)
				}
			}
		}
	}
}

// intents: nothing ran that an earlier entry had not intended.
func (j *judgement) intents() {
	for _, m := range j.marks {
		a := j.history.attempts[m.Attempt]
		switch {
		case a == nil:
			j.say(3, "%s ran as pid %d, and is in no entry", m.Attempt, m.Pid)
		case m.Start > 0 && m.Start < a.intended:
			j.say(3, "%s ran as pid %d at %d, and was intended at %d", m.Attempt, m.Pid, m.Start, a.intended)
		}
	}
}

// outcome: an attempt has one end, which the marks and the kills explain.
func (j *judgement) outcome(id string, a *attempt) {
	if a.ends != 1 || a.row.End == nil {
		j.say(4, "%s has %d ends", id, a.ends)
		return
	}
	o := a.row.End.Outcome
	var main *mark.Execution
	for i, m := range j.of[id] {
		if m.Kind == mark.Main {
			main = &j.of[id][i]
		}
	}
	plain := j.typeOf(id) == api.Plain
	why := ""
	switch {
	case o.Kind == api.NotStarted && main != nil:
		why = "it ran"
	case o.Kind == api.ExecFailed && (main != nil || o.Errno != "ENOENT" || !j.isMissing(id)):
		why = "its program is there"
	case o.Kind == api.Exited && main == nil:
		why = "it never ran"
	case o.Kind == api.Exited && plain && !main.Ended:
		why = "it did not exit by itself"
	case o.Kind == api.Exited && plain && main.Code != o.Code:
		why = fmt.Sprintf("its code was %d", main.Code)
	case o.Kind == api.Signaled && o.By == api.ByOthers && (o.Signal != "SIGKILL" || !j.hit(id, a, ofTask)):
		why = "nobody sent that"
	case o.Kind == api.Signaled && plain && o.By == api.ByStop && !j.w.asked[jobOfAttempt(id)][api.VerbStop]:
		why = "nobody asked for a stop"
	case o.Kind == api.Lost && o.Why == api.WhyShim && !j.hit(id, a, ofShim):
		why = "nobody killed its shim"
	case o.Kind == api.Lost && o.Why == api.WhyReboot && !j.cut(a):
		why = "there was no reboot"
	case o.Kind == api.Lost && j.x.finished[id] && main != nil && main.Ended && !j.struck(id):
		why = fmt.Sprintf("it exited with code %d, and its shim had told so before the power was lost", main.Code)
	case plain && (o.Kind == api.OOM || o.Kind == api.OutOfContact || o.Kind == api.RolledBack):
		why = "that cannot be"
	}
	if why != "" {
		j.say(4, "%s: the journal says %q, but %s (%s)", id, o, why, a.row.End.Words)
	}
}

// struck says whether the harness killed the shim or the task. Between a fork and its exec one looks like the other.
func (j *judgement) struck(id string) bool {
	return slices.ContainsFunc(j.x.kills, func(k killing) bool { return k.attempt == id && (k.kind == ofShim || k.kind == ofTask) })
}

// hit says whether something that the harness did explains the end: a kill, a point, a loss of power.
func (j *judgement) hit(id string, a *attempt, kind string) bool {
	if j.struck(id) {
		return true
	}
	for _, s := range j.x.armed {
		if a.intended <= s.to && a.ended >= s.from && kind == ofShim {
			return true
		}
	}
	return kind == ofShim && j.cut(a)
}

// cut says whether the power was lost while the attempt may have lived.
func (j *judgement) cut(a *attempt) bool {
	return slices.ContainsFunc(j.x.cuts, func(at int64) bool { return at >= a.intended && at <= a.ended })
}

func jobOfAttempt(id string) api.JobID { return api.AttemptID(id).Task().Job() }

func (j *judgement) typeOf(id string) api.JobType {
	rows := j.history.jobs[string(jobOfAttempt(id))]
	if len(rows) == 0 {
		return api.Plain
	}
	return rows[0].Type
}

func (j *judgement) isMissing(id string) bool {
	for _, s := range j.w.sent {
		if s.job == jobOfAttempt(id) {
			return s.spec.Command[0] == missing
		}
	}
	return false
}

// budgets: within a period, which only a resume ends, no more ends are counted than the limit; by the rows, and by the
// marks alone.
func (j *judgement) budgets() {
	for id, rows := range j.history.tasks {
		job := api.TaskID(id).Job()
		limit := j.history.limits[string(job)]
		if j.typeOf(string(api.TaskID(id).Attempt(1))) != api.Plain || limit == 0 {
			continue // of BSP jobs the master keeps the budget
		}
		for _, t := range rows {
			if t.Failures > limit {
				j.say(6, "%s has %d counted failures, the limit is %d", id, t.Failures, limit)
			}
		}
		failed, periods := 0, 1
		for _, a := range j.w.acts {
			if a.job == job && a.verb == api.VerbResume {
				periods++
			}
		}
		if j.w.asked[job][api.VerbResume] {
			periods++ // one whose answer was lost
		}
		for _, m := range j.marks {
			// One whose end was lost with the power before its shim could keep it is known to nobody.
			a := j.history.attempts[m.Attempt]
			known := a != nil && a.row.End != nil && a.row.End.Outcome.Kind != api.Lost
			if known && m.Task == id && m.Kind == mark.Main && m.Ended && m.Code != 0 {
				failed++
			}
		}
		if failed > limit*periods {
			j.say(6, "%s failed by itself %d times in %d periods of %d", id, failed, periods, limit)
		}
	}
}

// terminal: no state follows a terminal one, of a task or of a job; and no execution begins after it.
func (j *judgement) terminal() {
	for id, rows := range j.history.tasks {
		for i, t := range rows[1:] {
			if rows[i].State.Terminal() && !rows[i].Moved && t.State != rows[i].State {
				j.say(7, "%s was %s, and then %s", id, rows[i].State, t.State)
			}
		}
		if last := rows[len(rows)-1]; !last.State.Terminal() {
			j.say(7, "%s is %s after everything has ended", id, last.State)
		}
	}
	for id, rows := range j.history.jobs {
		for i, r := range rows[1:] {
			if rows[i].State.Terminal() && r.State != rows[i].State {
				j.say(7, "%s was %s, and then %s", id, rows[i].State, r.State)
			}
		}
	}
}

// descendants: what a task made is gone once its end is recorded, unless the end says that this is not proven.
func (j *judgement) descendants() {
	for _, m := range j.marks {
		a := j.history.attempts[m.Attempt]
		if a == nil || a.row.End == nil || a.row.End.Unproven {
			continue
		}
		// A mark of the exec habit beats once; the others tell to 20 ms how long they lived.
		if m.Last() > a.ended {
			invariant := 12
			if m.Kind == mark.Main {
				invariant = 2
			}
			j.say(invariant, "%s: its %s, pid %d, lived at %d, after its end (%s) was recorded at %d", m.Attempt, m.Kind, m.Pid, m.Last(), a.row.End.Outcome, a.ended)
		}
	}
	for _, m := range j.marks {
		for _, name := range m.Saw {
			if attempt, kind, _, _ := mark.Parse(name); kind == mark.Child && attempt != m.Attempt {
				j.say(12, "%s began while %s lived", m.Attempt, name)
			}
		}
	}
	for _, v := range j.leftovers {
		if a := j.history.attempts[v.attempt]; a == nil || a.row.End == nil || !a.row.End.Unproven {
			j.say(12, "%s: a %s is left, pid %d", v.attempt, v.kind, v.pid)
		}
	}
}

// unproven counts the ends that say so.
func (h *history) unproven() int {
	n := 0
	for _, a := range h.attempts {
		if a.row.End != nil && a.row.End.Unproven {
			n++
		}
	}
	return n
}

func (v violation) String() string {
	return fmt.Sprintf("invariant %d: %s", v.invariant, strings.TrimSpace(v.words))
}
