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

func (s *Supervisor) awaitStart(a *attempt) {
	d := firstPause
	for !a.started && !s.tellStart(a) && !a.shim.ended() {
		if !pause(a.ctx, &d, lastPause) {
			return
		}
	}
}

func (s *Supervisor) tellStart(a *attempt) bool {
	r, err := ctl.Read(a.Dir, ctl.Start)
	if err != nil {
		return false
	}
	a.started = true
	fault.Point("supervisor.before-started")
	s.emit(Event{Kind: Started, ID: a.ID, Pid: int(r.Int("pid")), ShimPid: a.shim.pid, At: moment(r.Int("at"))})
	return true
}

// settle decides what became of an attempt whose shim has gone: once the lock is free, from files alone.
func (s *Supervisor) settle(ctx context.Context, ref Ref) (Finding, error) {
	d := firstPause
	for {
		held, err := ctl.Held(ref.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			break // the directory was taken away from under the attempt
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
	r, err := ctl.ReadExit(ref.Dir)
	if err == nil {
		e := exitOf(r)
		return Finding{Kind: found(e), Exit: e, Words: e.Words}, nil
	}
	torn := errors.Is(err, ctl.ErrTorn) || errors.Is(err, ctl.ErrNotRecord)
	if !torn && !errors.Is(err, fs.ErrNotExist) {
		return Finding{}, err
	}
	claimed, err := ctl.Has(ref.Dir, ctl.Claim)
	if err != nil {
		return Finding{}, err
	}
	swept := sweep(ctx, ref)
	if !claimed && !torn && len(swept.killed) == 0 {
		return unborn("its shim never claimed it"), nil
	}
	e := lost(ref, api.WhyShim)
	e.Unproven = swept.unproven
	if torn {
		e.Words += "; its exit record is torn"
	}
	e.Words += swept.words()
	return Finding{Kind: api.FoundLost, Exit: e, Words: e.Words}, nil
}

func found(e *Exit) api.Finding {
	if e.Outcome.Kind == api.NotStarted {
		return api.FoundUnborn
	}
	return api.FoundEnded
}

func unborn(why string) Finding {
	e := &Exit{Outcome: api.Outcome{Kind: api.NotStarted, Why: why}, Status: -1}
	e.Words = e.Outcome.String()
	return Finding{Kind: api.FoundUnborn, Exit: e, Words: e.Words}
}
