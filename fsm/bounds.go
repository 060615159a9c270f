package fsm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"groom/api"
	"groom/fsm/table"
)

// EntryLimit bounds the body of an entry, in bytes: the journal's 64 KiB, less its envelope.
const EntryLimit = 63 << 10

// Bounds of texts that come from outside, in bytes of their JSON form. They go into rows that are written again with
// each change, and up to 32 of which share an entry; the whole text is in the log of the task or of the groom.
const (
	nameLimit    = 256
	reasonLimit  = 512
	failureLimit = 1024
	reportLimit  = 20 << 10 // what a recovery found; it stands in its entry twice, observed and as a row
)

// bounded is the observation with its texts cut to their bounds, and without what no journal may hold. To bound it
// again changes nothing, so what is recorded leads to the same decision.
func bounded(o Observation) Observation {
	switch o := o.(type) {
	case Booted:
		o.Name, o.Build = clip(o.Name, nameLimit), clip(o.Build, nameLimit)
		return o
	case Recovered:
		o.Report = boundReport(o.Report)
		return o
	case DirChanged:
		o.Reason = clip(o.Reason, reasonLimit)
		return o
	case Directed:
		o.Directive.Reason = clip(o.Directive.Reason, reasonLimit)
		if o.Directive.Launch != nil {
			launch := *o.Directive.Launch
			launch.Spec, launch.Secret = api.JobSpec{}, ""
			o.Directive.Launch = &launch
		}
		return o
	case Started:
		o.Unenforced = boundTexts(o.Unenforced)
		return o
	case Ended:
		o.End.Outcome = boundOutcome(o.End.Outcome)
		o.End.Words = clip(o.End.Words, failureLimit)
		return o
	case Told:
		o.Failure = clip(o.Failure, failureLimit)
		return o
	case Silent:
		o.Why = clip(o.Why, reasonLimit)
		return o
	}
	return o
}

// unenforcedLimit bounds the texts of one attempt: there is one for each limit that a job can ask for.
const unenforcedLimit = 8

func boundTexts(all []string) []string {
	if len(all) == 0 {
		return nil
	}
	bounded := make([]string, 0, unenforcedLimit)
	for _, text := range all[:min(len(all), unenforcedLimit)] {
		bounded = append(bounded, clip(text, nameLimit))
	}
	return bounded
}

func boundOutcome(o api.Outcome) api.Outcome {
	o.Signal, o.Errno, o.Why = clip(o.Signal, nameLimit), clip(o.Errno, nameLimit), clip(o.Why, reasonLimit)
	return o
}

// boundReport keeps as many findings as fit, those first that tell of a loss, in the order in which they came. The
// others are counted: each attempt that was found dead has an entry of its own besides.
func boundReport(r api.RecoveryReport) api.RecoveryReport {
	order := make([]int, len(r.Found))
	found := slices.Clone(r.Found)
	for i := range found {
		row := &found[i]
		order[i], row.Words = i, clip(row.Words, reasonLimit)
		if row.Outcome != nil {
			o := boundOutcome(*row.Outcome)
			row.Outcome = &o
		}
	}
	adopted := func(i int) int {
		if found[i].Finding == api.FoundAlive {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(adopted(a), adopted(b)) })
	room, kept := reportLimit, 0
	for _, i := range order {
		if room -= size(found[i]); room < 0 {
			break
		}
		kept++
	}
	omitted := maps.Clone(r.Omitted)
	for _, i := range order[kept:] {
		if omitted == nil {
			omitted = map[api.Finding]int{}
		}
		omitted[found[i].Finding]++
	}
	order = order[:kept]
	slices.Sort(order)
	r.Found, r.Omitted = nil, omitted
	for _, i := range order {
		r.Found = append(r.Found, found[i])
	}
	return r
}

func size(v any) int {
	b, err := table.Canonical(v)
	if err != nil {
		return EntryLimit // cannot be written, so it has no room
	}
	return len(b)
}

// clip cuts a text so that its JSON form has at most limit bytes, and marks the cut.
func clip(s string, limit int) string {
	const mark = "…"
	s = strings.ToValidUTF8(s, "\uFFFD")
	used, cut := 0, 0
	for i, r := range s {
		n := utf8.RuneLen(r)
		switch {
		case r == '"', r == '\\':
			n = 2
		case r < 0x20, r == '\u2028', r == '\u2029':
			n = 6
		}
		if used+n > limit {
			return s[:cut] + mark
		}
		used += n
		if used+len(mark) <= limit {
			cut = i + utf8.RuneLen(r)
		}
	}
	return s
}

// Halve splits an observation about several tasks or jobs, whose entry would be too large, into two that are recorded one
// after the other; each may have to be split again. A crash between them is that of any caller who has heard no
// answer: it observes the whole again, and what was recorded is not decided a second time.
func Halve(s *State, o Observation) (first, rest Observation, ok bool) {
	switch o := o.(type) {
	case Directed:
		return halveDirected(s, o)
	case Due:
		a, b := o, o
		a.Tasks, b.Tasks, ok = halves(o.Tasks)
		return a, b, ok
	case Committed:
		a, b := o, o
		a.Tasks, b.Tasks, ok = halves(o.Tasks)
		return a, b, ok
	case Acked:
		a, b := o, o
		a.Reports, b.Reports, ok = halves(o.Reports)
		return a, b, ok
	case Contact:
		a, b := o, o
		a.Jobs, b.Jobs, ok = halves(o.covered(s))
		return a, b, ok
	case Abandoned:
		j, _ := s.Jobs.Get(string(o.Job))
		a, b := o, o
		a.Tasks, b.Tasks, ok = halves(o.covered(j))
		a.Part = true
		return a, b, ok
	}
	return nil, nil, false
}

func halves[T any](all []T) (first, rest []T, ok bool) {
	n := len(all) / 2
	return all[:n:n], all[n:], n > 0
}

func halveDirected(s *State, o Directed) (Observation, Observation, bool) {
	j, _ := s.Jobs.Get(string(o.Directive.Job))
	a, b, ok := halves(o.covered(j))
	first, rest := o, o
	first.Part = true
	if o.Directive.Kind != api.DirectiveLaunch {
		all := o.All || len(o.Directive.Tasks) == 0
		first.All, rest.All = all, all
		first.Directive.Tasks, rest.Directive.Tasks = a, b
	}
	first.Directive.Launch, rest.Directive.Launch = launches(o.Directive.Launch, a), launches(o.Directive.Launch, b)
	return first, rest, ok
}

// launches is what a launch says of these tasks.
func launches(all *api.Launch, indexes []int) *api.Launch {
	if all == nil {
		return nil
	}
	some := *all
	some.Tasks = nil
	for _, l := range all.Tasks {
		if slices.Contains(indexes, l.Index) {
			some.Tasks = append(some.Tasks, l)
		}
	}
	return &some
}
