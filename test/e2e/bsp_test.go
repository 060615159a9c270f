package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"groom/api"
	"groom/fault"
)

// graph writes a graph whose ranks take some rounds to settle: a ring with chords and a few dangling vertices.
func graph(t *testing.T) (vertices, edges string) {
	t.Helper()
	dir := t.TempDir()
	const n = 4000
	var v, e strings.Builder
	for i := range n {
		fmt.Fprintln(&v, i)
		if i%17 == 0 {
			continue // dangling
		}
		fmt.Fprintf(&e, "%d %d\n%d %d\n", i, (i+1)%n, i, (i*31+7)%n)
	}
	vertices, edges = filepath.Join(dir, "g.v"), filepath.Join(dir, "g.e")
	for path, text := range map[string]string{vertices: v.String(), edges: e.String()} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return vertices, edges
}

// pagerank writes a job file that computes ranks into output with so many rounds.
func pagerank(t *testing.T, tasks, rounds int, output, more string) string {
	t.Helper()
	v, e := graph(t)
	if !strings.Contains(more, "ping:") {
		more += "ping: {period: 100ms, missed: 100, first: 200}\n" // the groom learns of steps by pings
	}
	return write(t, "pagerank.yaml", fmt.Sprintf(`
name: pagerank
type: bsp
tasks: %d
command: [%s]
config: {vertices: %s, edges: %s, iterations: "%d"}
output: %s
%s`, tasks, filepath.Join(bin, "pagerank"), v, e, rounds, output, more))
}

// ranks reads the parts in an output directory.
func ranks(t *testing.T, output string) map[string]float64 {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(output, "part-*"))
	if err != nil || len(parts) == 0 {
		t.Fatalf("no parts in %s: %v", output, err)
	}
	all := map[string]float64{}
	for _, part := range parts {
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var id string
			var value float64
			if _, err := fmt.Sscan(line, &id, &value); err != nil {
				t.Fatalf("%s: %q: %v", part, line, err)
			}
			all[id] = value
		}
	}
	return all
}

var undisturbed = map[int]map[string]float64{} // by rounds; these tests run one after another

// expected runs the job once, undisturbed.
func expected(t *testing.T, rounds int) map[string]float64 {
	t.Helper()
	if known := undisturbed[rounds]; known != nil {
		return known
	}
	output := filepath.Join(t.TempDir(), "ranks")
	out, code := (&agent{t: t, data: t.TempDir()}).try("run", "--data", t.TempDir(), pagerank(t, 1, rounds, output, ""))
	if code != 0 {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	undisturbed[rounds] = ranks(t, output)
	return undisturbed[rounds]
}

func sameRanks(t *testing.T, got, want map[string]float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d ranks, want %d", len(got), len(want))
	}
	sum := 0.0
	for id, w := range want {
		if g := got[id]; math.Abs(g-w) > 1e-12*math.Abs(w) {
			t.Fatalf("rank of %s is %v, want %v", id, g, w)
		}
		sum += got[id]
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("ranks sum to %v", sum)
	}
}

// longRun is rounds enough for a kill in the middle.
const longRun = 12_000

// inTheMiddle waits until the job is some rounds into its run.
func inTheMiddle(a *agent, id api.JobID) api.JobDetail {
	a.t.Helper()
	var d api.JobDetail
	a.await("superstep 20", func() bool {
		d = a.job(id)
		if d.State.Terminal() {
			a.t.Fatalf("%s is %s already: %s", id, d.State, d.Reason)
		}
		return d.Step >= 20
	})
	return d
}

// The groom is killed in the middle of a BSP job: the same processes go on in the same epoch, with the same ranks.
func TestGroomKilledInTheMiddleOfASuperstep(t *testing.T) {
	output := filepath.Join(t.TempDir(), "ranks")
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(pagerank(t, 3, longRun, output, ""))
	before := inTheMiddle(a, id)
	a.kill9()
	a.launch()
	after := a.job(id)
	if after.Epoch != before.Epoch {
		t.Errorf("epoch %d, was %d", after.Epoch, before.Epoch)
	}
	for i, task := range after.TaskViews {
		if was := before.TaskViews[i]; task.State == api.TaskRunning && task.Pid != was.Pid || task.Attempt != was.Attempt {
			t.Errorf("task %d: pid %d attempt %d, was pid %d attempt %d", i, task.Pid, task.Attempt, was.Pid, was.Attempt)
		}
	}
	a.awaitTasks(id, api.TaskSucceeded)
	if d := a.job(id); d.Epoch != before.Epoch {
		t.Errorf("it ended in epoch %d, was in %d", d.Epoch, before.Epoch)
	}
	sameRanks(t, ranks(t, output), expected(t, longRun))
}

