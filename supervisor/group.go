package supervisor

import (
	"context"
	"fmt"

	"groom/api"
	"groom/fault"
	"groom/supervisor/cgroup"
	"groom/supervisor/ctl"
)

// groupIn is the control group that ctl/spec names. A line that is not of the form of an attempt's group is passed
// over: what a record names is killed.
func groupIn(spec ctl.Record, id api.AttemptID) cgroup.Group {
	var g cgroup.Group
	if dir := spec.Get("cgroup"); dir != "" && cgroup.Trusted(dir, string(id)) {
		g.Unified = dir
	}
	for _, dir := range spec.All("join") {
		if cgroup.Trusted(dir, string(id)) {
			g.Others = append(g.Others, dir)
		}
	}
	return g
}

// groupOf is the control group of an attempt: as its spec names it, or, when that is gone or torn, as it is derived
// from the groom's id and the attempt's, as far as it is still there.
func (s *Supervisor) groupOf(ref Ref) cgroup.Group {
	if r, err := ctl.Read(ref.Dir, ctl.Spec); err == nil {
		if g := groupIn(r, ref.ID); !g.None() {
			return g
		}
	}
	return s.groups.Of(string(ref.ID))
}

// endGroup is for an attempt of which nothing lives any more by all that is known. What is in the group all the same
// was put there by someone else, and goes with it. A group that stays is told, and is a leftover of a later sweep.
func (s *Supervisor) endGroup(ctx context.Context, ref Ref) {
	if g := s.groupOf(ref); !g.None() {
		if err := g.End(ctx, killWait); err != nil {
			s.log.Warn("remove control group", "attempt", ref.ID, "error", err)
		}
	}
}

// Leftovers ends and removes the control groups that this groom made for attempts that the tables do not know, and
// returns their names. It comes after Orphans, which ends what lives through its own shim. What a kill of the groom
// leaves of a group between any two steps is found by this, at the next start.
func (s *Supervisor) Leftovers(ctx context.Context, known func(api.AttemptID) bool) ([]api.AttemptID, error) {
	var gone []api.AttemptID
	for _, name := range s.groups.Leftovers() {
		id := api.AttemptID(name)
		if known(id) {
			continue
		}
		// Killed between two of them: the next start finds the rest.
		fault.Point("supervisor.before-leftover")
		if err := s.groups.Of(name).End(ctx, killWait); err != nil {
			return gone, fmt.Errorf("remove control group of %s: %w", id, err)
		}
		gone = append(gone, id)
	}
	return gone, nil
}

// unenforced is what the host does not give of what the attempt asked for: as the groom saw it before the fork, and as
// its process saw it.
func unenforced(dir string) []string {
	var words []string
	for _, name := range []string{ctl.Spec, ctl.Start} {
		if r, err := ctl.Read(dir, name); err == nil {
			words = append(words, r.All("unenforced")...)
		}
	}
	return words
}
