package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"groom/api"

	"golang.org/x/sys/unix"
)

// disk is a small file system of its own.
type disk struct{ dir string }

// mount makes a tmpfs at dir. It goes with the namespace of the tests.
func mount(t *testing.T, dir, options string) disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return disk{dir}
}

// loop makes an ext4 of so many MiB at dir, where this host lets us; ok is false where it does not.
func loop(t *testing.T, dir string, size int) (d disk, ok bool) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "ext4")
	for _, line := range [][]string{
		{"truncate", "-s", fmt.Sprintf("%dM", size), image},
		{"mkfs.ext4", "-q", "-m", "0", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Logf("no ext4 here: %v: %v: %s", line, err, out)
			return d, false
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	return disk{dir}, true
}

func (d disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes all the room that there is.
func (d disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		_, err := f.Write(block)
		if errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func (d disk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		t.Fatal(err)
	}
}

// page is what stands at a path, as a browser or a scraper has it.
func (a *agent) page(path string) (string, int) {
	resp, err := a.client().HTTP.Get(a.client().Base + path)
	if err != nil {
		return err.Error(), 0
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b), resp.StatusCode
}

// status is how the groom describes itself, and how its master does.
func (a *agent) status() (self, known api.GroomStatus, state string) {
	var o api.Overview
	if a.get("/", &o) == nil && o.Groom != nil {
		self = *o.Groom
		for _, n := range o.Nodes {
			known, state = n.Status, n.State
		}
	}
	return self, known, state
}

// With no room for the groom's journal, page, metric, heartbeat and listing say so; nothing is started; what has
// happened is still recorded, in the reserve; and all is well again by itself once there is room.
func TestJournalsDiskFull(t *testing.T) {
	// The master keeps its own journal elsewhere, so that it can tell of the groom.
	t.Run("tmpfs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		journalsDiskFull(t, w, mount(t, filepath.Join(w.data, "groom"), "size=40m"))
	})
	t.Run("ext4", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		if d, ok := loop(t, filepath.Join(w.data, "groom"), 48); ok {
			journalsDiskFull(t, w, d)
		}
	})
}

func journalsDiskFull(t *testing.T, w *world, small disk) {
	w.spec = waits(w)
	a, d := running(t, w, life{})
	small.fill(t)
	// What happens first finds no room, and is the first that the reserve is for.
	later := w.script(`say start; say end 0`)
	later.Name = "later"
	id, err := a.submit("another", later)
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the groom says nospace, and its master knows", func() bool {
		self, known, state := a.status()
		return self.Health == api.HealthNoSpace && known.Health == api.HealthNoSpace && state == "unhealthy"
	})
	if text, code := a.page("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, text)
	}
	if text, _ := a.page("/metrics"); !strings.Contains(text, `groom_journal_health{health="nospace",of="groom"} 1`) {
		t.Error("/metrics does not say nospace")
	}
	if text, _ := a.page("/"); !strings.Contains(text, "no space for the journal") {
		t.Error("the page does not say that there is no space")
	}
	if text := a.groom("node", "list"); !strings.Contains(text, "unhealthy") {
		t.Errorf("node list: %s", text)
	}
	if text := a.groom("node", "status"); !strings.Contains(text, "nospace (no space for the journal") {
		t.Errorf("node status: %s", text)
	}
	// The end of the task that runs lands in the reserve. The other one, in the tables already, is not started.
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the end of the running task is recorded", func() bool {
		d, err := w.task(a)
		return err == nil && d.State == api.TaskSucceeded
	})
	if alive(d.Pid) {
		t.Error("the task has not ended")
	}
	var j api.JobDetail
	if err := a.get("/jobs/"+string(id), &j); err != nil || j.State.Terminal() || j.TaskViews[0].Attempt > 0 && j.TaskViews[0].Pid > 0 {
		t.Errorf("with no space the other job is %+v (%v)", j.TaskViews, err)
	}
	small.free(t)
	w.must(t, a, "the other job succeeds, in the same life", func() bool {
		return a.get("/jobs/"+string(id), &j) == nil && j.State == api.JobSucceeded
	})
	w.must(t, a, "all is well", func() bool {
		self, _, state := a.status()
		return self.Health == api.HealthOK && state == "ready"
	})
	if info, err := os.Stat(filepath.Join(small.dir, "reserve")); err != nil || info.Size() < 16<<20 {
		t.Errorf("the reserve is %v (%v)", info, err)
	}
	w.tell(t)
}

