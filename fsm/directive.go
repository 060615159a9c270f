package fsm

import (
	"cmp"
	"fmt"

	"groom/api"
	"groom/fsm/table"
)

// directed decides on an order of the master. What it accepts is durable with this entry and is carried out from the
// tables alone, so a groom that dies here loses nothing and does nothing twice.
func (d *decider) directed(o Directed) error {
	dir := o.Directive
	if len(dir.ID) > idLimit || len(dir.Job) > idLimit {
		return fmt.Errorf("an id is over %d bytes: %w", idLimit, ErrRefused)
	}
	if self := d.Me(); self.Cluster != "" && dir.Cluster != self.Cluster {
		return fmt.Errorf("pinned to cluster %s, ordered by %s: %w", self.Cluster, dir.Cluster, ErrCluster)
	}
	if _, seen := d.Directives.Get(dir.ID); seen {
		return nil
	}
	j, known := d.Jobs.Get(string(dir.Job))
	if known && dir.Epoch < j.Epoch && dir.Kind != api.DirectiveForget {
		return fmt.Errorf("epoch %d of %s is over, it is at %d: %w", dir.Epoch, dir.Job, j.Epoch, ErrRefused)
	}
	d.say("%s %s", dir.Kind, dir.Job)
	var err error
	switch dir.Kind {
	case api.DirectiveLaunch:
		err = d.launch(o, j, known)
	case api.DirectiveRecover:
		err = d.recover(o, j, known)
	case api.DirectiveStop:
		err = d.stop(o, j, known)
	case api.DirectiveKill:
		err = d.kill(o, j)
	case api.DirectiveResume:
		err = d.resume(o, j, known)
	case api.DirectiveRestart:
		err = d.restartTasks(o, j, known)
	case api.DirectiveCommit:
		err = d.commit(j, known)
	case api.DirectiveForget:
		err = d.forget(o, j)
	default:
		err = fmt.Errorf("directive %q: %w", dir.Kind, ErrRefused)
	}
	if err != nil {
		return err
	}
	// A part leaves the directive unseen: when the parts that follow are lost in a crash, the master, which heard no
	// answer, sends the whole again, and what the first parts did is not done twice.
	if !o.Part {
		table.Put(d.draft, d.Directives, dir.ID, Seen{Kind: dir.Kind, Job: dir.Job})
	}
	return nil
}

// idLimit bounds identifiers that come from outside, in bytes.
const idLimit = 128

// launch accepts tasks. They get their attempts when they are due.
func (d *decider) launch(o Directed, j Job, known bool) error {
	if o.Job == nil || o.Directive.Launch == nil {
		return fmt.Errorf("launch without a job: %w", ErrRefused)
	}
	if err := checkTasks(o); err != nil {
		return err
	}
	var indexes []int
	for _, l := range o.Directive.Launch.Tasks {
		id := o.Directive.Job.Task(l.Index)
		indexes = append(indexes, l.Index)
		if _, ok := d.Tasks.Get(string(id)); ok {
			continue // there already, by a launch before this one or by a kill that overtook it
		}
		t := Task{ID: id, Epoch: o.Directive.Epoch, Next: l.Attempt}
		if j.Final != "" {
			d.turn(&t, j.Final, "%s %s: a kill of its job overtook the launch", id, j.Final)
			d.report(t, nil)
		} else {
			d.turn(&t, api.TaskPending, "%s accepted", id)
		}
		d.put(t)
	}
	d.putJob(o, j, indexes, known)
	return nil
}

func checkTasks(o Directed) error {
	for _, l := range o.Directive.Launch.Tasks {
		if l.Index < 0 || l.Index >= o.Job.Tasks || l.Attempt < 0 {
			return fmt.Errorf("task %d, attempt %d, of %d tasks: %w", l.Index, l.Attempt, o.Job.Tasks, ErrRefused)
		}
	}
	return nil
}

func (d *decider) putJob(o Directed, old Job, indexes []int, known bool) {
	j := *o.Job
	j.Epoch, j.Local = o.Directive.Epoch, addIndexes(nil, indexes)
	if known {
		j.Local = addIndexes(old.Local, indexes)
		j.Committed, j.Final, j.StopDue = old.Committed, old.Final, old.StopDue
	}
	if o.Directive.Launch.Root.Groom != "" {
		j.Root = &o.Directive.Launch.Root
	}
	table.Put(d.draft, d.Jobs, string(j.ID), j)
}

