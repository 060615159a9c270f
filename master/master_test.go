package master

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"groom/api"
	"groom/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// life is a job from its submission to its end, in steps between which the master may be killed.
type life struct {
	c  *testCluster
	g  *fakeGroom
	id api.JobID
}

func wordOf(t *testing.T, err error, code api.Code, words string) {
	t.Helper()
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || p.Code != code || !strings.Contains(p.Detail, words) {
		t.Errorf("got %v, want %s: …%s…", err, code, words)
	}
}

var bspLife = []func(t *testing.T, l *life){
	func(t *testing.T, l *life) { l.c.beat(l.g) },
	func(t *testing.T, l *life) { l.id = l.c.submit(spec(api.BSP, 2)) },
	func(t *testing.T, l *life) { // the same request is the same job
		if again := l.c.submit(spec(api.BSP, 2)); again != l.id {
			t.Errorf("submitted again: %s, was %s", again, l.id)
		}
	},
	func(t *testing.T, l *life) {
		l.c.beat(l.g)
		d := l.g.await(1)
		if d.Kind != api.DirectiveLaunch || d.Epoch != 1 || len(d.Launch.Tasks) != 2 || d.Launch.Secret == "" ||
			d.Launch.Root.Groom != l.g.status.ID || d.Launch.Spec.Command[0] != "true" {
			t.Errorf("launch %+v", d)
		}
	},
	func(t *testing.T, l *life) { // one peer dies
		l.g.report(api.Report{
			Task: l.id.Task(1), Attempt: 1, Epoch: 1, State: api.TaskPending, Counted: true,
			Outcome: &api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByOthers},
		})
		l.c.beat(l.g)
	},
	func(t *testing.T, l *life) {
		l.c.beat(l.g)
		d := l.g.await(2)
		first := l.g.await(1)
		if d.Kind != api.DirectiveRecover || d.Epoch != 2 || d.Launch.Tasks[1].Attempt != 2 ||
			d.Launch.Secret == first.Launch.Secret || !strings.Contains(d.Reason, "SIGKILL") {
			t.Errorf("recover %+v", d)
		}
	},
	func(t *testing.T, l *life) { // the other one ends with its epoch; both are done in the next
		l.g.report(api.Report{
			Task: l.id.Task(0), Attempt: 1, Epoch: 1, State: api.TaskLaunching, Outcome: &api.Outcome{Kind: api.RolledBack},
		})
		for i := range 2 {
			l.g.report(api.Report{Task: l.id.Task(i), Attempt: 2, Epoch: 2, State: api.TaskCommitting, Outcome: &api.Outcome{Kind: api.Exited}})
		}
		l.c.beat(l.g)
	},
	func(t *testing.T, l *life) {
		l.c.beat(l.g)
		if d := l.g.await(3); d.Kind != api.DirectiveCommit || d.Epoch != 2 {
			t.Errorf("commit %+v", d)
		}
	},
	func(t *testing.T, l *life) {
		for i := range 2 {
			l.g.report(api.Report{Task: l.id.Task(i), Attempt: 2, Epoch: 2, State: api.TaskSucceeded})
		}
		l.c.beat(l.g)
	},
	func(t *testing.T, l *life) {
		d := l.c.awaitState(l.id, api.JobSucceeded)
		if d.Epoch != 2 || d.ByState[api.TaskSucceeded] != 2 || d.TaskViews[1].Failures != 1 || d.TaskViews[0].Failures != 0 {
			t.Errorf("job %+v", d)
		}
	},
}

// A master that is closed and opened again between any two steps takes every job to the same end.
func TestBSPJobThroughRestarts(t *testing.T) {
	for restart := -1; restart < len(bspLife); restart++ {
		l := &life{g: newFakeGroom(t, "north", 3)}
		l.c = openCluster(t, Options{}, l.g)
		for i, step := range bspLife {
			step(t, l)
			if i == restart {
				l.c.again()
			}
		}
		if got := len(l.g.taken); got != 3 {
			t.Errorf("restart after step %d: %d directives, want 3: %+v", restart, got, l.g.taken)
		}
		l.c.end()
	}
}

