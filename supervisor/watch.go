package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"groom/api"
	"groom/fault"
	"groom/supervisor/ctl"
)

// Between processes there is nothing to wait on for a file to appear or a lock to come free: the pause between two
// looks starts short and doubles.
const (
	firstPause = 200 * time.Microsecond
	lastPause  = 20 * time.Millisecond
	errorPause = time.Second
)

// pause waits, and says whether there is a reason to look again.
func pause(ctx context.Context, d *time.Duration, most time.Duration) bool {
	timer := time.NewTimer(*d)
	defer timer.Stop()
	*d = min(*d*2, most)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch tells the start and the end of an attempt whose shim lives. It owns a.shim.
func (s *Supervisor) watch(a *attempt) {
	defer s.leave(a)
	defer a.shim.close()
	defer context.AfterFunc(a.ctx, a.shim.close)()
	s.awaitStart(a)
	if a.shim.wait() != nil {
		return // closed: the attempt runs on
	}
	if !a.started { // it came and went between two looks
		s.tellStart(a)
	}
	d := errorPause
	for {
		f, err := s.settle(a.ctx, a.Ref)
		if err == nil {
			s.leave(a)
			fault.Point("supervisor.before-ended")
			at := f.Exit.EndedAt
			if at.IsZero() {
				at = time.Now().UTC()
			}
			s.emit(Event{Kind: Ended, ID: a.ID, ShimPid: a.shim.pid, At: at, Exit: f.Exit})
			return
		}
		// The record is there or not; that it cannot be read now is no reason to invent an end.
		s.log.Warn("settle attempt", "attempt", a.ID, "error", err)
		if !pause(a.ctx, &d, errorPause) {
			return
		}
	}
}

// awaitStart looks for ctl/start. When that is late, the shim is asked: on a full disk it has a task and no record. A
// shim without a task, which only waits to write why, is asked every second.
func (s *Supervisor) awaitStart(a *attempt) {
	most := lastPause
	for d := firstPause; !a.started && !s.tellStart(a) && !a.shim.ended(); {
		if d == most {
			if r, err := ask(a.Dir, ctl.Record{}.Add("cmd", "ping")); err == nil && r.Int("pid") > 0 {
				s.started(a, r)
				return
			}
			most = errorPause
		}
		if !pause(a.ctx, &d, most) {
			return
		}
	}
}

func (s *Supervisor) tellStart(a *attempt) bool {
	r, err := ctl.Read(a.Dir, ctl.Start)
	if err == nil {
		s.started(a, r)
	}
	return err == nil
}

func (s *Supervisor) started(a *attempt, r ctl.Record) {
	a.started, a.Ran = true, true
	fault.Point("supervisor.before-started")
	s.emit(Event{Kind: Started, ID: a.ID, Pid: int(r.Int("pid")), ShimPid: a.shim.pid, At: moment(r.Int("at")), Unenforced: unenforced(a.Dir)})
}

// settle decides what became of an attempt whose shim has gone: once the lock is free, from files alone.
func (s *Supervisor) settle(ctx context.Context, ref Ref) (Finding, error) {
	d := firstPause
	what := "its lock is free"
	for {
		held, err := ctl.Held(ref.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			what = absent(ref.Dir)
			break
		}
		if err != nil {
			return Finding{}, err
		}
		if !held {
			break
		}
		// Some process is between its fork and its exec.
		if !pause(ctx, &d, lastPause) {
			return Finding{}, ctx.Err()
		}
	}
	e, flaw, err := readExit(ref)
	if err != nil {
		return Finding{}, err
	}
	if e != nil {
		// Killed before the group is removed, or halfway: the record stands, and the next start removes the rest.
		fault.Point("supervisor.before-ungroup")
		s.endGroup(ctx, ref)
		return Finding{Kind: found(e), Exit: e, Words: what + ", and its shim left an exit record: " + e.Words}, nil
	}
	claimed, err := ctl.Claimed(ref.Dir)
	if err != nil {
		return Finding{}, err
	}
	swept := sweep(ctx, ref, s.groupOf(ref))
	if err := ctx.Err(); err != nil {
		return Finding{}, err // the sweep was cut short, and that decides nothing
	}
	return judge(ref, what, claimed, flaw, swept.any, swept.unproven, swept.words()), nil
}

// readExit reads the exit record. Without one that can be believed the exit is nil, and a flaw says what stands there
// instead; an error is a disk that could not be read, which decides nothing.
func readExit(ref Ref) (e *Exit, flaw string, err error) {
	r, err := ctl.ReadExit(ref.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", nil
	case errors.Is(err, ctl.ErrTorn):
		return nil, "; its exit record is torn", nil
	case errors.Is(err, ctl.ErrNotRecord):
		return nil, "; its exit record tells no end", nil
	case err != nil:
		return nil, "", err
	case r.Get("id") != string(ref.ID):
		return nil, "; its exit record is another's", nil
	}
	return exitOf(r), "", nil
}

func found(e *Exit) api.Finding {
	if e.Outcome.Kind == api.NotStarted {
		return api.FoundUnborn
	}
	return api.FoundEnded
}

func unborn(what, why string) Finding {
	e := &Exit{Outcome: api.Outcome{Kind: api.NotStarted, Why: why}, Status: -1}
	e.Words = e.Outcome.String()
	return Finding{Kind: api.FoundUnborn, Exit: e, Words: what + ": not started; it may be tried again"}
}
