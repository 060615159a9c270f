package server

import (
	"context"
	"errors"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fsm"
	"groom/supervisor"
)

// work is what the tables ask for and the world is not yet. It is derived from the tables alone, so a kill at any
// moment loses nothing of it.
type work struct {
	due     []api.TaskID  // tasks whose next attempt may be intended now
	start   []fsm.Attempt // intended, and not yet handed to the supervisor
	unborn  []fsm.Attempt // intended, and asked to end before they were
	orders  []fsm.Attempt // to be told to end
	parted  []api.JobID   // jobs that no master has asked for for too long
	commits map[api.JobID][]int
	rounds  []fsm.Job          // BSP jobs whose barriers are open
	open    map[api.JobID]bool // BSP jobs with tasks that have not ended
	wait    time.Duration      // until a backoff ends
}

// dueAtOnce bounds the tasks of one entry, which has to stay far below 64 KiB.
const dueAtOnce = 32

// hands is what the reconciler has in its hands. It belongs to the reconciler's goroutine; after a restart it is
// rebuilt by adoption, and orders are told again, which changes nothing for a shim that has them.
type hands struct {
	launched map[api.AttemptID]bool
	told     map[api.AttemptID]string // by whom the newest order is that the shim was told
	rounds   map[api.JobID]int        // epochs begun
	claimed  map[api.JobID]bool       // jobs whose outputs are held, as far as they have any
	slots    chan struct{}            // bounds launches under way
}

// launchesAtOnce bounds the launches under way: each copies artifacts and forks.
const launchesAtOnce = 4

func newHands() *hands {
	return &hands{
		launched: map[api.AttemptID]bool{}, told: map[api.AttemptID]string{},
		rounds: map[api.JobID]int{}, claimed: map[api.JobID]bool{}, slots: make(chan struct{}, launchesAtOnce),
	}
}

// dumpWait is what a silent task is given to write its stacks before it is killed.
const dumpWait = 2 * time.Second

// dropEnded lets go of attempts that have ended, and of those whose rows have gone. It is called under View.
func (h *hands) dropEnded(s *fsm.State) {
	for id := range h.launched {
		if a, ok := s.Attempts.Get(string(id)); !ok || a.State == fsm.AttemptEnded {
			delete(h.launched, id)
			delete(h.told, id)
		}
	}
}

// retryEvery is when what could not be carried out is tried again.
const retryEvery = time.Second

// reconcile makes the world as the tables say, each time they change and each time a timer fires.
func (g *Groom) reconcile(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.looks:
			continue
		case <-g.kicks:
		case <-timer.C:
		}
		w := g.derive()
		if !g.carryOut(ctx, w) && (w.wait == 0 || w.wait > retryEvery) {
			w.wait = retryEvery
		}
		timer.Stop()
		if w.wait > 0 {
			timer.Reset(w.wait)
		}
	}
}

// derive compares the tables with what is in hand.
func (g *Groom) derive() work {
	w := work{commits: map[api.JobID][]int{}, open: map[api.JobID]bool{}}
	g.machine.View(func() {
		g.hands.dropEnded(g.state)
		for _, a := range g.state.Living.All() {
			g.deriveAttempt(a, &w)
		}
		open := map[api.JobID]bool{}
		for _, t := range g.state.Open.All() {
			if j, ok := g.state.Jobs.Get(string(t.ID.Job())); ok && j.Committed && t.State == api.TaskCommitting {
				w.commits[j.ID] = append(w.commits[j.ID], t.ID.Index())
			}
			if t.State != api.TaskStopped {
				open[t.ID.Job()] = true
			}
		}
		for _, j := range g.state.Jobs.All() {
			if j.Type == api.BSP && open[j.ID] {
				w.open[j.ID] = true
			}
			if j.Type == api.BSP && !j.Committed && open[j.ID] {
				j.Local = g.peersHere(j)
				w.rounds = append(w.rounds, j)
			}
		}
		w.due, w.parted, w.wait = g.state.Due(clock.Now())
	})
	return w
}