// A plain task that fails ends its job, with the reason in words; the others are killed as failed.
func TestPlainJobFails(t *testing.T) {
	g := newFakeGroom(t, "north", 3)
	c := openCluster(t, Options{}, g)
	c.beat(g)
	id := c.submit(spec(api.Plain, 3))
	g.await(1)
	g.report(api.Report{
		Task: id.Task(0), Attempt: 3, State: api.TaskFailed, Counted: true, Failures: 3, Outcome: &api.Outcome{Kind: api.Exited, Code: 3},
	})
	c.beat(g)
	if d := g.await(2); d.Kind != api.DirectiveKill || !d.Fail || len(d.Tasks) != 3 {
		t.Errorf("kill %+v", d)
	}
	for i := 1; i < 3; i++ {
		g.report(api.Report{Task: id.Task(i), Attempt: 1, State: api.TaskFailed, Outcome: &api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByKill}})
	}
	c.beat(g)
	want := string(id.Task(0)) + ": exited with code 3 (failure 3 of 3)"
	if d := c.awaitState(id, api.JobFailed); d.Reason != want {
		t.Errorf("reason %q, want %q", d.Reason, want)
	}
}

// Jobs wait in the queue and say for what; one that can never fit lets others pass.
func TestQueue(t *testing.T) {
	g := newFakeGroom(t, "north", 3)
	c := openCluster(t, Options{}, g)
	submit := func(name string, tasks int) api.JobID {
		s := spec(api.Plain, tasks)
		s.Name = name
		reply, err := c.m.Submit(context.Background(), api.SubmitRequest{Version: 1, Request: name, Spec: s})
		if err != nil {
			t.Fatal(err)
		}
		return reply.Job
	}
	early := submit("early", 2)
	if d := c.job(early); d.State != api.JobQueued || d.Reason != "waits for a groom that takes tasks" {
		t.Errorf("%s: %s", d.State, d.Reason)
	}
	c.beat(g)
	g.await(1)
	huge, large, small := submit("huge", 5), submit("large", 3), submit("small", 1)
	for id, want := range map[api.JobID]string{
		huge: "waits for room: needs 5 places, 1 are free of 3", large: "waits for room: needs 3 places, 1 are free of 3",
		small: "waits behind " + string(large),
	} {
		if d := c.job(id); d.State != api.JobQueued || d.Reason != want {
			t.Errorf("%s: %s: %q, want %q", d.Name, d.State, d.Reason, want)
		}
	}
	if _, err := c.m.Act(context.Background(), api.ActRequest{Version: 1, Verb: api.VerbKill, Job: "large"}); err != nil {
		t.Fatal(err)
	}
	if d := c.job(large); d.State != api.JobKilled {
		t.Errorf("a queued job that is killed is %s", d.State)
	}
	c.awaitState(small, api.JobRunning)
	if d := g.await(2); d.Job != small {
		t.Errorf("second launch is of %s", d.Job)
	}
}

// A groom that refuses a launch for good fails the job, in its words.
func TestLaunchRejected(t *testing.T) {
	g := newFakeGroom(t, "north", 3)
	g.reject = "artifact data: no such file"
	c := openCluster(t, Options{}, g)
	c.beat(g)
	id := c.submit(spec(api.BSP, 2))
	d := c.awaitState(id, api.JobFailing)
	if !strings.Contains(d.Reason, "groom north cannot launch it: artifact data: no such file") {
		t.Errorf("reason %q", d.Reason)
	}
}

