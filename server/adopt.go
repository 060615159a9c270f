package server

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fault"
	"groom/fsm"
	"groom/supervisor"
)

// adoptAtOnce bounds the attempts that are looked for at the same time.
const adoptAtOnce = 16

// adopt looks for every attempt that the tables hold as alive, records what it finds, and kills what the tables do not
// know. Only then are the findings journaled as this start's recovery report: a kill before leaves a start without a
// report, whose findings are recorded all the same, each in its own entry.
func (g *Groom) adopt(ctx context.Context) error {
	var living []fsm.Attempt
	known := map[api.AttemptID]bool{}
	g.machine.View(func() {
		for _, a := range g.state.Attempts.All() {
			known[a.ID] = true
		}
		for _, a := range g.state.Living.All() {
			g.tokens.add(g.taskToken(a.ID), a.ID)
			living = append(living, a)
		}
	})
	g.progress(fmt.Sprintf("looking for %d living tasks", len(living)), 0, 0)
	rows := make([]api.RecoveryRow, len(living))
	errs := make([]error, len(living))
	slots := make(chan struct{}, adoptAtOnce)
	var all sync.WaitGroup
	for i, a := range living {
		g.hands.launched[a.ID] = true
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			rows[i], errs[i] = g.adoptOne(ctx, a)
		})
	}
	all.Wait()
	for i, err := range errs {
		if err == nil {
			continue
		}
		// A disk that cannot be read says nothing of the attempt. The groom starts without knowing; nothing follows the
		// attempt before it is settled.
		g.log.Error("adopt; trying again", "attempt", living[i].ID, "err", err)
		rows[i] = api.RecoveryRow{Attempt: living[i].ID, Finding: api.FoundUnknown, Words: "could not be looked for yet: " + err.Error()}
		g.unsettled = append(g.unsettled, living[i])
	}
	orphans, err := g.killOrphans(ctx, known)
	if err != nil {
		return err
	}
	left, err := g.super.Leftovers(ctx, func(id api.AttemptID) bool { return known[id] })
	if err != nil {
		g.log.Warn("clean up control groups", "err", err) // the next start tries again
	}
	if len(left) > 0 {
		g.log.Info("removed control groups that no row owns", "attempts", left)
	}
	stats, self := g.journal.Stats(), g.Me()
	report := api.RecoveryReport{
		Incarnation: self.Incarnation, At: time.Now().UTC(), BootID: g.host.BootID, SameBoot: g.sameBoot,
		Replayed: stats.Replayed, JournalTook: rounded(stats.OpenTook), Took: rounded(time.Since(g.began)),
		Found: append(rows, orphans...),
	}
	fault.Point("server.before-recovered")
	if err := g.observe(ctx, fsm.Recovered{Report: report}); err != nil {
		return fmt.Errorf("record recovery: %w", err)
	}
	return nil
}

// rounded is a duration for people.
func rounded(d time.Duration) api.Duration { return api.Duration(d.Round(10 * time.Microsecond)) }

// settleLater looks again for an attempt that could not be looked for at the start.
func (g *Groom) settleLater(ctx context.Context, a fsm.Attempt) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleEvery):
		}
		row, err := g.adoptOne(ctx, a)
		if err == nil {
			g.log.Info("settled", "attempt", a.ID, "finding", row.Finding, "words", row.Words)
			return
		}
		g.log.Error("adopt; trying again", "attempt", a.ID, "err", err)
	}
}

const settleEvery = 5 * time.Second

// adoptOne looks for one attempt. What it finds dead is recorded at once, which may intend the next attempt.
func (g *Groom) adoptOne(ctx context.Context, a fsm.Attempt) (api.RecoveryRow, error) {
	row := api.RecoveryRow{Attempt: a.ID}
	f, err := g.super.Adopt(ctx, supervisor.Ref{
		ID: a.ID, Dir: attemptDir(a), BootID: a.Place.BootID, PIDNS: a.Place.PIDNS, Token: g.taskToken(a.ID),
		Ran: a.State == fsm.AttemptRunning,
	})
	if err != nil {
		return row, fmt.Errorf("adopt %s: %w", a.ID, err)
	}
	row.Finding, row.Pid, row.Words = f.Kind, f.Pid, f.Words
	var o fsm.Observation
	switch {
	case f.Kind == api.FoundAlive:
		job, spec, err := g.specOf(a.ID.Task().Job())
		if err == nil {
			g.pulses.watch(a.ID, job, spec)
			g.probe(a, job, spec)
		} else { // it runs on, watched by its process alone
			g.log.Error("read spec; pings are not watched", "attempt", a.ID, "err", err)
		}
		if a.State != fsm.AttemptIntended || f.Pid == 0 {
			return row, nil
		}
		o = fsm.Started{Attempt: a.ID, Pid: f.Pid, ShimPid: f.ShimPid, At: clock.Now(), Unenforced: f.Unenforced}
	default:
		end := endOf(f.Exit)
		row.Outcome = &end.Outcome
		o = fsm.Ended{Attempt: a.ID, End: end, Place: g.place()}
	}
	if err := g.observe(ctx, o); err != nil {
		return row, fmt.Errorf("record %s: %w", a.ID, err)
	}
	g.machine.View(func() {
		if t, ok := g.state.Tasks.Get(string(a.ID.Task())); ok {
			row.Words += "; " + t.Words
		}
	})
	return row, nil
}

// endOf is an exit record as the tables keep it.
func endOf(x *supervisor.Exit) fsm.End {
	at := clock.Now()
	if !x.EndedAt.IsZero() {
		at = momentAt(x.EndedAt)
	}
	return fsm.End{
		Outcome: x.Outcome, Status: x.Status, At: at, Ran: int64(x.Ran), MaxRSS: x.MaxRSS,
		UserNS: int64(x.User), SystemNS: int64(x.Sys), Dropped: x.Dropped,
		Escalated: x.Escalated, Unproven: x.Unproven, Words: x.Words,
	}
}

// lanes is how many processes are followed at the same time, so that the journal commits their entries together.
const lanes = 16

// followProcesses records what happens to processes, in the order in which it happened to each: what is told of one
// attempt takes one lane. What is in a lane when the groom ends is found by the next start, like all that is told later.
func (g *Groom) followProcesses(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	var lane [lanes]chan supervisor.Event
	for i := range lane {
		lane[i] = make(chan supervisor.Event, 8)
		defer close(lane[i])
		following.Go(func() {
			for e := range lane[i] {
				g.process(ctx, e)
			}
		})
	}
	seed := maphash.MakeSeed()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-g.super.Events():
			if !ok {
				return
			}
			select {
			case lane[maphash.String(seed, string(e.ID))%lanes] <- e:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (g *Groom) process(ctx context.Context, e supervisor.Event) {
	switch e.Kind {
	case supervisor.Started:
		g.insist(ctx, fsm.Started{Attempt: e.ID, Pid: e.Pid, ShimPid: e.ShimPid, At: momentAt(e.At), Unenforced: e.Unenforced})
	case supervisor.Ended:
		g.pulses.drop(e.ID)
		g.probes.drop(e.ID)
		g.insist(ctx, fsm.Ended{Attempt: e.ID, End: endOf(e.Exit), Place: g.place()})
		g.tokens.drop(g.taskToken(e.ID))
		select {
		case g.endings <- struct{}{}:
		default: // it is told already
		}
	}
}

// momentAt is a wall clock reading of this boot as a moment.
func momentAt(at time.Time) api.Moment {
	now := clock.Now()
	return now.Add(at.Sub(now.Wall))
}
