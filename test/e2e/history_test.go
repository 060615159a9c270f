package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/fault"
)

// thrice is a job whose one task fails three times: it is killed for its silence.
const thrice = `
name: silent
type: plain
tasks: 1
command: [sh, -c, 'exec sleep 60']
ping: {required: true, period: 50ms, first: 2, missed: 2, dump: none}
restart: {backoff: 10ms}
`

// failedThrice is an agent whose job failed like that.
func failedThrice(t *testing.T) (*agent, api.TaskID) {
	t.Helper()
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", thrice))
	a.await("the job fails", func() bool { return a.job(id).State == api.JobFailed })
	a.await("its last report is acknowledged", func() bool {
		return strings.Contains(a.groom("journal", "ls", "--of", "groom", "--limit", "1"), "report.acked")
	})
	return a, id.Task(0)
}

// questions are asked of a living process through its files and through its pages, and of a copy of its directory.
var questions = [][]string{
	{"ls", "--limit", "0", "--json"},
	{"ls", "--limit", "0", "--kind", "attempt.silent,attempt.ended", "--of", "groom"},
	{"ls", "--limit", "3", "--json", "--of", "groom"},
	{"ls", "--from", "5", "--to", "9", "--limit", "0", "--of", "master"},
	{"ls", "--from", "9", "--of", "groom"},
	{"tail", "-n", "4"},
	{"show", "12"},
	{"show", "9", "--json", "--of", "master"},
	{"state", "--at", "12"},
	{"state", "--of", "master"},
	{"diff", "9", "15"},
	{"diff", "15", "9", "--json"},
	{"why", "silent"},
	{"why", "silent/0"},
	{"why", "silent/0/2", "--json"},
	{"blame", "silent/0"},
	{"stat"},
	{"export"},
	{"verify"},
	{"redecide"},
	{"bisect", "--check", ".tasks | any(.failures > 1)"},
}

// Each question has the same answer on a living process, through its pages, and on a copied directory.
func TestHistoryAnswersAlike(t *testing.T) {
	a, _ := failedThrice(t)
	copied := filepath.Join(t.TempDir(), "copy")
	living := map[string]string{}
	for _, q := range questions {
		name := strings.Join(q, " ")
		living[name] = offline(t, a.data, append([]string{"journal"}, q...)...)
		if living[name] == "" {
			t.Errorf("%s says nothing", name)
		}
		switch q[0] {
		case "blame", "stat", "export", "verify", "redecide", "bisect":
			continue // they want the files
		}
		cmd := exec.Command(filepath.Join(bin, "groom"), append([]string{"journal"}, append(q, "--addr", a.addr())...)...)
		out, err := cmd.CombinedOutput()
		if diff := cmp.Diff(living[name], string(out)); diff != "" || err != nil {
			t.Errorf("%s, through the pages (%v):\n%s", name, err, diff)
		}
	}
	a.kill9()
	if out, err := exec.Command("cp", "-a", a.data, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, q := range questions {
		name := strings.Join(q, " ")
		got := offline(t, copied, append([]string{"journal"}, q...)...)
		if q[0] == "verify" {
			got, living[name] = timeless(got), timeless(living[name])
		}
		if diff := cmp.Diff(living[name], got); diff != "" {
			t.Errorf("%s, of a copy:\n%s", name, diff)
		}
	}
}

// A process that answers from afar says that it holds its journal, and all else that the files say.
func TestInfoFromAfar(t *testing.T) {
	a, _ := failedThrice(t)
	files := offline(t, a.data, "journal", "info")
	if diff := cmp.Diff(files, a.groom("journal", "info")); diff != "" || !strings.Contains(files, "(a process holds it)") {
		t.Error(diff, files)
	}
}

// atFiles runs a verb on a data directory, and returns what it says with its exit status.
func atFiles(data string, args ...string) (string, int) {
	cmd := exec.Command(filepath.Join(bin, "groom"), append(args, "--data", data)...)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// timeless leaves out how long a proof took.
func timeless(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " in 0.")
		kept = append(kept, strings.TrimSpace(line))
	}
	return strings.Join(kept, "\n")
}

// Why was this attempt killed, and what did the groom believe at that moment? Two commands.
func TestTwoCommandsTellWhy(t *testing.T) {
	a, task := failedThrice(t)
	why := offline(t, a.data, "journal", "why", string(task.Attempt(2)))
	for _, words := range []string{"out of contact", "no ping in the first 2 periods of 50ms", "settled here", "failures 1, state running", "it counts against the limit"} {
		if !strings.Contains(why, words) {
			t.Errorf("it does not say %q:\n%s", words, why)
		}
	}
	i := strings.LastIndex(why, "groom journal state")
	if i < 0 {
		t.Fatalf("it names no second command:\n%s", why)
	}
	var tables struct {
		Attempts map[api.AttemptID]struct{ State, Order any }
	}
	state := offline(t, a.data, strings.Fields(why[i:])[1:]...)
	if err := json.Unmarshal([]byte(state), &tables); err != nil {
		t.Fatal(err)
	}
	if b := tables.Attempts[task.Attempt(2)]; b.State != "running" || b.Order != nil {
		t.Errorf("the groom believed %+v", b)
	}
}

