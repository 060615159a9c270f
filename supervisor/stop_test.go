package supervisor

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"groom/api"

	"golang.org/x/sys/unix"
)

func TestStop(t *testing.T) {
	const long = time.Hour // a grace that is never over
	for _, c := range []struct {
		name   string
		script string // says "ready" in its own time
		order  Order
		want   api.Outcome
		asked  string
		killed bool
	}{
		{"ends by the signal", "echo ready > ready; exec sleep 60", Order{By: api.ByStop, Signal: "SIGTERM", Grace: long}, api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByStop}, "stop", false},
		{"another signal", "echo ready > ready; exec sleep 60", Order{By: api.ByStop, Signal: "SIGINT", Grace: long}, api.Outcome{Kind: api.Signaled, Signal: "SIGINT", By: api.ByStop}, "stop", false},
		{"no grace kills at once", "echo ready > ready; exec sleep 60", Order{By: api.ByKill, Signal: "SIGTERM", Grace: 0}, api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByKill}, "kill", false},
		{"ignores the signal, is killed", "trap '' TERM; echo ready > ready; while :; do sleep 1; done", Order{By: api.ByStop, Signal: "SIGTERM", Grace: 50 * time.Millisecond}, api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByStop}, "stop", true},
		{"its own code stands", "trap 'exit 9' TERM; echo ready > ready; while :; do sleep 0.01; done", Order{By: api.ByStop, Signal: "SIGTERM", Grace: long}, api.Outcome{Kind: api.Exited, Code: 9}, "stop", false},
		{"stopped processes hear the signal", "echo ready > ready; kill -STOP $$; exec sleep 60", Order{By: api.ByStop, Signal: "SIGTERM", Grace: long}, api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByStop}, "stop", false},
		{"silence", "echo ready > ready; exec sleep 60", Order{By: BySilence, Signal: "SIGTERM", Grace: long}, api.Outcome{Kind: api.OutOfContact, Signal: "SIGTERM", Why: "it was not heard of and was ended"}, "silence", false},
		{"silence, answered with a code", "trap 'exit 143' TERM; echo ready > ready; while :; do sleep 0.01; done", Order{By: BySilence, Signal: "SIGTERM", Grace: long}, api.Outcome{Kind: api.OutOfContact, Why: "it was not heard of and was ended"}, "silence", false},
		{"rollback", "echo ready > ready; exec sleep 60", Order{By: ByRollback, Signal: "SIGKILL", Grace: 0}, api.Outcome{Kind: api.RolledBack, Signal: "SIGKILL"}, "rollback", false},
		{"another's signal stays another's", "trap '' TERM; echo ready > ready; while ! [ -s script ]; do sleep 0.01; done; kill -INT $$; exec sleep 60", Order{By: api.ByStop, Signal: "SIGTERM", Grace: long}, api.Outcome{Kind: api.Signaled, Signal: "SIGINT", By: api.ByOthers}, "stop", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, spec := newSupervisor(t), shell(t, c.script)
			start(t, s, spec)
			wantStarted(t, s)
			written(t, spec, "ready")
			if err := s.Stop(spec.ID, c.order); err != nil {
				t.Fatal(err)
			}
			if c.want.By == api.ByOthers {
				until(t, "the order", func() bool { return orderTaken(s, spec) })
				script(t, &spec, "go\n", 0o600)
			}
			e := wantEnded(t, s)
			if e.Outcome != c.want || e.Asked != c.asked || e.Escalated != c.killed {
				t.Errorf("exit %+v", e)
			}
			if err := s.Stop(spec.ID, c.order); !errors.Is(err, ErrUnknown) {
				t.Errorf("stop after the end: %v", err)
			}
		})
	}
}

func orderTaken(s *Supervisor, spec Spec) bool {
	p, err := s.Ping(spec.ID)
	return err == nil && p.Asked != ""
}

func TestStopBeforeTheTaskStarted(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "exec sleep 60")
	start(t, s, spec)
	// The shim was forked a moment ago: it has neither a socket nor a task.
	if err := s.Stop(spec.ID, Order{By: api.ByStop, Signal: "SIGTERM", Grace: time.Hour}); err != nil {
		t.Fatal(err)
	}
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByStop}); e.Outcome != want {
		t.Errorf("outcome %v", e.Outcome)
	}
}

