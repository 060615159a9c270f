package fsm

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

// goldens is a history with one entry of each kind, the last of which is kept in testdata as it was released. The
// files are never changed: a build that cannot write an entry of a released kind as it was, or cannot apply it, has
// to make a new kind.
func goldens() []Observation {
	launch := plain(3, 0, 1)
	launch.Directive.ID = "directive-1"
	id := testJob.Task(0).Attempt(1)
	end := ended(0, 1, exit(3))
	end.End.MaxRSS, end.End.UserNS, end.End.SystemNS, end.End.Words = 1<<20, 2_000_000, 1_000_000, "exited with code 3"
	peers := launching(api.DirectiveLaunch, testRow(api.BSP, 2, 3), 1, 1, 0)
	peers.Directive.ID, peers.Directive.Job, peers.Job.ID = "directive-2", "job_202611240915_0002", "job_202611240915_0002"
	peer := peers.Directive.Job.Task(0)
	commit := directive(api.DirectiveCommit, 1)
	commit.Directive.ID, commit.Directive.Job = "directive-3", peers.Directive.Job
	parting := launching(api.DirectiveLaunch, testRow(api.Plain, 1, 3), 0, 1, 0)
	parting.Directive.ID, parting.Directive.Job, parting.Job.ID = "directive-4", "job_202611240915_0003", "job_202611240915_0003"
	parting.Job.StopAfter = api.Duration(time.Minute)
	return []Observation{
		Booted{ID: "groom-1", Name: "north", BootID: "boot-1", PIDNS: 4026531836, Build: "v0.1.0", MaxTasks: 3},
		Recovered{api.RecoveryReport{
			Incarnation: 1, At: zeroHour.Wall, BootID: "boot-1", SameBoot: true, Replayed: 12,
			Found: []api.RecoveryRow{{Attempt: id, Finding: api.FoundAlive, Pid: 101, Words: "its shim lives; watched again"}},
		}},
		DirChanged{Path: "/data/local", Reason: "no space"},
		Pinned{Cluster: testCluster},
		launch,
		Due{Tasks: []api.TaskID{id.Task()}, Place: testPlace},
		Started{Attempt: id, Pid: 101, ShimPid: 100, At: zeroHour},
		Told{id, "fatal: no input"},
		Silent{id, "6 pings of 1s missed"},
		end,
		peers,
		Due{Tasks: []api.TaskID{peer}, Place: testPlace},
		Done{peer.Attempt(1)},
		Ended{Attempt: peer.Attempt(1), End: End{Outcome: exit(0), At: zeroHour}},
		commit,
		Committed{Job: peer.Job(), Tasks: []int{0}},
		Acked{[]string{string(id.Task()) + "/4"}},
		parting,
		Contact{Reached: false},
		later{Abandoned{Job: parting.Directive.Job}},
	}
}

// later is an observation made a minute after the one before.
type later struct{ Observation }

func TestGoldenEntries(t *testing.T) {
	s := NewState()
	w := &world{state: s, machine: NewMachine(s, nil), now: zeroHour}
	written := map[string][]byte{}
	for _, o := range goldens() {
		n := len(w.log)
		if l, ok := o.(later); ok {
			o = l.Observation
			w.wait(time.Minute)
		}
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
			t.Fatalf("%s: %v of kind %d", name, err, o.Kind())
		}
		if again, err := table.Canonical(o); err != nil || string(again) != string(e.Obs) {
			t.Errorf("%s: read back, its observation is %s", name, again)
		}
		s := NewState()
		if _, err := NewMachine(s, nil).Apply(1, kind, 1, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