// A groom that is killed while its journal's disk is full starts all the same, and tells.
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	small := mount(t, filepath.Join(w.data, "groom"), "size=40m")
	w.spec = waits(w)
	a, before := running(t, w, life{})
	small.fill(t)
	later := w.script(`say start; say end 0`)
	later.Name = "later"
	id, err := a.submit("another", later)
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the groom says nospace", func() bool {
		self, _, _ := a.status()
		return self.Health == api.HealthNoSpace
	})
	a.kill9()
	small.fill(t) // what the reserve had left is gone, too
	if a, err = w.live(); err != nil {
		t.Fatal(err)
	}
	if err := a.ready(); err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the groom says nospace", func() bool {
		self, _, _ := a.status()
		return self.Health == api.HealthNoSpace
	})
	if d, err := w.task(a); err != nil || d.Pid != before.Pid || !alive(d.Pid) {
		t.Errorf("the task was %d and is %d (%v)", before.Pid, d.Pid, err)
	}
	// The next start has nothing of the reserve left. It waits, and says so.
	a.kill9()
	small.fill(t)
	if a, err = w.live(); err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "the start says that it waits", func() bool {
		said, _ := os.ReadFile(a.log)
		text, code := a.page("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "phase") && bytes.Contains(said, []byte("no space for the journal"))
	})
	small.free(t)
	if err := a.ready(); err != nil {
		t.Fatal(err)
	}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "both jobs succeed", func() bool {
		var j api.JobDetail
		done, _ := until(api.JobSucceeded)(w, a)
		return done && a.get("/jobs/"+string(id), &j) == nil && j.State == api.JobSucceeded
	})
	w.must(t, a, "all is well", func() bool {
		self, _, _ := a.status()
		return self.Health == api.HealthOK
	})
	w.tell(t)
}

// A local directory that is full takes nothing new. Tasks in it run on, their output is dropped and counted, and their
// ends are recorded as they were, once there is room for the records.
func TestLocalDirectoryFull(t *testing.T) {
	for _, c := range []struct{ name, options string }{
		{"of bytes", "size=100m"},
		{"of bytes on ext4", ""},
		{"of inodes", "size=100m,nr_inodes=1100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			small, ok := disk{}, true
			if c.options == "" {
				small, ok = loop(t, filepath.Join(w.dir, "local"), 120)
			} else {
				small = mount(t, filepath.Join(w.dir, "local"), c.options)
			}
			if !ok {
				return
			}
			w.args = []string{"--local-dir", small.dir}
			w.spec = w.script(`say start; until [ -e "$GATE" ]; do sleep 0.01; done
				i=0; while [ $i -lt 100 ]; do printf '%04000d\n' $i; i=$((i+1)); done; say end 0`)
			a, d := running(t, w, life{})
			full := c.name != "of inodes"
			if full {
				small.fill(t)
			} else {
				small.inodes(t)
			}
			later := w.script(`say start; say end 0`)
			later.Name = "later"
			id, err := a.submit("another", later)
			if err != nil {
				t.Fatal(err)
			}
			var j api.JobDetail
			w.must(t, a, "the other job waits", func() bool {
				return a.get("/jobs/"+string(id), &j) == nil && len(j.TaskViews) > 0
			})
			w.must(t, a, "the groom says that it has no directory", func() bool {
				self, _, state := a.status()
				return self.Health == api.HealthDegraded && state == "unhealthy" && strings.Contains(strings.Join(self.Reasons, ""), "too little room")
			})
			if text, _ := a.page("/metrics"); !strings.Contains(text, fmt.Sprintf(`groom_local_dir_ok{path=%q} 0`, small.dir)) {
				t.Error("/metrics does not say that the directory is out")
			}
			if text := a.groom("node", "status"); !strings.Contains(text, "too little room") {
				t.Errorf("node status: %s", text)
			}
			if err := w.open(); err != nil {
				t.Fatal(err)
			}
			w.must(t, a, "the task ends", func() bool { return !alive(d.Pid) })
			if full {
				small.free(t)
			} else {
				small.release(t)
			}
			w.must(t, a, "both jobs succeed, in the same life", func() bool {
				done, _ := until(api.JobSucceeded)(w, a)
				return done && a.get("/jobs/"+string(id), &j) == nil && j.State == api.JobSucceeded
			})
			// Its directory may have gone already, to make room.
			if d, err = w.task(a); err != nil || full && !strings.Contains(d.Attempts[0].Words, "bytes of its output could not be written") {
				t.Errorf("%+v (%v)", d.Attempts, err)
			}
			w.must(t, a, "all is well", func() bool {
				self, _, state := a.status()
				return self.Health == api.HealthOK && state == "ready"
			})
			w.tell(t)
		})
	}
}