// A page at an old index shows what the tables held then, while the one of now shows how it ended.
func TestPagesOfThePast(t *testing.T) {
	a, task := failedThrice(t)
	var entries []api.EntryView
	a.get("/journal?of=groom&kind=attempt.silent", &entries)
	if len(entries) != 3 {
		t.Fatalf("%d entries of silence", len(entries))
	}
	second := entries[1].Index
	var then, now api.TaskDetail
	a.get(fmt.Sprintf("/tasks/%s?of=groom&at=%d", task, second-1), &then)
	a.get("/tasks/"+string(task), &now)
	if then.State != api.TaskRunning || then.Failures != 1 || len(then.Attempts) != 2 || then.Attempts[1].Outcome != nil {
		t.Errorf("then it was %s with %d failures, and attempts %+v", then.State, then.Failures, then.Attempts)
	}
	if now.State != api.TaskFailed || now.Failures != 3 {
		t.Errorf("now it is %s with %d failures", now.State, now.Failures)
	}
	for _, e := range then.Events {
		if e.Of == "groom" && e.Index >= second {
			t.Errorf("then nobody knew of entry %d", e.Index)
		}
	}
	var jobs []api.JobView
	a.get("/jobs?of=master&at=4", &jobs)
	if len(jobs) != 0 {
		t.Errorf("before the first job there were %+v", jobs)
	}
	a.get("/jobs?of=master&at="+url.QueryEscape(entries[2].At.Format("2006-01-02T15:04:05.999999999Z07:00")), &jobs)
	if len(jobs) != 1 || jobs[0].State != api.JobRunning {
		t.Errorf("at the third silence: %+v", jobs)
	}
	a.get(fmt.Sprintf("/journal?of=groom&limit=5&at=%d", second), &entries)
	if n := len(entries); n != 5 || entries[n-1].Index != second {
		t.Errorf("the journal then: %+v", entries)
	}
	if page := a.page(fmt.Sprintf("/journal?of=groom&limit=5&at=%d", second)); strings.Contains(page, ">newer</a>") || !strings.Contains(page, ">older</a>") {
		t.Error("then there was something newer, or nothing older")
	}
	if page := a.page("/tasks/" + string(task)); !strings.Contains(page, "/why/"+string(task.Attempt(2))) || !strings.Contains(page, ">its history</a>") {
		t.Error("the page of now leads neither to why nor to the past")
	}
	var nodes []api.NodeView
	a.get("/nodes?of=master&at=8", &nodes)
	if len(nodes) != 1 || nodes[0].State != "ready" || !nodes[0].LastSeen.IsZero() {
		t.Errorf("the grooms then, of which no journal tells when they were heard: %+v", nodes)
	}
	var overview api.Overview
	a.get(fmt.Sprintf("/?at=%d", second), &overview)
	if g := overview.Groom; g == nil || g.Health != "" || g.Host.CPUs != 0 || g.Incarnation != 1 || len(g.Attempts) != 1 || overview.Master != nil {
		t.Errorf("the overview then, of which no journal tells how well it was: %+v, %+v", g, overview.Master)
	}
	var infos []api.JournalInfo
	for range 2 { // the second time nothing is read again
		a.get("/journal/info?kinds=1", &infos)
		if i := slices.IndexFunc(infos[0].Kinds, func(k api.KindCount) bool { return k.Kind == "attempt.silent" }); i < 0 || infos[0].Kinds[i].Entries != 3 {
			t.Errorf("counted by kind: %+v", infos[0].Kinds)
		}
	}
	for path, want := range map[string]int{"/jobs?at=100000": 404, "/jobs?at=0": 404, "/jobs?at=x": 400, "/diff?a=1": 400, "/why/job_202601010000_0001": 404} {
		resp, err := http.Get("http://" + a.addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s: %s", path, resp.Status, body)
		}
	}
}

// page is a page as a browser gets it.
func (a *agent) page(path string) string {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "http://"+a.addr()+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		a.t.Fatalf("%s: %s (%v)", path, resp.Status, err)
	}
	return string(b)
}

