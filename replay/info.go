package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
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
	if i.Reason != "" {
		i.Health = api.HealthSafeMode // no process starts on it as it is
	}
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

// Resolve is the id of a job, task or attempt: object itself; or NAME, NAME/INDEX, NAME/INDEX/N with the name of a job.
// What has left the tables is known by its id alone. TABLE/KEY stays as it is.
func Resolve(pasts []*Past, object string) (string, error) {
	for _, prefix := range []string{"job_", "task_", "attempt_"} {
		if strings.HasPrefix(object, prefix) {
			return object, nil
		}
	}
	name, rest, below := strings.Cut(object, "/")
	ids, err := jobsNamed(pasts, name)
	switch {
	case err != nil:
		return "", err
	case len(ids) > 1:
		return "", fmt.Errorf("%s: several jobs have that name: %s", name, strings.Join(ids, ", "))
	case len(ids) == 0 && below:
		return object, nil
	case len(ids) == 0:
		return "", fmt.Errorf("%s: %w: it is no id, and no job in the tables has that name", name, ErrNothing)
	case !below:
		return ids[0], nil
	}
	index, n, attempt := strings.Cut(rest, "/")
	i, err := strconv.ParseUint(index, 10, 31)
	k := uint64(0)
	if err == nil && attempt {
		k, err = strconv.ParseUint(n, 10, 31)
	}
	if err != nil {
		return "", fmt.Errorf("%s: want NAME/INDEX, or NAME/INDEX/N for an attempt", object)
	}
	task := api.JobID(ids[0]).Task(int(i))
	if attempt {
		return string(task.Attempt(int(k))), nil
	}
	return string(task), nil
}

// jobsNamed are the jobs in the tables that have this name.
func jobsNamed(pasts []*Past, name string) ([]string, error) {
	var ids []string
	for _, p := range pasts {
		m, err := p.At(0)
		if err != nil {
			return nil, err
		}
		all, err := rows(m)
		if err != nil {
			return nil, err
		}
		for r, raw := range all {
			var job struct{ Name string }
			if r.Table == "jobs" && json.Unmarshal(raw, &job) == nil && job.Name == name && !slices.Contains(ids, r.Key) {
				ids = append(ids, r.Key)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}
