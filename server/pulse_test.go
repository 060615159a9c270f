package server

import (
	"testing"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fsm"
)

const pulseID = api.AttemptID("attempt_202611240915_0001_000000_1")

func watched(p api.Ping) *pulses {
	all := newPulses()
	all.watch(pulseID, fsm.Job{Pings: true}, &api.JobSpec{Ping: p})
	return all
}

func TestSilence(t *testing.T) {
	ping := api.Ping{Period: api.Duration(time.Second), Missed: 6, First: 10}
	began := clock.Boot()
	for _, c := range []struct {
		name   string
		beat   bool
		late   time.Duration // in which the groom itself did not run
		after  time.Duration
		silent bool
	}{
		{name: "before the first ping, in its window", after: 9 * time.Second},
		{name: "no first ping", after: 12 * time.Second, silent: true},
		{name: "pings missed, not yet all", beat: true, after: 5 * time.Second},
		{name: "pings missed", beat: true, after: 8 * time.Second, silent: true},
		{name: "the host slept meanwhile", beat: true, late: time.Hour, after: time.Hour + 5*time.Second},
		{name: "the host slept, and then the task did", beat: true, late: time.Hour, after: time.Hour + 8*time.Second, silent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := watched(ping)
			if c.beat {
				p.beat(pulseID, api.PingMessage{Step: 3})
			}
			p.forgive(c.late)
			why, silent := p.silent(began + c.after)[pulseID]
			if silent != c.silent {
				t.Errorf("silent %v (%s), want %v", silent, why, c.silent)
			}
		})
	}
}

func TestWhoNeedNotPing(t *testing.T) {
	p := newPulses()
	p.watch(pulseID, fsm.Job{}, &api.JobSpec{Ping: api.Ping{Period: api.Duration(time.Second), Missed: 1, First: 1}})
	if got := p.silent(clock.Boot() + time.Hour); len(got) != 0 {
		t.Errorf("silent: %v", got)
	}
	if got := p.period(); got != 0 {
		t.Errorf("a tick every %s for nobody", got)
	}
	p.beat(pulseID, api.PingMessage{Step: 7})
	if got, ok := p.get(pulseID); !ok || got.Step != 7 {
		t.Errorf("a ping that was not asked for is lost: %+v", got)
	}
}

// A silence is told once; a late ping of an attempt that has gone is no news.
func TestSilenceIsToldOnce(t *testing.T) {
	p := watched(api.Ping{Period: api.Duration(time.Second), Missed: 1, First: 1})
	p.tell(pulseID)
	if got := p.silent(clock.Boot() + time.Hour); len(got) != 0 {
		t.Errorf("told twice: %v", got)
	}
	p.drop(pulseID)
	p.beat(pulseID, api.PingMessage{})
	if _, ok := p.get(pulseID); ok {
		t.Error("a ping brought back an attempt that has ended")
	}
}