// A build whose limit of attempts is 2 decides otherwise exactly where the second failure was not the last.
func TestRedecideTellsAnotherBuild(t *testing.T) {
	a, task := failedThrice(t)
	other := filepath.Join(t.TempDir(), "groom.new")
	if out, err := exec.Command("go", "build", "-tags", "tooth_limit", "-o", other, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, code := atFiles(a.data, "journal", "redecide"); code != 0 || !strings.Contains(out, "0 changed, 0 refused") {
		t.Errorf("the same build: exit %d:\n%s", code, out)
	}
	cmd := exec.Command(filepath.Join(bin, "groom"), "journal", "redecide", "--build", other, "--json", "--data", a.data)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Fatalf("exit %v:\n%s", err, out)
	}
	var differ []string
	for line := range strings.Lines(string(out)) {
		var d map[string]any
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if d["kind"] != nil && d["reworded"] == nil { // the last line of each journal sums up
			differ = append(differ, fmt.Sprintf("%v: %v", d["kind"], d["now"]))
		}
	}
	want := []string{fmt.Sprintf("attempt.ended: %s out of contact: it was not heard of and was ended: failure 2 of 2, no try is left", task.Attempt(2))}
	if diff := cmp.Diff(want, differ); diff != "" {
		t.Error(diff)
	}
	for build, words := range map[string]string{"/no/such/groom": "no such file", "/bin/true": "is no groom, or is older than groom journal redecide"} {
		if out, code := atFiles(a.data, "journal", "redecide", "--build", build); code != 1 || !strings.Contains(out, words) || !strings.Contains(out, "hint: ") {
			t.Errorf("--build %s: exit %d:\n%s", build, code, out)
		}
	}
}

// A search names the entry and the command to look at it, tells a question that is none from one that is not true, and
// where it is that it cannot be understood.
func TestBisectFindsTheEntry(t *testing.T) {
	a, task := failedThrice(t)
	out := offline(t, a.data, "journal", "bisect", "--check", ".tasks | any(.failures > 1)")
	for _, words := range []string{"true since entry ", "attempt.ended", string(task.Attempt(2)), "failure 2 of 3", "to look at it: groom journal show "} {
		if !strings.Contains(out, words) {
			t.Errorf("it does not say %q:\n%s", words, out)
		}
	}
	shown := offline(t, a.data, strings.Fields(out[strings.LastIndex(out, "groom journal show"):])[1:]...)
	if !strings.Contains(out, shown) {
		t.Errorf("it shows\n%s\nwhere the command shows\n%s", out, shown)
	}
	for _, c := range []struct {
		args  []string
		code  int
		words string
	}{
		{[]string{"--check", ".tasks | any(.failures > 3)"}, 1, "it is not true at the end"},
		{[]string{"--check", ".tasks[] ~ 1"}, 2, "at character 10: unexpected token"},
		{[]string{"--check", ".tasks | keys | error"}, 1, "check after entry "},
		{[]string{"--check", "true", "--from", "9", "--to", "8"}, 2, "lies behind"},
		{[]string{}, 2, "--check is missing"},
		{[]string{"--check", "true", "--from", "7"}, 0, "it was true already after entry 7"},
		{[]string{"--check", "true", "--from", "7", "--json"}, 0, `"already": true`},
	} {
		out, code := atFiles(a.data, append([]string{"journal", "bisect"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.words) || code > 0 && !strings.Contains(out, "hint: ") && c.words != "check after entry " {
			t.Errorf("%q: exit %d, want %d and %q:\n%s", c.args, code, c.code, c.words, out)
		}
	}
}

// A fork can be looked at, and nothing runs on it.
func TestForkIsASandbox(t *testing.T) {
	a, _ := failedThrice(t)
	fork := filepath.Join(t.TempDir(), "fork")
	if out, code := atFiles(a.data, "journal", "fork", "--at", "12", filepath.Join(fork, "no", "parent")); code != 1 || len(tree(t, filepath.Dir(fork))) != 1 {
		t.Errorf("without a parent: exit %d, and %v:\n%s", code, tree(t, filepath.Dir(fork)), out)
	}
	for _, point := range []string{"home.before-rename", "home.after-rename"} {
		cmd := exec.Command(filepath.Join(bin, "groom"), "journal", "fork", "--at", "12", fork, "--data", a.data)
		cmd.Env = append(os.Environ(), fault.Env+"="+point)
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: it was not killed", point)
		}
		if _, err := os.Lstat(fork); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: killed halfway it left a directory: %v", point, err)
		}
	}
	offline(t, a.data, "journal", "fork", "--at", "12", fork)
	before := tree(t, fork)
	for _, q := range questions {
		if at := slices.IndexFunc(q, func(arg string) bool { return arg == "master" || arg == "15" }); at >= 0 {
			continue // of the other journal, or of what came later
		}
		name := strings.Join(q, " ")
		out, code := atFiles(fork, append([]string{"journal"}, q...)...)
		// What is asked for has not come yet: the fork says that, and nothing else.
		if later := strings.HasPrefix(name, "bisect") || name == "why silent/0/2 --json"; code != 0 && !later || code > 1 {
			t.Errorf("%s, of the fork: exit %d:\n%s", name, code, out)
		}
	}
	if out := offline(t, fork, "journal", "verify"); !strings.Contains(out, "entries 1 to 12") {
		t.Errorf("verify:\n%s", out)
	}
	if diff := cmp.Diff(offline(t, a.data, "journal", "state", "--at", "12"), offline(t, fork, "journal", "state")); diff != "" {
		t.Errorf("its tables:\n%s", diff)
	}
	for _, args := range [][]string{agentArgs("--data", fork), agentArgs("--fresh", "--yes", "--data", fork), {"run", "--data", fork, write(t, "job.yaml", thrice)}, {"master", "--data", fork, "--web-addr", "127.0.0.1:0", "--master-addr", "127.0.0.1:0"}} {
		out, err := exec.Command(filepath.Join(bin, "groom"), args...).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), "nothing runs on it") || !strings.Contains(string(out), "hint: ") {
			t.Errorf("groom %s: %v:\n%s", args[0], err, out)
		}
	}
	if diff := cmp.Diff(before, tree(t, fork)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	if out, code := atFiles(a.data, "journal", "fork", fork); code != 1 || !strings.Contains(out, "hint: ") {
		t.Errorf("again: exit %d:\n%s", code, out)
	}
}

