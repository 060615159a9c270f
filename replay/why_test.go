package replay

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"groom/api"
	"groom/fsm/cluster"
	"groom/journal"
)

// A decision about a job may change the row of its groom as well, which others change meanwhile: that is no reason to
// take it for refused.
func TestWhyAJobFailedAfterItsGroomCameBack(t *testing.T) {
	data := t.TempDir()
	state := cluster.NewState()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(data, "master"), Machine: cluster.NewMachine(state, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	now := api.Moment{ID: "boot", Boot: time.Hour, Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	see := func(o cluster.Observation) uint64 {
		t.Helper()
		now = now.Add(time.Second)
		d, err := cluster.Decide(state, o, now, 1)
		if err != nil {
			t.Fatal(err)
		}
		body, err := cluster.Record(o, d, now, 1)
		if err != nil {
			t.Fatal(err)
		}
		r, err := j.Propose(context.Background(), journal.Record{Kind: o.Kind(), Version: 1, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		return r.Index
	}
	comes := func(start uint64) {
		t.Helper()
		see(cluster.Registered{Groom: "g", Name: "vm", Incarnation: start, MaxTasks: 3, Healthy: true})
	}
	var id api.JobID
	fails := func(n int, s api.TaskState) uint64 {
		t.Helper()
		return see(cluster.Reported{Groom: "g", Reports: []api.Report{{
			ID: string(id.Task(0)) + "/" + strings.Repeat("1", n), Task: id.Task(0), Attempt: n, State: s, Failures: n, Counted: true,
			Outcome: &api.Outcome{Kind: api.Exited, Code: 7}, At: now,
		}}})
	}
	see(cluster.Booted{Cluster: "c", Name: "m", BootID: "boot", Build: "test"})
	comes(1)
	see(cluster.Submitted{Spec: "0123", Name: "sums", Type: api.Plain, Tasks: 1, Limit: 2})
	for _, job := range state.Jobs.All() {
		id = job.ID
	}
	see(cluster.Placing{Job: id, Present: []string{"g"}})
	fails(1, api.TaskBackoff)
	comes(2)
	failed := fails(2, api.TaskFailed)

	p, err := Open(data, "master")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := Why([]*Past{p}, string(id))
	if err != nil || !strings.Contains(s.Answer, "it is failed") {
		t.Errorf("%q, %v", s.Answer, err)
	}
	for _, step := range s.Steps {
		if step.Refused != "" || step.Settled != (step.Index == failed) {
			t.Errorf("entry %d: settled it: %v, refused %q", step.Index, step.Settled, step.Refused)
		}
	}
	if v, err := p.Show(failed); err != nil || v.Refused != "" {
		t.Errorf("it was refused: %q, %v", v.Refused, err)
	}
}
