package fsm

import (
	"fmt"
	"strings"
	"time"

	"groom/api"
	"groom/fsm/table"
)

// due gives each task that waits its next attempt, as far as the groom's capacity goes.
func (d *decider) due(o Due) error {
	room := d.Me().MaxTasks - d.Slots()
	for _, id := range o.Tasks {
		t, j, err := d.task(id)
		if err != nil {
			return err
		}
		switch t.State {
		case api.TaskPending:
			if room <= 0 || d.awaitsMaster(t) {
				continue
			}
			room--
		case api.TaskBackoff: // holds its slot
			if t.NextTry != nil && t.NextTry.Until(d.now) > 0 {
				continue
			}
		default:
			continue
		}
		d.intend(&t, j, o.Place)
		d.put(t)
	}
	return nil
}

// attemptsKept bounds the attempts of one task that the tables hold: one that is restarted for ever must not fill them.
// The history of the others is in the journal.
const attemptsKept = 32

// intend gives the task its next attempt. From this entry on, and not before, a process may exist for it.
func (d *decider) intend(t *Task, j Job, place Place) {
	last, n := t.Attempt, max(t.Attempt+1, t.Next)
	t.Attempt, t.Next, t.NextTry = n, 0, nil
	for old := max(1, last-attemptsKept+1); old <= n-attemptsKept; old++ {
		if id := string(t.ID.Attempt(old)); d.Attempts.Rev(id) > 0 {
			table.Delete(d.draft, d.Attempts, id) // its directory goes with the next sweep
		}
	}
	a := Attempt{ID: t.ID.Attempt(n), Epoch: t.Epoch, State: AttemptIntended, Place: place, Intended: d.now}
	table.Put(d.draft, d.Attempts, string(a.ID), a)
	of := ""
	if j.Type != api.BSP {
		of = fmt.Sprintf(", %d of %d failures used", t.Failures, limit(j.Restart))
	}
	d.turn(t, api.TaskLaunching, "launch %s%s", a.ID, of)
}

func (d *decider) started(o Started) error {
	a, t, _, err := d.attempt(o.Attempt)
	if err != nil {
		return err
	}
	if a.State != AttemptIntended {
		return nil // told again after a restart
	}
	a.State, a.Pid, a.ShimPid, a.Started = AttemptRunning, o.Pid, o.ShimPid, o.At
	a.Unenforced = o.Unenforced
	table.Put(d.draft, d.Attempts, string(a.ID), a)
	if t.State == api.TaskLaunching && t.Attempt == a.ID.N() {
		d.turn(&t, api.TaskRunning, "%s runs as pid %d", a.ID, o.Pid)
		d.put(t)
	} else {
		d.say("%s runs as pid %d, and is to end", a.ID, o.Pid)
	}
	for _, words := range o.Unenforced {
		d.say("not enforced: %s", words)
	}
	return nil
}

func (d *decider) done(o Done) error {
	a, _, _, err := d.attempt(o.Attempt)
	if err != nil {
		return err
	}
	if a.Done || a.State == AttemptEnded {
		return nil
	}
	a.Done = true
	table.Put(d.draft, d.Attempts, string(a.ID), a)
	d.say("%s has nothing more to do", a.ID)
	return nil
}

func (d *decider) told(o Told) error {
	a, _, _, err := d.attempt(o.Attempt)
	if err != nil {
		return err
	}
	if a.Failure != "" || a.State == AttemptEnded {
		return nil // the first reason is the one that counts
	}
	a.Failure = o.Failure
	table.Put(d.draft, d.Attempts, string(a.ID), a)
	d.say("%s tells: %s", a.ID, a.Failure)
	return nil
}

func (d *decider) silent(o Silent) error {
	a, _, j, err := d.attempt(o.Attempt)
	if err != nil {
		return err
	}
	// One that is not yet known to run is silent all the same: it was launched, or nobody would wait for its pings.
	if a.State == AttemptEnded || a.Order != nil {
		return nil
	}
	order := Order{By: BySilence, Signal: "SIGKILL", Why: o.Why, At: d.now}
	if j.Dump != api.DumpNone {
		order.Dump = j.Dump
	}
	a.Order = &order
	table.Put(d.draft, d.Attempts, string(a.ID), a)
	d.say("%s is out of contact (%s): kill it", a.ID, o.Why)
	return nil
}

// uncountedLimit bounds the ends of a task that are nobody's fault.
const uncountedLimit = 10

// ended records how an attempt ended and decides what becomes of its task. The entry is the proof that the attempt is
// dead, and only in it, or after it, a next attempt is intended.
func (d *decider) ended(o Ended) error {
	a, t, j, err := d.attempt(o.Attempt)
	if err != nil {
		return err
	}
	if a.State == AttemptEnded {
		return nil
	}
	end := o.End
	if a.Order != nil && a.Order.By == ByRollback && end.Outcome.Kind == api.Exited {
		// A peer that hears of the end of its epoch ends by itself, and may do so before its shim has the order. It is
		// rolled back all the same; its raw status stays.
		end.Words = strings.TrimPrefix(end.Words+"; it "+end.Outcome.String()+" by itself", "; ")
		end.Outcome = api.Outcome{Kind: api.RolledBack}
	}
	a.State, a.End = AttemptEnded, &end
	a.Counted = d.counted(a, j)
	table.Put(d.draft, d.Attempts, string(a.ID), a)
	if t.Attempt != a.ID.N() || t.State.Terminal() {
		d.say("%s %s", a.ID, end.Outcome)
		return nil
	}
	if a.healthy(j) && t.Failures+t.Uncounted > 0 {
		t.Failures, t.Uncounted = 0, 0
		d.say("%s was well for %s: a new budget begins", a.ID, time.Duration(end.Ran).Round(time.Second))
	}
	if a.Counted {
		t.Failures++
	}
	d.next(&t, j, a, o.Place)
	d.report(t, &a)
	d.put(t)
	return nil
}

