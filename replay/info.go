package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"groom/api"
	"groom/journal"
	"groom/story"
)

// Info is the state of the journal, with its entries counted by kind. dir is where it is, for people.
func (p *Past) Info(dir string) (api.JournalInfo, error) {
	s := p.h.Stats()
	i := story.Info(p.Of, dir, s, [32]byte{}, 0)
	i.Living = p.h.Living()
	m := p.Machine()
	if err := p.h.Replay(m, 0); err != nil {
		i.Health, i.Reason = api.HealthSafeMode, err.Error()
		return i, nil // what it is that cannot be replayed is what was asked
	}
	digest := m.Digest()
	i.Digest = fmt.Sprintf("%x", digest)
	var err error
	i.Kinds, err = p.Count(Filter{})
	return i, err
}

// Verify proves the journal with this build's tables.
func (p *Past) Verify(deep bool, progress func(index, last uint64)) (journal.Report, error) {
	return p.h.Verify(journal.VerifyOptions{Machine: func() journal.Machine { return p.Machine() }, Deep: deep, Progress: progress})
}

// Resolve is the id of a job, task or attempt: object itself, or the job that has it for its name. What has left the
// tables is known by its id alone.
func Resolve(pasts []*Past, object string) (string, error) {
	for _, prefix := range []string{"job_", "task_", "attempt_"} {
		if strings.HasPrefix(object, prefix) {
			return object, nil
		}
	}
	if strings.Contains(object, "/") {
		return object, nil
	}
	var ids []string
	for _, p := range pasts {
		m, err := p.At(0)
		if err != nil {
			return "", err
		}
		all, err := rows(m)
		if err != nil {
			return "", err
		}
		for r, raw := range all {
			var job struct{ Name string }
			if r.Table == "jobs" && json.Unmarshal(raw, &job) == nil && job.Name == object && !slices.Contains(ids, r.Key) {
				ids = append(ids, r.Key)
			}
		}
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("%s: %w: it is no id, and no job in the tables has that name", object, ErrNothing)
	case 1:
		return ids[0], nil
	}
	slices.Sort(ids)
	return "", fmt.Errorf("%s: several jobs have that name: %s", object, strings.Join(ids, ", "))
}