// One task is killed: the next epoch, the same ranks, and only the dead one is charged.
func TestTaskKilledInTheMiddleOfASuperstep(t *testing.T) {
	output := filepath.Join(t.TempDir(), "ranks")
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(pagerank(t, 3, longRun, output, ""))
	before := inTheMiddle(a, id)
	if err := syscall.Kill(before.TaskViews[1].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a.awaitTasks(id, api.TaskSucceeded)
	d := a.job(id)
	if d.Epoch != before.Epoch+1 {
		t.Errorf("epoch %d, want %d", d.Epoch, before.Epoch+1)
	}
	for i, task := range d.TaskViews {
		first := a.task(task.ID).Attempts[0]
		want := api.RolledBack
		if i == 1 {
			want = api.Signaled
		}
		if first.Outcome == nil || first.Outcome.Kind != want || first.Counted != (i == 1) {
			t.Errorf("task %d: first attempt %v (counted %v), want %s", i, first.Outcome, first.Counted, want)
		}
	}
	sameRanks(t, ranks(t, output), expected(t, longRun))
}

// A peer that is stopped in its tracks pings no more: out of contact, and the job goes on in the next epoch.
func TestTaskThatFallsSilent(t *testing.T) {
	output := filepath.Join(t.TempDir(), "ranks")
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(pagerank(t, 2, longRun, output, "ping: {period: 200ms, missed: 3, first: 100}\n"))
	before := inTheMiddle(a, id)
	if err := syscall.Kill(before.TaskViews[0].Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	a.awaitTasks(id, api.TaskSucceeded)
	first := a.task(id.Task(0)).Attempts[0]
	if first.Outcome == nil || first.Outcome.Kind != api.OutOfContact || !first.Counted {
		t.Errorf("outcome %v (counted %v), want out-of-contact", first.Outcome, first.Counted)
	}
	sameRanks(t, ranks(t, output), expected(t, longRun))
}

// The same ranks come out with 1, 2 and 5 tasks.
func TestRanksDoNotDependOnTheNumberOfTasks(t *testing.T) {
	want := expected(t, 30)
	for _, tasks := range []int{2, 5} {
		output := filepath.Join(t.TempDir(), "ranks")
		out, code := (&agent{t: t, data: t.TempDir()}).try("run", "--data", t.TempDir(), pagerank(t, tasks, 30, output, ""))
		if code != 0 {
			t.Fatalf("exit %d:\n%s", code, out)
		}
		sameRanks(t, ranks(t, output), want)
	}
}

// A master and two grooms in processes of their own: a task on each at least, bytes between them over TCP, and a
// master that is killed and started again loses nothing.
func TestMasterAndTwoGrooms(t *testing.T) {
	m := start(t, t.TempDir(), "master", "--master-addr", "127.0.0.1:0", "--web-addr", "127.0.0.1:0")
	master := kept(t, m.data)["master"]
	var grooms []*agent
	for _, name := range []string{"north", "south"} {
		grooms = append(grooms, start(t, t.TempDir(), agentArgs("--name", name, "--masters", master,
			"--master-token-file", filepath.Join(m.data, "token"), "--max-tasks", "2")...))
	}
	m.await("both grooms are ready", func() bool {
		var nodes []api.NodeView
		m.get("/nodes", &nodes)
		ready := 0
		for _, n := range nodes {
			if n.State == "ready" {
				ready++
			}
		}
		return ready == 2
	})
	output := filepath.Join(t.TempDir(), "ranks")
	id := m.submit(pagerank(t, 3, longRun, output, "shared_dir: /\n"))
	before := inTheMiddle(m, id)
	on := map[string]int{}
	for _, task := range before.TaskViews {
		on[task.Groom]++
	}
	if len(on) != 2 {
		t.Errorf("tasks by groom: %v, want some on each", on)
	}
	m.kill9()
	m.launch()
	m.awaitTasks(id, api.TaskSucceeded)
	if d := m.job(id); d.Epoch != before.Epoch || d.State != api.JobSucceeded {
		m.await("the job succeeds", func() bool { return m.job(id).State == api.JobSucceeded })
	}
	bytes := int64(0)
	for _, g := range grooms {
		var d api.JobDetail
		g.get("/jobs/"+string(id), &d)
		for _, step := range d.Supersteps {
			bytes += step.Bytes
		}
	}
	if bytes == 0 {
		t.Error("no bytes crossed in any superstep")
	}
	sameRanks(t, ranks(t, output), expected(t, longRun))
	out := grooms[0].groom("job", "status", string(id)) // a groom passes it on
	if !strings.Contains(out, "succeeded") {
		t.Errorf("job status at a groom:\n%s", out)
	}
}

// The groom is killed at each point around the commit of an output, and right after its first file: the next start goes
// on, and the result is the same.
func TestKilledAroundTheCommit(t *testing.T) {
	for _, point := range []string{"server.before-move", "server.before-move#2", "server.before-committed", "home.before-rename"} {
		t.Run(point, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "ranks")
			a := start(t, t.TempDir(), agentArgs()...)
			a.kill9()
			a.env = []string{fault.Env + "=" + point}
			a.launch()
			a.env = nil
			file := pagerank(t, 3, 30, output, "")
			out, code := a.try("job", "submit", "--request", "once", file)
			if code != 0 && !strings.HasPrefix(point, "home.") { // there the groom dies before it can answer
				t.Fatalf("submit: exit %d: %s", code, out)
			}
			a.await("the groom dies", func() bool { return !a.running() })
			a.launch()
			// Whoever had no answer asks again, and it is the same job.
			var s api.Submission
			if err := json.Unmarshal([]byte(a.groom("job", "submit", "--request", "once", "--json", file)), &s); err != nil {
				t.Fatal(err)
			}
			id := s.Job
			a.await("the job succeeds", func() bool { return a.job(id).State == api.JobSucceeded })
			sameRanks(t, ranks(t, output), expected(t, 30))
			if _, err := os.Stat(filepath.Join(output, ".parts")); !os.IsNotExist(err) {
				t.Errorf("staging is left behind: %v", err)
			}
		})
	}
}