// recover ends every older epoch of a BSP job on this groom and launches what the master placed here for the new one.
// Tasks that moved to another groom end here. Nothing of the new epoch starts before its own older attempt is dead.
func (d *decider) recover(o Directed, j Job, known bool) error {
	if o.Job == nil || o.Directive.Launch == nil {
		return fmt.Errorf("recover without a job: %w", ErrRefused)
	}
	switch {
	case j.Committed:
		return fmt.Errorf("%s has committed: %w", o.Directive.Job, ErrRefused)
	case j.Final != "":
		return fmt.Errorf("%s is %s: %w", o.Directive.Job, j.Final, ErrRefused)
	}
	if err := checkTasks(o); err != nil {
		return err
	}
	wanted := map[int]api.TaskLaunch{}
	var indexes []int
	for _, l := range o.Directive.Launch.Tasks {
		wanted[l.Index] = l
		indexes = append(indexes, l.Index)
	}
	for _, i := range o.covered(j) {
		id := o.Directive.Job.Task(i)
		t, ok := d.Tasks.Get(string(id))
		l, here := wanted[i]
		switch {
		case ok && t.Epoch == o.Directive.Epoch:
			continue // by a part of this directive, before a crash
		case ok && t.State.Terminal() && !here:
			continue
		case ok && !t.Moved && here && (t.State.Terminal() || t.Final.Terminal()):
			return fmt.Errorf("%s is, or will be, %s: %w", id, cmp.Or(t.Final, t.State), ErrRefused)
		case !ok:
			t = Task{ID: id}
		}
		t.Epoch, t.NextTry, t.Moved = o.Directive.Epoch, nil, !here
		if here {
			t.Next, t.Final = l.Attempt, ""
		}
		d.rollback(&t, here, o.Directive)
		d.put(t)
	}
	d.putJob(o, j, indexes, known)
	return nil
}

// rollback ends the task's process, if it has one, and leaves the task waiting for the new epoch or, when the master
// moved it to another groom, for its end.
func (d *decider) rollback(t *Task, here bool, dir api.Directive) {
	a, ok := d.Newest(*t)
	alive := ok && a.State != AttemptEnded
	if alive {
		d.order(a, Order{By: ByRollback, Signal: "SIGKILL", Why: dir.Reason, At: d.now})
	}
	switch {
	case here && alive:
		d.turn(t, api.TaskStopping, "%s ends for epoch %d", a.ID, dir.Epoch)
	case here:
		d.turn(t, api.TaskPending, "%s waits for epoch %d", t.ID, dir.Epoch)
	case alive:
		t.Final = api.TaskKilled
		d.turn(t, api.TaskStopping, "%s ends: the task moved to another groom", a.ID)
	default:
		d.turn(t, api.TaskKilled, "%s moved to another groom", t.ID)
	}
}

// order asks for the end of a living attempt. A weaker order never replaces a stronger one.
func (d *decider) order(a Attempt, o Order) {
	if a.Order != nil && (!a.Order.weak() || o.weak()) {
		return
	}
	a.Order = &o
	table.Put(d.draft, d.Attempts, string(a.ID), a)
}

// covered are the tasks that a directive is about, by index: those named, or all of the job on this groom.
func (o Directed) covered(j Job) []int {
	dir := o.Directive
	var launched []int
	if dir.Launch != nil {
		for _, l := range dir.Launch.Tasks {
			launched = append(launched, l.Index)
		}
	}
	switch dir.Kind {
	case api.DirectiveLaunch:
		return launched
	case api.DirectiveStop, api.DirectiveKill, api.DirectiveResume, api.DirectiveRestart:
		if len(dir.Tasks) > 0 {
			return dir.Tasks
		}
	}
	if o.All {
		return dir.Tasks
	}
	return addIndexes(j.Local, launched)
}

func (d *decider) stop(o Directed, j Job, known bool) error {
	if !known {
		return fmt.Errorf("%s: %w", o.Directive.Job, ErrUnknown)
	}
	d.stopTasks(j, o.covered(j), o.Directive.Reason)
	return nil
}

func (d *decider) stopTasks(j Job, indexes []int, why string) {
	for _, i := range indexes {
		t, ok := d.Tasks.Get(string(j.ID.Task(i)))
		if !ok || t.State.Terminal() || t.State == api.TaskStopped || t.State == api.TaskCommitting {
			continue
		}
		if t.State == api.TaskStopping && t.Final != "" && t.Final != api.TaskPending {
			continue // on its way to a stop, or to something stronger
		}
		t.NextTry = nil
		a, ok := d.Newest(t)
		if ok && a.State != AttemptEnded {
			d.order(a, Order{By: api.ByStop, Signal: j.Stop.Signal, Grace: j.Stop.Grace, Why: why, At: d.now})
			t.Final = api.TaskStopped
			d.turn(&t, api.TaskStopping, "stop %s: %s, then SIGKILL after %s", a.ID, j.Stop.Signal, j.Stop.Grace)
		} else {
			d.turn(&t, api.TaskStopped, "%s stopped; it had no process", t.ID)
			d.report(t, nil)
		}
		d.put(t)
	}
}

