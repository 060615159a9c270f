package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/fsm"
	"groom/journal"
)

// pidsOf are what must not change for tasks whose groom comes back.
func pidsOf(a *agent, tasks []api.TaskView) map[api.TaskID]int {
	pids := map[api.TaskID]int{}
	for _, t := range tasks {
		if v := a.task(t.ID); v.State == api.TaskRunning {
			pids[t.ID] = v.Pid
		}
	}
	return pids
}

var hinted = regexp.MustCompile(`groom (journal rebuild --data "[^"]+" --of \w+)`)

// A log that is gone is refused at the start. The hint names a command that works as it stands there, of the journal that
// is hurt, and the next start adopts what runs.
func TestRebuildALogThatIsGone(t *testing.T) {
	for _, of := range []string{"groom", "master"} {
		t.Run(of, func(t *testing.T) {
			a := start(t, t.TempDir(), agentArgs()...)
			tasks := a.awaitTasks(a.submit(write(t, "job.yaml", threeSleepers)), api.TaskRunning)
			before := pidsOf(a, tasks)
			a.kill9()
			if err := os.Remove(filepath.Join(a.data, of, "raft.db")); err != nil {
				t.Fatal(err)
			}
			was := tree(t, filepath.Join(a.data, of))
			out, code := a.try(append(agentArgs(), "--data", a.data)...)
			m := hinted.FindStringSubmatch(out)
			if code != 1 || m == nil || !strings.HasSuffix(m[1], "--of "+of) {
				t.Fatalf("a start: exit %d:\n%s", code, out)
			}
			if diff := cmp.Diff(was, tree(t, filepath.Join(a.data, of))); diff != "" {
				t.Errorf("the start that was refused wrote:\n%s", diff)
			}
			if out, err := exec.Command("sh", "-c", filepath.Join(bin, "groom")+" "+m[1]+" --yes").CombinedOutput(); err != nil || !strings.Contains(string(out), "nothing that is known of is lost") {
				t.Fatalf("%s: %v:\n%s", m[0], err, out)
			}
			offline(t, a.data, "journal", "verify", "--deep")
			a.launch()
			if diff := cmp.Diff(before, pidsOf(a, tasks)); diff != "" || len(before) != 3 {
				t.Errorf("pids:\n%s", diff)
			}
		})
	}
}

// poison writes an entry into the journal of a groom that no build knows, and returns its index.
func poison(t *testing.T, data string) uint64 {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(data, "groom"), Machine: fsm.NewMachine(fsm.NewState(), nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := j.Propose(t.Context(), journal.Record{Kind: 999, Version: 1, Body: []byte("{}")}); err == nil {
		t.Fatal("an entry of kind 999 was applied")
	}
	for e, err := range j.Entries(1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == 999 {
			return e.Index
		}
	}
	t.Fatal("it is not in the journal")
	return 0
}

// An entry that the build does not know: the groom lives, decides nothing, and says which entry it is and what can be
// done. Once the entry is skipped, on record, the groom goes on with the tasks that ran all the while.
func TestSkipAnEntryThatNobodyKnows(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	tasks := a.awaitTasks(a.submit(write(t, "job.yaml", threeSleepers)), api.TaskRunning)
	before := pidsOf(a, tasks)
	a.kill9()
	index := poison(t, a.data)
	a.launch()
	unknown := fmt.Sprintf("entry %d is of kind 999 version 1, which this build does not know", index)
	says := func(what, out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("%s: it does not say %q:\n%s", what, w, out)
			}
		}
	}
	says("the log of the agent", a.out.String(), "safe mode", unknown)
	says("node status", a.groom("node", "status"), "health: safe-mode", unknown, "groom journal skip")
	if out, code := atFiles(a.data, "journal", "state", "--of", "groom"); code != 1 {
		t.Errorf("state: exit %d:\n%s", code, out)
	} else {
		says("state", out, unknown, "hint: ", "groom journal skip INDEX --why TEXT")
	}
	out, code := atFiles(a.data, "journal", "verify", "--of", "groom")
	if says("verify", out, unknown); code != 1 {
		t.Errorf("verify: exit %d", code)
	}
	skip := []string{"journal", "skip", fmt.Sprint(index), "--why", "its build was withdrawn"}
	out, code = atFiles(a.data, skip...)
	if says("skip, of a living process", out, "hint: end the process"); code != 1 {
		t.Errorf("skip, of a living process: exit %d", code)
	}
	if diff := cmp.Diff(before, pidsOf(a, tasks)); diff != "" || len(before) != 3 {
		t.Errorf("in safe mode the tasks are:\n%s", diff)
	}
	a.kill9()
	for _, c := range []struct {
		words string
		code  int
		args  []string
	}{
		{fmt.Sprintf("it is entry %d that cannot be applied", index), 1, []string{fmt.Sprint(index - 1), "--why", "x"}},
		{"--why is missing", 2, []string{fmt.Sprint(index)}},
		{"want a number", 2, []string{"zero", "--why", "x"}},
		{"not in safe mode", 1, []string{"3", "--why", "x", "--of", "master"}},
	} {
		out, code := atFiles(a.data, append([]string{"journal", "skip"}, c.args...)...)
		if says("skip", out, c.words); code != c.code {
			t.Errorf("skip %q: exit %d, want %d", c.args, code, c.code)
		}
	}
	says("skip", offline(t, a.data, skip...), fmt.Sprintf("entry %d of the groom is skipped from the next start on", index))
	says("verify", offline(t, a.data, "journal", "verify"), "is skipped")
	a.launch()
	says("node status", a.groom("node", "status"), "health: ok")
	if diff := cmp.Diff(before, pidsOf(a, tasks)); diff != "" {
		t.Errorf("after the skip the tasks are:\n%s", diff)
	}
	says("the journal", a.groom("journal", "ls", "--of", "groom", "--kind", "journal.skip", "--json"), "its build was withdrawn")
	job := tasks[0].ID.Job()
	a.groom("job", "kill", string(job)) // it decides again
	a.await("the job is killed", func() bool { return a.job(job).State == api.JobKilled })
}