// A groom whose lease is over is lost; the BSP job goes elsewhere under a higher epoch. The lost one is told when it is
// back.
func TestLeaseOver(t *testing.T) {
	north, south := newFakeGroom(t, "north", 2), newFakeGroom(t, "south", 2)
	c := openCluster(t, Options{lease: 300 * time.Millisecond, beat: 20 * time.Millisecond}, north)
	c.beat(north)
	id := c.submit(spec(api.BSP, 2))
	north.await(1)
	// From here on north is silent. South has no address: it takes north's place as the embedded one.
	c.o.Embedded = south.handler()
	c.m.o.Embedded = c.o.Embedded
	beating := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer close(beating)
		for ctx.Err() == nil {
			c.beat(south)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	d := south.await(1)
	if d.Kind != api.DirectiveRecover || d.Epoch != 2 || len(d.Launch.Tasks) != 2 {
		t.Errorf("recover %+v", d)
	}
	stop()
	<-beating
	if j := c.job(id); j.State != api.JobRunning || j.TaskViews[0].Groom != "south" {
		t.Errorf("%s on %s", j.State, j.TaskViews[0].Groom)
	}
	c.m.o.Embedded = north.handler()
	c.register(north, "")
	if d := north.await(2); d.Kind != api.DirectiveRecover || d.Epoch != 2 || len(d.Launch.Tasks) != 0 {
		t.Errorf("north, back: %+v", d)
	}
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	g := newFakeGroom(t, "north", 3)
	c := openCluster(t, Options{}, g)
	c.beat(g)
	id := c.submit(spec(api.Plain, 1))
	g.await(1)

	_, err := c.m.Submit(ctx, api.SubmitRequest{Version: 1, Request: "zero", Spec: spec(api.Plain, 0)})
	wordOf(t, err, api.CodeInvalid, "tasks")
	_, err = c.m.Submit(ctx, api.SubmitRequest{Version: 1, Request: t.Name(), Spec: spec(api.Plain, 2)})
	wordOf(t, err, api.CodeConflict, "was used for another job")
	_, err = c.m.Job(ctx, "no-such-job")
	wordOf(t, err, api.CodeNotFound, "no-such-job")
	_, err = c.m.Task(ctx, string(id.Task(7)))
	wordOf(t, err, api.CodeNotFound, "no task")
	_, err = c.m.Act(ctx, api.ActRequest{Version: 1, Verb: "shake", Job: string(id)})
	wordOf(t, err, api.CodeInvalid, "shake")
	_, err = c.m.Act(ctx, api.ActRequest{Version: 1, Verb: api.VerbKill, Job: string(id), Tasks: []int{3}})
	wordOf(t, err, api.CodeNotFound, "has no task 3")
	if reply, err := c.m.Act(ctx, api.ActRequest{Version: 1, Verb: api.VerbResume, Job: "test"}); err != nil || !reply.Already || reply.Job != id {
		t.Errorf("resume of a running job: %+v, %v", reply, err)
	}
	if _, err := c.m.Submit(ctx, api.SubmitRequest{Version: 1, Request: "twin", Spec: spec(api.Plain, 1)}); err != nil {
		t.Fatal(err)
	}
	_, err = c.m.Job(ctx, "test")
	wordOf(t, err, api.CodeConflict, "2 jobs are named test")

	err = c.asks.Post(ctx, "/v1/register", api.Registration{Version: 1, Cluster: "another", Groom: g.status}, nil)
	wordOf(t, err, api.CodeConflict, "belongs to cluster another")
	err = c.asks.Post(ctx, "/v1/heartbeat", api.Heartbeat{Version: 7, Groom: g.status}, nil)
	wordOf(t, err, api.CodeVersion, "version 7")
	stranger := &wire.Client{Base: c.asks.Base, Token: "guessed", HTTP: c.asks.HTTP}
	wordOf(t, stranger.Get(ctx, "/v1/jobs", nil), api.CodeToken, "token")
}

// What the groom alone knows is asked of it; secrets stay in no file of the journal and on no page.
func TestViews(t *testing.T) {
	ctx := context.Background()
	g := newFakeGroom(t, "north", 3)
	c := openCluster(t, Options{}, g)
	c.beat(g)
	id := c.submit(spec(api.BSP, 1))
	g.await(1)
	g.status.Attempts = []api.AttemptStatus{{ID: id.Task(0).Attempt(1), Epoch: 1, State: api.TaskRunning, Pid: 77, Step: 40}}
	c.beat(g)

	d := c.job(id)
	if d.Step != 41 || d.TaskViews[0].Pid != 77 || d.TaskViews[0].State != api.TaskRunning || d.ByState[api.TaskRunning] != 1 {
		t.Errorf("job %+v", d)
	}
	if d.Spec.Env["API_TOKEN"] == "hush" || d.Spec.Name != "test" || len(d.Events) == 0 {
		t.Errorf("spec %+v, events %v", d.Spec, d.Events)
	}
	var task api.TaskDetail
	if err := c.asks.Get(ctx, "/v1/tasks/"+string(id.Task(0)), &task); err != nil || len(task.Attempts) != 1 || task.Job.ID != id {
		t.Errorf("task %+v, %v", task, err)
	}
	var nodes []api.NodeView
	if err := c.asks.Get(ctx, "/v1/nodes", &nodes); err != nil || len(nodes) != 1 || nodes[0].State != "ready" || nodes[0].Placed != 1 {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	chunks, err := c.m.Logs(ctx, id.Task(0).Attempt(1), "stdout", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for chunk, err := range chunks {
		if err != nil || !bytes.Contains(chunk.Data, []byte("hello from attempt_")) {
			t.Errorf("logs: %q, %v", chunk.Data, err)
		}
	}
	if families, err := c.o.Registry.Gather(); err != nil || len(families) == 0 {
		t.Errorf("metrics: %v, %v", families, err)
	}
	secret := g.await(1).Launch.Secret
	c.end()
	for _, word := range []string{secret, "secret-of-the-worker", "hush"} {
		err := filepath.WalkDir(filepath.Join(c.dir, "master"), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s holds the secret %q", path, word)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// An ended job leaves the tables when its retention is over and its groom has forgotten it, and its spec goes with it.
func TestForgets(t *testing.T) {
	g := newFakeGroom(t, "north", 3)
	c := openCluster(t, Options{}, g)
	c.beat(g)
	s := spec(api.Plain, 1)
	s.Retention = api.Retention{Keep: api.Duration(time.Millisecond), KeepFailed: api.Duration(time.Hour)}
	id := c.submit(s)
	g.await(1)
	specs := func() int {
		found, err := filepath.Glob(filepath.Join(c.dir, shelfDir, "specs", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := specs(); n != 1 {
		t.Errorf("%d specs for one job", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	events := c.m.Events(ctx, 0)
	g.report(api.Report{Task: id.Task(0), Attempt: 1, State: api.TaskSucceeded, Outcome: &api.Outcome{Kind: api.Exited}})
	c.beat(g)
	if d := g.await(3); d.Kind != api.DirectiveForget {
		t.Errorf("forget %+v", d)
	}
	for e := range events {
		if e.Kind == "job.forgotten" {
			break
		}
	}
	_, err := c.m.Job(context.Background(), string(id))
	wordOf(t, err, api.CodeNotFound, string(id))
	c.beat(g) // reports of what is forgotten are acknowledged, and have no effect
	c.again()
	if n := specs(); n != 0 {
		t.Errorf("%d specs are left", n)
	}
}

// Stop, resume and kill reach the groom in their order, whatever it is that restarts between them.
func TestActs(t *testing.T) {
	g := newFakeGroom(t, "north", 3)
	c := openCluster(t, Options{}, g)
	act := func(verb api.Verb, tasks ...int) api.ActReply {
		t.Helper()
		reply, err := c.m.Act(context.Background(), api.ActRequest{Version: 1, Verb: verb, Job: "test", Tasks: tasks})
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	c.beat(g)
	id := c.submit(spec(api.Plain, 2))
	g.await(1)
	if reply := act(api.VerbStop); reply.Already || reply.Index == 0 {
		t.Errorf("stop: %+v", reply)
	}
	if reply := act(api.VerbStop, 1); !reply.Already {
		t.Errorf("stop again: %+v", reply)
	}
	c.again()
	c.beat(g)
	if d := g.await(2); d.Kind != api.DirectiveStop {
		t.Errorf("stop %+v", d)
	}
	for i := range 2 {
		g.report(api.Report{Task: id.Task(i), Attempt: 1, State: api.TaskStopped, Outcome: &api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByStop}})
	}
	c.beat(g)
	c.awaitState(id, api.JobStopped)
	c.again()
	c.beat(g)
	act(api.VerbResume)
	if d := g.await(3); d.Kind != api.DirectiveResume {
		t.Errorf("resume %+v", d)
	}
	act(api.VerbKill, 0)
	if d := g.await(4); d.Kind != api.DirectiveKill || len(d.Tasks) != 1 || d.Fail {
		t.Errorf("kill %+v", d)
	}
	c.awaitState(id, api.JobRunning)
}

// Heartbeats without news write nothing.
func TestIdleWritesNothing(t *testing.T) {
	g := newFakeGroom(t, "north", 3)
	c := openCluster(t, Options{}, g)
	c.beat(g)
	before := c.m.JournalInfo().Last
	for range 20 {
		c.beat(g)
	}
	if after := c.m.JournalInfo().Last; after != before {
		t.Errorf("%d entries for heartbeats", after-before)
	}
}

// A stand-alone master listens, and lets in who shows its token; the port is the same after a restart.
func TestListens(t *testing.T) {
	c := openCluster(t, Options{Addr: "127.0.0.1:0"}, nil)
	addr := c.m.Addr()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	distant := &wire.Client{Base: "http://" + addr, Token: c.home.Token, HTTP: &http.Client{Transport: transport}}
	var jobs []api.JobView
	if err := distant.Get(context.Background(), "/v1/jobs", &jobs); err != nil || jobs == nil {
		t.Errorf("jobs %v, %v", jobs, err)
	}
	err := c.asks.Post(context.Background(), "/v1/register", api.Registration{Version: 1, Groom: newFakeGroom(t, "north", 1).status}, nil)
	wordOf(t, err, api.CodeInvalid, "no worker server")
	transport.CloseIdleConnections()
	c.again()
	if c.m.Addr() != addr {
		t.Errorf("listens on %s, was %s", c.m.Addr(), addr)
	}
}