// restartTasks ends the processes of plain tasks as a stop does, and lets others follow with a fresh budget: it is the
// operator who asks. A task that is on its way to another end keeps it; one without a process starts now.
func (d *decider) restartTasks(o Directed, j Job, known bool) error {
	dir := o.Directive
	if !known || j.Type == api.BSP {
		return fmt.Errorf("restart of %s: %w", dir.Job, ErrUnknown)
	}
	for _, i := range o.covered(j) {
		t, ok := d.Tasks.Get(string(dir.Job.Task(i)))
		if !ok || t.State.Terminal() || t.Final != "" {
			continue
		}
		t.Failures, t.Uncounted, t.NextTry = 0, 0, nil
		a, ok := d.Newest(t)
		switch {
		case ok && a.State != AttemptEnded:
			d.order(a, Order{By: api.ByRestart, Signal: j.Stop.Signal, Grace: j.Stop.Grace, Why: dir.Reason, At: d.now})
			t.Final = api.TaskPending
			d.turn(&t, api.TaskStopping, "restart %s: %s, then SIGKILL after %s", a.ID, j.Stop.Signal, j.Stop.Grace)
		case t.State == api.TaskBackoff: // it holds its slot, and is due now
			d.turn(&t, api.TaskBackoff, "%s restarts", t.ID)
		default:
			d.turn(&t, api.TaskPending, "%s restarts", t.ID)
		}
		d.put(t)
	}
	return nil
}

// kill ends tasks for good. A task that the tables do not hold gets a row that is terminal from the start, so that a
// launch which this kill overtook finds it and starts nothing.
func (d *decider) kill(o Directed, j Job) error {
	dir, final := o.Directive, api.TaskKilled
	if dir.Fail {
		final = api.TaskFailed
	}
	if j.Committed {
		return nil // too late: what remains is to move the output into place
	}
	j.ID, j.Epoch = dir.Job, dir.Epoch
	if len(dir.Tasks) == 0 || o.All {
		j.Final = cmp.Or(j.Final, final)
	}
	var covered []int
	for _, i := range o.covered(j) {
		if i < 0 {
			return fmt.Errorf("task %d: %w", i, ErrRefused)
		}
		id := dir.Job.Task(i)
		t, ok := d.Tasks.Get(string(id))
		if ok && (t.State.Terminal() || t.Final.Terminal()) {
			continue // over already, or about to be
		}
		t.ID, t.NextTry = id, nil
		a, ok := d.Newest(t)
		if ok && a.State != AttemptEnded {
			d.order(a, Order{By: api.ByKill, Signal: "SIGKILL", Why: dir.Reason, At: d.now})
			t.Final = final
			d.turn(&t, api.TaskStopping, "kill %s", a.ID)
		} else {
			t.Epoch = max(t.Epoch, dir.Epoch)
			d.turn(&t, final, "%s %s, without a process: %s", id, final, cmp.Or(dir.Reason, "asked for"))
			d.report(t, nil)
		}
		covered = append(covered, i)
		d.put(t)
	}
	j.Local = addIndexes(j.Local, covered)
	table.Put(d.draft, d.Jobs, string(j.ID), j)
	return nil
}

// resume starts stopped tasks again, with a fresh budget: it is the operator who asks.
func (d *decider) resume(o Directed, j Job, known bool) error {
	dir := o.Directive
	if !known {
		return fmt.Errorf("%s: %w", dir.Job, ErrUnknown)
	}
	for _, i := range o.covered(j) {
		t, ok := d.Tasks.Get(string(dir.Job.Task(i)))
		if !ok || t.State != api.TaskStopped {
			continue
		}
		t.Failures, t.Uncounted = 0, 0
		d.turn(&t, api.TaskPending, "%s resumes", t.ID)
		d.put(t)
	}
	return nil
}

// commit lets the reconciler move the outputs of the job's tasks into place.
func (d *decider) commit(j Job, known bool) error {
	if !known {
		return fmt.Errorf("commit: %w", ErrUnknown)
	}
	j.Committed = true
	table.Put(d.draft, d.Jobs, string(j.ID), j)
	return nil
}

func (d *decider) committed(o Committed) error {
	for _, i := range o.Tasks {
		t, j, err := d.task(o.Job.Task(i))
		if err != nil {
			return err
		}
		if t.State != api.TaskCommitting {
			continue
		}
		if !j.Committed {
			return fmt.Errorf("output of %s before its job has committed: %w", t.ID, ErrRefused)
		}
		d.turn(&t, api.TaskSucceeded, "output of %s is in place", t.ID)
		d.report(t, nil)
		d.put(t)
	}
	return nil
}

// forget drops the rows of an ended job. Its directories go afterwards: a crash between leaves directories that no
// row owns, which the next start cleans.
func (d *decider) forget(o Directed, j Job) error {
	id := o.Directive.Job
	for _, i := range j.Local {
		if t, ok := d.Tasks.Get(string(id.Task(i))); ok && !t.State.Terminal() {
			return fmt.Errorf("%s is %s: %w", t.ID, t.State, ErrRefused)
		}
	}
	for _, i := range o.covered(j) {
		t, ok := d.Tasks.Get(string(id.Task(i)))
		if !ok {
			continue
		}
		for n := 1; n <= t.Attempt; n++ {
			a, ok := d.Attempts.Get(string(t.ID.Attempt(n)))
			if ok && a.State != AttemptEnded {
				return fmt.Errorf("%s is %s: %w", a.ID, a.State, ErrRefused)
			}
			table.Delete(d.draft, d.Attempts, string(t.ID.Attempt(n)))
		}
		table.Delete(d.draft, d.Tasks, string(t.ID))
	}
	if !o.Part {
		table.Delete(d.draft, d.Jobs, string(id))
	}
	return nil
}
