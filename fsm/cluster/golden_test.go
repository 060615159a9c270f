package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/fsm/table"
)

// goldens is a history with one entry of each kind, the first of which is kept in testdata as it was released. The
// files are never changed: a build that cannot write an entry of a released kind as it was, or cannot apply it, has to
// make a new kind.
func goldens() []Observation {
	peers, copies := api.JobID("job_202611240915_0001"), api.JobID("job_202611240915_0002")
	keep := api.Retention{Keep: 0, KeepFailed: api.Duration(time.Hour)}
	submit := func(request string, kind api.JobType) Submitted {
		return Submitted{
			Request: request, Spec: "0123", Name: "test", Type: kind, Tasks: 2, Shared: true, Reschedule: true, Limit: 3, Retention: keep,
		}
	}
	north := Registered{Groom: "groom-1", Name: "north", Incarnation: 1, MaxTasks: 3, WorkerAddr: "127.0.0.1:50000", WebURL: "http://127.0.0.1:40015", Healthy: true}
	south := north
	south.Groom, south.Name, south.MaxTasks = "groom-2", "south", 2
	report := func(id, groom string, r api.Report) Reported {
		r.ID, r.At, r.Because = id, zeroHour, "as the groom decided"
		return Reported{Groom: groom, Reports: []api.Report{r}}
	}
	both := []string{"groom-1", "groom-2"}
	all := []Observation{
		Booted{Cluster: testCluster, Name: "master", BootID: "boot-1", Build: "v0.1.0"},
		north,
		south,
		Changed{Groom: "groom-2", Reason: "nospace: the disk is full"},
		Changed{Groom: "groom-2", Healthy: true},
		submit("request-1", api.BSP),
		Placing{Job: peers, Present: both},
		Answered{Order: orderID(peers, 1), Index: 12},
		report("task_202611240915_0001_000001/4", "groom-1", api.Report{
			Task: peers.Task(1), Attempt: 1, Epoch: 1, State: api.TaskPending, Counted: true, Failures: 1,
			Outcome: &api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers},
		}),
		Raising{Job: peers, Present: both},
	}
	for i := range 2 {
		all = append(all, report(string(peers.Task(i))+"/7", "groom-1", api.Report{
			Task: peers.Task(i), Attempt: 2, Epoch: 2, State: api.TaskCommitting, Outcome: &api.Outcome{Kind: api.Exited},
		}))
	}
	all = append(all, Committing{Job: peers}, Answered{Order: orderID(peers, 2)}, Answered{Order: orderID(peers, 3)})
	for i := range 2 {
		all = append(all, report(string(peers.Task(i))+"/8", "groom-1", api.Report{Task: peers.Task(i), Attempt: 2, Epoch: 2, State: api.TaskSucceeded}))
	}
	return append(all,
		Expired{Job: peers},
		Answered{Order: orderID(peers, 4)},
		Answered{Order: orderID(peers, 5)},
		Forgetting{Job: peers},
		submit("request-2", api.Plain),
		Placing{Job: copies, Present: []string{"groom-2"}},
		LeaseOver{Groom: "groom-2"},
		Moving{Job: copies, Present: []string{"groom-1"}},
		Asked{Job: copies, Verb: api.VerbKill, Reason: "no longer needed"},
		LeaseOver{Groom: "groom-1"},
		Abandoning{Job: copies},
	)
}

func TestGoldenEntries(t *testing.T) {
	s := NewState()
	w := &world{state: s, machine: NewMachine(s, nil), now: zeroHour}
	written := map[string][]byte{}
	for _, o := range goldens() {
		n := len(w.log)
		w.must(t, o)
		if len(w.log) != n+1 {
			t.Fatalf("%+v: nothing was recorded", o)
		}
		if name := Kinds()[o.Kind()]; written[name] == nil {
			written[name] = w.log[n].body
		}
	}
	for kind, name := range Kinds() {
		path := filepath.Join("testdata", name+".v1.json")
		want, err := os.ReadFile(path)
		if os.IsNotExist(err) && os.Getenv("WRITE_GOLDEN") != "" { // a new kind; never an old one
			if err := os.WriteFile(path, append(written[name], '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Errorf("kind %d has no golden entry: %v", kind, err)
			continue
		}
		if diff := cmp.Diff(strings.TrimSuffix(string(want), "\n"), string(written[name])); diff != "" {
			t.Errorf("%s is written otherwise than it was released (-released +now):\n%s", name, diff)
		}
	}
	if files, _ := filepath.Glob("testdata/*.v1.json"); len(files) != len(Kinds()) {
		t.Errorf("%d golden entries for %d kinds", len(files), len(Kinds()))
	}
}

// Entries of every released kind are read and applied: to the tables that they were made for, or as stale.
func TestGoldenEntriesApply(t *testing.T) {
	for kind, name := range Kinds() {
		body, err := os.ReadFile(filepath.Join("testdata", name+".v1.json"))
		if err != nil {
			t.Fatal(err)
		}
		e, err := table.DecodeEntry(body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e.Because == "" || len(e.Changes) == 0 {
			t.Errorf("%s: %+v", name, e)
		}
		o, err := DecodeObservation(kind, e.Obs)
		if err != nil || o.Kind() != kind {
			t.Fatalf("%s: %v", name, err)
		}
		if again, err := table.Canonical(o); err != nil || string(again) != string(e.Obs) {
			t.Errorf("%s: read back, its observation is %s", name, again)
		}
		if _, err := NewMachine(NewState(), nil).Apply(1, kind, 1, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