// healthy says that the attempt ran for long enough to begin a new budget period. It goes by what its shim measured: of
// an end that nobody saw it is never said.
func (a Attempt) healthy(j Job) bool {
	return j.Restart.Healthy > 0 && a.End != nil && a.End.Ran >= int64(j.Restart.Healthy)
}

// counted says whether the end is charged to the task's budget: as its outcome says, with two things that an outcome
// does not know. A task that was asked to end may end as it likes; a BSP task that exits 0 without done has failed.
func (d *decider) counted(a Attempt, j Job) bool {
	if a.Order != nil && (a.Order.weak() || a.Order.By == api.ByKill || a.Order.By == ByRollback) {
		return false
	}
	if j.Type == api.BSP && a.End.Outcome.Kind == api.Exited && a.End.Outcome.Code == 0 {
		return !a.Done
	}
	return a.End.Outcome.Counted()
}

// next decides what a task whose newest attempt is dead does now.
func (d *decider) next(t *Task, j Job, a Attempt, place *Place) {
	outcome := a.End.Outcome
	success := outcome.Kind == api.Exited && outcome.Code == 0
	switch {
	case t.Final != "" && t.Final != api.TaskPending: // stop, kill or failure of the job
		d.turn(t, t.Final, "%s %s: the task is %s", a.ID, outcome, t.Final)
		t.Final = ""
	case a.End.Unproven && j.Restart.Unproven != api.UnprovenRestarts:
		t.Final = ""
		d.turn(t, api.TaskFailed, "%s %s: no next try, since what is left of it might still run", a.ID, outcome)
	case t.Final == api.TaskPending: // restart
		t.Final = ""
		d.waiting(t, j, place, fmt.Sprintf("%s %s: it is restarted", a.ID, outcome))
	case t.Epoch > a.Epoch: // rolled back: the newer epoch's attempt may start now
		d.waiting(t, j, place, fmt.Sprintf("%s %s", a.ID, outcome))
	case j.Type == api.BSP && success && a.Done:
		d.turn(t, api.TaskCommitting, "%s is done; its output waits for the job's commit", a.ID)
	case j.Type == api.BSP:
		d.turn(t, api.TaskPending, "%s %s: waits for the master to recover the job", a.ID, outcome)
	case success && j.Restart.Policy == api.RestartAlways:
		// Not at once, unless it was well: a program that ends at once must not keep the host busy.
		wait := time.Duration(j.Restart.Backoff)
		if a.healthy(j) {
			wait = 0
		}
		d.again(t, j, place, wait, fmt.Sprintf("%s exited with code 0, and is always restarted", a.ID))
	case success:
		d.turn(t, api.TaskSucceeded, "%s exited with code 0", a.ID)
	case j.Restart.Policy == api.RestartNever && outcome.Kind != api.NotStarted:
		d.turn(t, api.TaskFailed, "%s %s: its policy is to try once", a.ID, outcome)
	case a.Counted && t.Failures >= limit(j.Restart):
		d.turn(t, api.TaskFailed, "%s %s: failure %d of %d, no try is left", a.ID, outcome, t.Failures, limit(j.Restart))
	case a.Counted:
		d.again(t, j, place, d.backoff(*t, j), fmt.Sprintf("%s %s: failure %d of %d", a.ID, outcome, t.Failures, limit(j.Restart)))
	default:
		t.Uncounted++
		if t.Uncounted > uncountedLimit {
			d.turn(t, api.TaskFailed, "%s %s: not counted, but more than %d such ends", a.ID, outcome, uncountedLimit)
			return
		}
		d.again(t, j, place, d.backoff(*t, j), fmt.Sprintf("%s %s: not counted", a.ID, outcome))
	}
}

// again starts the next attempt at once, or after a pause.
func (d *decider) again(t *Task, j Job, place *Place, wait time.Duration, why string) {
	if wait == 0 {
		d.waiting(t, j, place, why)
		return
	}
	due := d.now.Add(wait)
	t.NextTry = &due
	d.turn(t, api.TaskBackoff, "%s; next try in %s", why, wait.Round(time.Millisecond))
}

// waiting launches the next attempt in the same entry when there is a place for it, and else leaves the task to be
// started when there is one. The slot of the attempt that just ended is still the task's.
func (d *decider) waiting(t *Task, j Job, place *Place, why string) {
	if place == nil {
		t.NextTry = nil
		d.turn(t, api.TaskBackoff, "%s; no local directory can take the next attempt", why)
		return
	}
	d.say("%s", why)
	d.intend(t, j, *place)
}