// A groom is lost and another takes its tasks: the groom that stays keeps some of its own and not others, and the job
// goes on to its end.
func TestGroomLostAndAnotherTakesItsTasks(t *testing.T) {
	m := start(t, t.TempDir(), "master", "--master-addr", "127.0.0.1:0", "--web-addr", "127.0.0.1:0")
	join := func(name string) *agent {
		return start(t, t.TempDir(), agentArgs("--name", name, "--masters", kept(t, m.data)["master"],
			"--master-token-file", filepath.Join(m.data, "token"), "--max-tasks", "2")...)
	}
	ready := func(n int) {
		m.await("grooms are ready", func() bool {
			var nodes []api.NodeView
			m.get("/nodes", &nodes)
			ready := 0
			for _, node := range nodes {
				if node.State == "ready" {
					ready++
				}
			}
			return ready == n
		})
	}
	north := join("north")
	join("south")
	ready(2)
	output := filepath.Join(t.TempDir(), "ranks")
	id := m.submit(pagerank(t, 4, longRun, output, "shared_dir: /\n"))
	before := inTheMiddle(m, id)
	north.kill9()
	killAttempts(t, north.data)
	join("east")
	m.await("the job succeeds", func() bool { return m.job(id).State == api.JobSucceeded })
	if d := m.job(id); d.Epoch <= before.Epoch {
		t.Errorf("epoch %d, was %d", d.Epoch, before.Epoch)
	}
	sameRanks(t, ranks(t, output), expected(t, longRun))
}

// Stopped, resumed and restarted in the middle of its supersteps, over a crash of the groom: the result is the same.
func TestBSPJobRestarted(t *testing.T) {
	want := expected(t, 300)
	a := start(t, t.TempDir(), agentArgs()...)
	output := filepath.Join(t.TempDir(), "ranks")
	id := a.submit(pagerank(t, 3, 300, output, ""))
	in := func(epoch int) func() bool {
		return func() bool { d := a.job(id); return d.State == api.JobRunning && d.Epoch == epoch && d.Step > 0 }
	}
	a.await("the first epoch", in(1))
	a.groom("job", "stop", string(id))
	a.awaitTasks(id, api.TaskStopped)
	a.await("the master's word", func() bool { return a.job(id).State == api.JobStopped })
	a.groom("job", "resume", string(id))
	a.await("the second epoch", in(2))
	a.groom("task", "restart", string(id.Task(1))) // of a bsp job it means the job
	a.kill9()
	a.launch()
	a.await("the third epoch", in(3))
	a.awaitTasks(id, api.TaskSucceeded)
	for _, task := range a.job(id).TaskViews {
		if task.Failures != 0 {
			t.Errorf("task %d: %d failures", task.Index, task.Failures)
		}
	}
	sameRanks(t, ranks(t, output), want)
}
