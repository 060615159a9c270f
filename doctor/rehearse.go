package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fsm"
	"groom/journal"
	"groom/supervisor"
)

// Rehearsal is what a start of this build would do, by what there is now.
type Rehearsal struct {
	Holder   string     `json:"holder,omitempty"` // pid of the groom that runs meanwhile
	Journals []Start    `json:"journals"`
	Attempts []Adoption `json:"attempts"`
}

// Start is the opening of one journal.
type Start struct {
	Of       string       `json:"of"` // "groom" or "master"
	Last     uint64       `json:"last"`
	Replayed uint64       `json:"replayed"` // after the newest snapshot
	Took     api.Duration `json:"took"`
	Digest   string       `json:"digest"`
	Health   api.Health   `json:"health"`
	Reason   string       `json:"reason,omitempty"`
}

// Adoption is what a start would find of an attempt that the tables hold as alive, and what it would decide.
type Adoption struct {
	Attempt api.AttemptID `json:"attempt"`
	Finding api.Finding   `json:"finding"`
	Pid     int           `json:"pid,omitempty"`
	ShimPid int           `json:"shim_pid,omitempty"`
	Outcome *api.Outcome  `json:"outcome,omitempty"`
	Words   string        `json:"words"`
	Then    string        `json:"then,omitempty"`
}

// rehearse opens the copies as a start does, and looks for each attempt. Only the copies are written to.
func rehearse(ctx context.Context, o Options, t *tables) *Rehearsal {
	r := &Rehearsal{Holder: t.holder, Journals: []Start{}, Attempts: []Adoption{}}
	for _, copied := range t.all {
		r.Journals = append(r.Journals, start(ctx, o, copied))
	}
	for _, a := range t.living() {
		if ctx.Err() != nil {
			break
		}
		r.Attempts = append(r.Attempts, adoption(o, t, a))
	}
	return r
}

// start opens a copy from its newest snapshot, as a start does, and holds what it comes to against the whole replay.
func start(ctx context.Context, o Options, copied *replayed) Start {
	s := Start{Of: copied.of, Health: "failed"}
	m := machine(copied.of, fsm.NewState(), nil)
	j, err := journal.Open(ctx, journal.Options{
		Dir: copied.dir, Machine: m, Build: o.Build, Log: slog.New(slog.DiscardHandler), Fatal: func(error) {}, // Open tells
	})
	if err != nil {
		s.Reason = err.Error()
		return s
	}
	defer j.Close()
	stats, digest := j.Stats(), m.Digest()
	s.Last, s.Replayed, s.Took = copied.stats.Last, stats.Replayed, api.Duration(stats.OpenTook)
	s.Digest, s.Health, s.Reason = fmt.Sprintf("%x", digest), api.Health(stats.Health), stats.Reason
	if s.Health == api.HealthOK && digest != copied.digest {
		s.Health = "failed"
		s.Reason = fmt.Sprintf("the newest snapshot and what follows it come to other tables (%x) than the whole replay (%x)", digest, copied.digest)
	}
	return s
}

// adoption looks for one attempt, by the signs that a start goes by, and asks this build what it would decide.
func adoption(o Options, t *tables, a fsm.Attempt) Adoption {
	f := Adoption{Attempt: a.ID, Finding: api.FoundUnknown}
	if a.State == fsm.AttemptIntended && t.holder != "" {
		// The lock of one that is being started must not be touched, not even to test it.
		f.Words = "the groom that runs is starting it"
		return f
	}
	found, err := supervisor.Look(supervisor.Ref{
		ID: a.ID, Dir: filepath.Join(a.Place.Dir, string(a.ID)), BootID: a.Place.BootID, PIDNS: a.Place.PIDNS,
		Token: t.home.Derive("attempt", string(a.ID)), Ran: a.State == fsm.AttemptRunning,
	})
	if err != nil {
		f.Words = err.Error()
		return f
	}
	f.Finding, f.Pid, f.ShimPid, f.Words = found.Kind, found.Pid, found.ShimPid, found.Words
	if found.Exit == nil {
		return f
	}
	f.Outcome = &found.Exit.Outcome
	place := a.Place
	place.Dir = o.LocalDirs[0]
	ended := fsm.Ended{Attempt: a.ID, Place: &place, End: fsm.End{
		Outcome: found.Exit.Outcome, Status: found.Exit.Status, At: clock.Now(), Unproven: found.Exit.Unproven, Words: found.Exit.Words,
	}}
	if d, err := fsm.Decide(t.groom.state, ended, clock.Now(), 1); err == nil {
		f.Then = d.Because
	}
	return f
}

// checks sums the rehearsal up.
func (r *Rehearsal) checks() []Check {
	var checks []Check
	for _, s := range r.Journals {
		words := fmt.Sprintf("the journal of the %s opens in %s, %d entries replayed", s.Of, short(time.Duration(s.Took)), s.Replayed)
		if s.Health != api.HealthOK {
			checks = append(checks, bad("rehearsal", "stay with the build that runs, or start one that can open it", "the journal of the %s: %s: %s", s.Of, s.Health, s.Reason))
			continue
		}
		checks = append(checks, ok("rehearsal", "%s", words))
	}
	if len(r.Journals) == 0 {
		return []Check{ok("rehearsal", "there is no journal that could be opened; a start makes what is not there")}
	}
	if !slices.ContainsFunc(r.Journals, func(s Start) bool { return s.Of == "groom" }) {
		return checks // a master has no attempts
	}
	found := map[string]int{}
	doubt := false
	for _, a := range r.Attempts {
		found[string(a.Finding)]++
		doubt = doubt || a.Finding == api.FoundLost || a.Finding == api.FoundUnknown
	}
	var parts []string
	for _, finding := range slices.Sorted(maps.Keys(found)) {
		parts = append(parts, fmt.Sprintf("%d %s", found[finding], finding))
	}
	words := fmt.Sprintf("of %d attempts that the tables hold as alive: %s", len(r.Attempts), orNothing(strings.Join(parts, ", ")))
	if doubt {
		return append(checks, warn("adoption", "groom task status TASK tells more", "%s", words))
	}
	return append(checks, ok("adoption", "%s", words))
}