// inodes takes every inode that there is.
func (d disk) inodes(t *testing.T) {
	t.Helper()
	for i := 0; ; i++ {
		err := os.WriteFile(fmt.Sprintf("%s-%d", d.ballast(), i), nil, 0o600)
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (d disk) release(t *testing.T) {
	t.Helper()
	files, _ := filepath.Glob(d.ballast() + "-*")
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

// A local directory that turns read-only drops out; the tasks of another go on there, and it takes tasks again when it
// can be written to.
func TestLocalDirectoryTurnsReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// The larger one is taken first.
	large := mount(t, filepath.Join(w.dir, "large"), "size=300m")
	small := mount(t, filepath.Join(w.dir, "small"), "size=200m")
	w.args = []string{"--local-dir", large.dir, "--local-dir", small.dir}
	w.spec = waits(w)
	a, d := running(t, w, life{})
	if !strings.HasPrefix(d.Attempts[0].Dir, large.dir) {
		t.Fatalf("the task works in %s", d.Attempts[0].Dir)
	}
	large.cover(t)
	later := waits(w)
	later.Name = "later"
	id, err := a.submit("another", later)
	if err != nil {
		t.Fatal(err)
	}
	var other api.TaskDetail
	w.must(t, a, "the other job runs elsewhere", func() bool {
		return a.get("/tasks/"+string(id.Task(0)), &other) == nil && other.State == api.TaskRunning
	})
	if dir := other.Attempts[len(other.Attempts)-1].Dir; !strings.HasPrefix(dir, small.dir) {
		t.Errorf("the other job works in %s", dir)
	}
	w.must(t, a, "the groom tells", func() bool {
		self, _, state := a.status()
		return self.Health == api.HealthDegraded && state == "ready" && strings.Contains(strings.Join(self.Reasons, ""), "read-only")
	})
	if !alive(d.Pid) {
		t.Error("the first task has ended")
	}
	large.uncover(t)
	w.must(t, a, "all is well", func() bool {
		self, _, _ := a.status()
		return self.Health == api.HealthOK
	})
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.must(t, a, "both jobs succeed", func() bool {
		var j api.JobDetail
		done, _ := until(api.JobSucceeded)(w, a)
		return done && a.get("/jobs/"+string(id), &j) == nil && j.State == api.JobSucceeded
	})
	w.tell(t)
}

// cover lays the same file system over itself, read-only. A file system with files that are open for writing, as those
// of a shim are, cannot be made read-only otherwise but by an error of its disk.
func (d disk) cover(t *testing.T) {
	t.Helper()
	if err := unix.Mount(d.dir, d.dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("bind: %v", err)
	}
	if err := unix.Mount("none", d.dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("make read-only: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) })
}

func (d disk) uncover(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
}
