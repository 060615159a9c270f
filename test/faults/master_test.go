package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
	"groom/server/home"
)

// apart makes a world whose groom has its master in another process, and takes it to a task that runs.
func apart(t *testing.T) (w *world, master func() *agent, m, a *agent) {
	t.Helper()
	w = newWorld(t)
	data := filepath.Join(w.dir, "master")
	master = func() *agent {
		m, err := launch(data, life{verb: "master", args: []string{"--master-addr", "127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		w.lives = append(w.lives, m)
		if err := m.ready(); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m = master()
	w.args = []string{"--masters", home.ReadAddrs(data)["master"], "--master-token-file", filepath.Join(data, "token")}
	w.spec = waits(w)
	a, err := w.live()
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, m, "the task runs", func() bool {
		if _, err := w.handIn(m); err != nil {
			return false
		}
		d, err := w.task(m)
		return err == nil && d.State == api.TaskRunning && w.said("start")
	})
	return w, master, m, a
}

// A task whose masters are gone runs on. Its end waits in the outbox, through a kill of the groom, and is told once.
func TestMasterIsGone(t *testing.T) {
	t.Parallel()
	w, master, m, a := apart(t)
	m.kill9()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	waiting := func() bool {
		text, _ := a.page("/metrics")
		return strings.Contains(text, "\ngroom_outbox_reports 1\n") && strings.Contains(text, "\ngroom_master_reached 0\n")
	}
	w.must(t, a, "the report waits", waiting)
	if text := a.groom("node", "status"); !strings.Contains(text, "out of reach") {
		t.Errorf("node status: %s", text)
	}
	a.kill9()
	a, err := w.live()
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the report waits still", waiting)
	m = master()
	done := until(api.JobSucceeded)
	w.must(t, m, "the master has the end", func() bool { ok, _ := done(w, m); return ok })
	w.must(t, a, "the outbox is empty", func() bool {
		text, _ := a.page("/metrics")
		return strings.Contains(text, "\ngroom_outbox_reports 0\n")
	})
	w.check(m)
	w.tell(t)
}

// A master that has lost its data is another cluster: its orders are refused, aloud, and nothing that runs is touched.
func TestMasterIsWiped(t *testing.T) {
	t.Parallel()
	w, master, m, a := apart(t)
	m.kill9()
	if err := os.RemoveAll(filepath.Join(w.dir, "master", "master")); err != nil {
		t.Fatal(err)
	}
	before, err := w.task(a)
	if err != nil {
		t.Fatal(err)
	}
	master()
	w.must(t, a, "the groom says why", func() bool {
		self, _, _ := a.status()
		return strings.Contains(strings.Join(self.Reasons, ""), "cluster")
	})
	if d, err := w.task(a); err != nil || d.Pid != before.Pid || !alive(d.Pid) || len(d.Attempts) != 1 {
		t.Errorf("the task was %d and is %d (%v)", before.Pid, d.Pid, err)
	}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the task ends", func() bool {
		d, err := w.task(a)
		return err == nil && d.State == api.TaskSucceeded
	})
}