// peersHere is the tasks that take part in the job's barriers here in its present epoch: of those that the groom ever
// had, some may have been placed elsewhere since. It is called under View.
func (g *Groom) peersHere(j fsm.Job) []int {
	var here []int
	for _, i := range j.Local {
		if t, ok := g.state.Tasks.Get(string(j.ID.Task(i))); ok && t.Epoch == j.Epoch && !t.Moved {
			here = append(here, i)
		}
	}
	return here
}

func (g *Groom) deriveAttempt(a fsm.Attempt, w *work) {
	switch {
	case !g.hands.launched[a.ID] && a.Order != nil:
		w.unborn = append(w.unborn, a)
	case !g.hands.launched[a.ID]:
		w.start = append(w.start, a)
	case a.Order != nil && g.hands.told[a.ID] != a.Order.By:
		w.orders = append(w.orders, a)
	}
}

// carryOut does what is to be done, and says whether all of it could be.
func (g *Groom) carryOut(ctx context.Context, w work) (all bool) {
	all = true
	for _, a := range w.unborn {
		// Nothing was ever made for it in this run of the groom, and adoption settled those of earlier runs.
		g.hands.launched[a.ID] = true
		end := fsm.Ended{Attempt: a.ID, End: notStarted("asked to end before its process was made"), Place: g.place()}
		g.running.Go(func() { g.insist(ctx, end) })
	}
	for _, a := range w.orders {
		o := supervisor.Order{By: a.Order.By, Signal: a.Order.Signal, Grace: time.Duration(a.Order.Grace), Dump: a.Order.Dump}
		if o.Dump != "" {
			o.DumpWait = dumpWait
		}
		if err := g.super.Stop(a.ID, o); err != nil {
			g.log.Warn("tell order", "attempt", a.ID, "by", o.By, "err", err)
			all = false
			continue
		}
		g.hands.told[a.ID] = a.Order.By
	}
	for _, id := range w.parted {
		if err := g.observe(ctx, fsm.Abandoned{Job: id}); err != nil && ctx.Err() == nil {
			g.log.Warn("stop job without a master", "job", id, "err", err)
			all = false
		}
	}
	if g.unswept.Swap(false) {
		g.running.Go(g.sweep) // large directories must not hold a restart up
	}
	g.keepClaims(w.open)
	g.openRounds(w.rounds)
	for job, tasks := range w.commits {
		g.commitOutput(ctx, job, tasks)
	}
	if g.journal.Stats().Health != string(api.HealthOK) {
		return false // nothing is launched that could not be recorded
	}
	for _, a := range w.start {
		g.hands.launched[a.ID] = true
		g.launchLater(ctx, a)
	}
	if len(w.due) == 0 {
		return all
	}
	place := g.place()
	if place == nil {
		return all // a directory that comes back wakes the reconciler
	}
	for len(w.due) > 0 {
		n := min(len(w.due), dueAtOnce)
		if err := g.observe(ctx, fsm.Due{Tasks: w.due[:n], Place: *place}); err != nil && ctx.Err() == nil {
			g.log.Warn("intend attempts", "err", err)
			all = false
		}
		w.due = w.due[n:]
	}
	return all
}

// launchLater starts an attempt in the background, since its artifacts may be large.
func (g *Groom) launchLater(ctx context.Context, a fsm.Attempt) {
	g.running.Go(func() {
		select {
		case g.hands.slots <- struct{}{}:
		case <-ctx.Done():
			return // the next start finds the intent without a process
		}
		defer func() { <-g.hands.slots }()
		if err := g.launch(ctx, a); err != nil {
			g.log.Warn("launch", "attempt", a.ID, "err", err)
			end := notStarted(err.Error())
			if errors.Is(err, supervisor.ErrIdentity) { // its user can mend that, another try cannot
				end.Outcome = api.Outcome{Kind: api.ExecFailed, Errno: "EPERM", Why: err.Error()}
			}
			g.insist(ctx, fsm.Ended{Attempt: a.ID, End: end, Place: g.place()})
		}
	})
}

func notStarted(why string) fsm.End {
	return fsm.End{Outcome: api.Outcome{Kind: api.NotStarted, Why: why}, Status: -1, At: clock.Now()}
}
