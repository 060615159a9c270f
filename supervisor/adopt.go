package supervisor

import (
	"context"
	"fmt"
	"time"

	"groom/api"
	"groom/fault"
	"groom/supervisor/ctl"
	"groom/supervisor/logs"
)

// strangerAfter is how long a held lock and a ctl/shim that names another process are looked at again before the shim
// is taken for dead.
const strangerAfter = 2 * time.Second

// bornWithin is what a shim that was forked is given to say who it is. One that was frozen before must not keep a
// groom from starting.
const bornWithin = 5 * time.Second

// Adopt finds out what became of an attempt that was intended before this start, and watches it when it lives. It
// waits a few seconds while a shim is being born.
//
// Adopt changes nothing but this: a shim that takes too long to be born may not start its task any more, and what is
// left of an attempt that lost its shim is killed.
func (s *Supervisor) Adopt(ctx context.Context, ref Ref) (Finding, error) {
	boot, pidns, err := Host()
	if err != nil {
		return Finding{}, fmt.Errorf("adopt %s: %w", ref.ID, err)
	}
	if ref.BootID != boot || ref.PIDNS != pidns {
		// No pid of then means anything now. None is touched.
		f, err := s.vanished(ctx, ref, ref.BootID == boot)
		if err != nil {
			return Finding{}, fmt.Errorf("adopt %s: %w", ref.ID, err)
		}
		return f, nil
	}
	a, err := s.enter(ref)
	if err != nil {
		return Finding{}, fmt.Errorf("adopt %s: %w", ref.ID, err)
	}
	f, err := s.look(ctx, a)
	if err != nil {
		s.leave(a)
		return Finding{}, fmt.Errorf("adopt %s: %w", ref.ID, err)
	}
	if f.Kind != api.FoundAlive {
		s.leave(a)
		return f, nil
	}
	if !s.spawn(func() { s.watch(a) }) {
		a.shim.close()
		s.leave(a)
		return Finding{}, fmt.Errorf("adopt %s: %w", ref.ID, ErrClosed)
	}
	return f, nil
}

// look looks at the lock until it is settled who holds it.
func (s *Supervisor) look(ctx context.Context, a *attempt) (Finding, error) {
	fault.Point("supervisor.before-look")
	var stranger time.Time
	began := time.Now()
	for d := firstPause; ; {
		seen, shim, err := glance(a.Dir)
		switch {
		case err != nil:
			return Finding{}, err
		case seen == lockFree:
			// What carries the token all the same is found and killed.
			return s.settle(ctx, a.Ref)
		case seen == shimLives:
			return s.alive(a, shim), nil
		case seen == shimless:
			if time.Since(began) < s.bornWithin {
				break
			}
			fault.Point("supervisor.before-forbid")
			if ours, err := ctl.Forbid(a.Dir); err != nil {
				return Finding{}, err
			} else if ours {
				// Killed here: the next start finds this claim, and comes to the same end.
				fault.Point("supervisor.after-forbid")
				return unborn("its lock is held, and its shim did not say who it is in time; it may not start anything any more",
					"its shim did not come to life, and was forbidden to"), nil
			}
			return s.usurped(ctx, a.Ref, "its lock is held, and ctl/shim is missing")
		case stranger.IsZero():
			stranger = time.Now()
		case time.Since(stranger) > s.strangerAfter:
			return s.usurped(ctx, a.Ref, "another process holds its lock")
		}
		if !pause(ctx, &d, lastPause) {
			return Finding{}, fmt.Errorf("wait for shim: %w", ctx.Err())
		}
	}
}

func (s *Supervisor) alive(a *attempt, shim *process) Finding {
	a.shim = shim
	f := Finding{Kind: api.FoundAlive, ShimPid: shim.pid, Words: fmt.Sprintf("its lock is held by its shim, process %d: watched again", shim.pid)}
	if r, err := ctl.Read(a.Dir, ctl.Start); err == nil {
		a.started, a.Ran = true, true
		f.Pid, f.Unenforced = int(r.Int("pid")), unenforced(a.Dir)
	} else {
		f.Words += ", which has not said that its task runs"
	}
	return f
}

// usurped is an attempt whose lock is held by a process that cannot be shown to be its shim. It must come to an end
// for the tables; that nothing of it lives is proven only by its control group, into which a shim that lives all the
// same can start nothing once it has gone.
func (s *Supervisor) usurped(ctx context.Context, ref Ref, why string) (Finding, error) {
	swept := sweep(ctx, ref, s.groupOf(ref))
	if err := ctx.Err(); err != nil {
		return Finding{}, err
	}
	e := lost(ref, api.WhyShim)
	e.Unproven = !swept.proven
	e.Words += "; " + why + swept.words()
	return Finding{Kind: api.FoundLost, Exit: e, Words: why + ", and it is not touched: " + e.Words}, nil
}

// vanished is an attempt of another boot, or of another pid namespace of this one.
func (s *Supervisor) vanished(ctx context.Context, ref Ref, sameBoot bool) (Finding, error) {
	f, err := elsewhere(ref, sameBoot)
	switch {
	case err != nil:
		return f, err
	case !f.Exit.Unproven:
		if sameBoot {
			s.endGroup(ctx, ref)
		}
		return f, nil
	}
	// No pid of there means anything here, but a control group is the same from everywhere.
	if g := s.groupOf(ref); g.Unified != "" {
		words := "; its processes were killed through their control group"
		if err := g.End(ctx, killWait); err != nil {
			words = "; not proven that none is left: " + err.Error()
		} else {
			f.Exit.Unproven = false
		}
		f.Words, f.Exit.Words = f.Words+words, f.Exit.Words+words
	}
	return f, nil
}

// elsewhere says what is known of such an attempt, and changes nothing.
func elsewhere(ref Ref, sameBoot bool) (Finding, error) {
	what := "the host was restarted since"
	if sameBoot {
		what = "it was started in another pid namespace"
	}
	e, flaw, err := readExit(ref)
	if err != nil {
		return Finding{}, err
	}
	if e != nil {
		return Finding{Kind: found(e), Exit: e, Words: what + ", and its shim left an exit record: " + e.Words}, nil
	}
	// The claim is not synced, so that there is none does not prove that nothing ran.
	e = lost(ref, api.WhyReboot)
	if sameBoot {
		e.Words = "lost: its pid namespace has gone; exit code unknown"
		// A lock crosses namespaces. One that is held means that the old namespace still lives.
		if held, err := ctl.Held(ref.Dir); err == nil && held {
			e = lost(ref, api.WhyShim)
			e.Unproven = true
			e.Words = "lost: its shim lives in another pid namespace, out of reach; exit code unknown"
		}
	}
	e.Words += flaw
	return Finding{Kind: api.FoundLost, Exit: e, Words: what + ", and no exit record can be believed: " + e.Words}, nil
}

// lost is what is known of an attempt that left no exit record.
func lost(ref Ref, why string) *Exit {
	e := &Exit{Outcome: api.Outcome{Kind: api.Lost, Why: why}, Status: -1}
	e.Words = e.Outcome.String()
	if r, err := ctl.Read(ref.Dir, ctl.Start); err == nil {
		e.StartedAt = moment(r.Int("at"))
	}
	e.StdoutLen, _ = logs.Size(ref.Dir, logs.Stdout)
	e.StderrLen, _ = logs.Size(ref.Dir, logs.Stderr)
	return e
}