func TestStopAgainExtendsNothing(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "trap '' TERM; echo ready > ready; while :; do sleep 1; done")
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	if err := s.Stop(spec.ID, Order{By: api.ByStop, Signal: "SIGTERM", Grace: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	until(t, "the order", func() bool { return orderTaken(s, spec) })
	_ = s.Close()
	// The next groom does not know that the order was given, and gives it again with a whole hour.
	next := newSupervisor(t)
	if f, err := next.Adopt(t.Context(), refOf(t, spec)); err != nil || f.Kind != api.FoundAlive {
		t.Fatalf("adopt: %+v, %v", f, err)
	}
	if err := next.Stop(spec.ID, Order{By: api.ByStop, Signal: "SIGTERM", Grace: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if e := wantEnded(t, next); !e.Escalated || e.Outcome.By != api.ByStop {
		t.Errorf("exit %+v", e)
	}
}

func TestKillCutsTheGraceOfAStopShort(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "trap '' TERM; echo ready > ready; while :; do sleep 1; done")
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	if err := s.Stop(spec.ID, Order{By: api.ByStop, Signal: "SIGTERM", Grace: time.Hour}); err != nil {
		t.Fatal(err)
	}
	until(t, "the order", func() bool { return orderTaken(s, spec) })
	// Nothing can be asked after this one: the attempt may have ended before Stop returns.
	if err := s.Stop(spec.ID, Order{By: api.ByKill, Signal: "SIGKILL", Grace: 0}); err != nil {
		t.Fatal(err)
	}
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByKill}); e.Outcome != want || e.Asked != api.ByStop {
		t.Errorf("exit %+v", e)
	}
}

// The leader ends at once; what it leaves behind keeps the grace that it was promised.
func TestGraceIsForTheWholeGroup(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `sh -c 'trap "sleep 0.1; echo saved > saved; exit" TERM; echo $$ > near; while :; do sleep 0.01; done' & while [ ! -s near ]; do :; done; echo ready > ready; exec sleep 60`)
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	if err := s.Stop(spec.ID, Order{By: api.ByStop, Signal: "SIGTERM", Grace: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if e := wantEnded(t, s); e.Escalated || e.Outcome.Signal != "SIGTERM" {
		t.Errorf("exit %+v", e)
	}
	if got := written(t, spec, "saved"); got != "saved" {
		t.Errorf("saved %q", got)
	}
}

func TestGraceOfTheGroupEnds(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `setsid sh -c 'trap "" TERM; echo $$ > far; while :; do sleep 1; done' & while [ ! -s far ]; do :; done; echo ready > ready; exec sleep 60`)
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	far, _ := strconv.Atoi(written(t, spec, "far"))
	if err := s.Stop(spec.ID, Order{By: api.ByStop, Signal: "SIGTERM", Grace: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if e := wantEnded(t, s); !e.Escalated || e.Outcome.Signal != "SIGTERM" {
		t.Errorf("exit %+v", e)
	}
	if alive(far) {
		t.Errorf("grandchild %d lives", far)
	}
}

func TestBadOrders(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "exec sleep 60")
	if err := s.Stop(spec.ID, Order{By: api.ByStop, Signal: "SIGTERM", Grace: 1}); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown attempt: %v", err)
	}
	for _, o := range []Order{
		{Signal: "SIGTERM", Grace: 1},
		{By: api.ByStop, Signal: "TERM", Grace: 1},
		{By: api.ByStop, Signal: "SIGTERM", Grace: -1},
		{By: api.ByStop, Signal: "SIGTERM", Dump: "QUIT", DumpWait: 1},
		{By: api.ByStop, Signal: "SIGTERM", Dump: "SIGQUIT", DumpWait: -1},
	} {
		if err := s.Stop(spec.ID, o); !errors.Is(err, ErrOrder) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestShimIgnoresPoliteSignals(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "exec sleep 60")
	start(t, s, spec)
	e := wantStarted(t, s)
	until(t, "an answer", func() bool { p, err := s.Ping(spec.ID); return err == nil && p.Pid == e.Pid })
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE} {
		kill(t, e.ShimPid, sig)
	}
	if p, err := s.Ping(spec.ID); err != nil || p.Pid != e.Pid {
		t.Errorf("ping: %+v, %v", p, err)
	}
}