func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A damaged log is refused with words; made whole from its mirror it is proven, and its tasks are adopted.
func TestRebuildAfterDamage(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	tasks := a.awaitTasks(a.submit(write(t, "job.yaml", threeSleepers)), api.TaskRunning)
	if out, code := atFiles(a.data, "journal", "rebuild", "--yes"); code != 1 || !strings.Contains(out, "hint: end the process") {
		t.Errorf("of a living process: exit %d:\n%s", code, out)
	}
	a.kill9()
	if err := os.Truncate(filepath.Join(a.data, "groom", "raft.db"), 8<<10); err != nil {
		t.Fatal(err)
	}
	out, code := a.try(append(agentArgs(), "--data", a.data)...)
	if code != 1 || !strings.Contains(out, "groom journal rebuild") {
		t.Errorf("a start: exit %d:\n%s", code, out)
	}
	if out, code := atFiles(a.data, "journal", "verify", "--of", "groom"); code != 1 || !strings.Contains(out, "raft.db") {
		t.Errorf("verify: exit %d:\n%s", code, out)
	}
	if out, code := atFiles(a.data, "journal", "rebuild"); code != 1 || !strings.Contains(out, "nothing was changed") {
		t.Errorf("unasked: exit %d:\n%s", code, out)
	}
	if out := offline(t, a.data, "journal", "rebuild", "--yes"); !strings.Contains(out, "nothing that is known of is lost") {
		t.Errorf("rebuild:\n%s", out)
	}
	a.launch()
	for _, was := range tasks {
		if is := a.task(was.ID); is.Pid != was.Pid || is.State != api.TaskRunning {
			t.Errorf("%s was pid %d, and is %s with pid %d", was.ID, was.Pid, is.State, is.Pid)
		}
	}
	if out := a.groom("journal", "ls", "--of", "groom", "--kind", "journal.rebuilt"); !slices.ContainsFunc(strings.Split(out, "\n"), func(l string) bool { return strings.Contains(l, "journal.rebuilt") }) {
		t.Errorf("the journal does not tell of it:\n%s", out)
	}
}

// A journal that is followed tells each entry once, as it comes, and is followed on when its process is killed and comes
// back.
func TestTailFollows(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	_, out := background(t, "journal", "tail", "-f", "--of", "groom", "--data", a.data, "-n", "1000")
	a.await("what there is", func() bool { return strings.Contains(out.String(), "cluster.pinned") })
	id := a.submit(write(t, "job.yaml", thrice))
	a.await("the failure", func() bool { return strings.Contains(out.String(), "no try is left") })
	a.kill9()
	a.launch()
	a.await("the next start", func() bool { return strings.Contains(out.String(), "start 2 of groom") })
	a.await("its last entry", func() bool {
		return strings.HasSuffix(offline(t, a.data, "journal", "ls", "--of", "groom", "--limit", "0"), out.String()[strings.Index(out.String(), "\n       1 "):])
	})
	if n := strings.Count(out.String(), string(id)+"; task"); n != 1 {
		t.Errorf("the launch was told %d times:\n%s", n, out)
	}
}
