package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"groom/api"
)

// serviceManager listens as systemd does, on a socket without a file.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	name string
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	name := fmt.Sprintf("@groom-%d-%s", os.Getpid(), t.Name())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &serviceManager{t, conn, name}
}

// until reads messages until one begins with want, and returns all of them.
func (m *serviceManager) until(want string) []string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	b := make([]byte, 4096)
	for heard := []string(nil); ; {
		n, err := m.conn.Read(b)
		if err != nil {
			m.t.Fatalf("waiting for %s: %v; heard %q", want, err, heard)
		}
		heard = append(heard, strings.TrimSuffix(string(b[:n]), "\n"))
		if strings.HasPrefix(heard[len(heard)-1], want) {
			return heard
		}
	}
}

// drain forgets what was heard so far.
func (m *serviceManager) drain() {
	m.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	b := make([]byte, 4096)
	for {
		if _, err := m.conn.Read(b); err != nil {
			return
		}
	}
}

// The service manager hears of the start, of readiness, of how it goes, and of the end, and nothing that the groom
// starts can speak in its name.
func TestServiceManagerIsTold(t *testing.T) {
	m := newServiceManager(t)
	a := &agent{t: t, data: t.TempDir(), args: agentArgs()}
	a.env = []string{"NOTIFY_SOCKET=" + m.name, "WATCHDOG_USEC=400000"}
	a.launch()
	t.Cleanup(func() {
		if a.running() {
			a.kill9()
		}
		killAttempts(t, a.data)
	})
	boot := m.until("READY=1")
	if text := strings.Join(boot, "\n"); !strings.Contains(text, "STATUS=starting: ") || strings.Contains(text, "WATCHDOG") {
		t.Errorf("while it started:\n%s", text)
	}
	m.until("WATCHDOG=1")

	id := a.submit(write(t, "job.yaml", threeSleepers))
	tasks := a.awaitTasks(id, api.TaskRunning)
	m.until("STATUS=3 tasks run; the master answers")
	var attempts []api.AttemptView
	for _, task := range tasks {
		attempts = append(attempts, a.task(task.ID).Attempts...)
	}
	for _, at := range attempts {
		for _, pid := range []int{at.Pid, at.ShimPid} {
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(env), "NOTIFY_SOCKET") || strings.Contains(string(env), "WATCHDOG") {
				t.Errorf("process %d of %s inherits %q", pid, at.ID, env)
			}
		}
	}

	// Killed, and started again: it says what it looks for before it is ready.
	a.kill9()
	m.drain()
	a.launch()
	if text := strings.Join(m.until("READY=1"), "\n"); !strings.Contains(text, "STATUS=starting: looking for 3 living tasks") ||
		!strings.Contains(text, "EXTEND_TIMEOUT_USEC=") {
		t.Errorf("the second start told:\n%s", text)
	}

	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.until("STOPPING=1")
	<-a.done
}

// The disk of the journal hangs: the watchdog starves, the manager kills the groom, and the next one finds every task
// as it was.
func TestWatchdogOfAGroomThatHangs(t *testing.T) {
	m := newServiceManager(t)
	a := &agent{t: t, data: t.TempDir(), args: agentArgs()}
	a.env = []string{"NOTIFY_SOCKET=" + m.name, "WATCHDOG_USEC=1000000"}
	a.launch()
	t.Cleanup(func() {
		if a.running() {
			a.kill9()
		}
		killAttempts(t, a.data)
	})
	id := a.submit(write(t, "job.yaml", threeSleepers))
	before := a.awaitTasks(id, api.TaskRunning)

	said := filepath.Join(t.TempDir(), "strace")
	strace := exec.Command("strace", "-f", "-o", said, "-p", fmt.Sprint(a.cmd.Process.Pid),
		"-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=600s")
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	letGo := sync.OnceFunc(func() {
		strace.Process.Kill()
		strace.Wait()
	})
	t.Cleanup(letGo) // before the groom is waited for: a process that is traced ends when its tracer has seen it
	submit := exec.Command(filepath.Join(bin, "groom"), "job", "submit", write(t, "job.yaml", threeSleepers), "--data", a.data)
	a.await("a sync hangs", func() bool {
		if submit.Process == nil && traced(a.cmd.Process.Pid) {
			if err := submit.Start(); err != nil {
				t.Fatal(err)
			}
		}
		b, _ := os.ReadFile(said)
		return strings.Contains(string(b), "fdatasync")
	})
	defer func() {
		submit.Process.Kill()
		submit.Wait()
	}()
	m.until("STATUS=no progress")
	for quiet := time.Now().Add(2 * time.Second); time.Now().Before(quiet); { // twice what the watchdog grants
		m.conn.SetReadDeadline(quiet)
		b := make([]byte, 4096)
		if n, err := m.conn.Read(b); err == nil && strings.Contains(string(b[:n]), "WATCHDOG") {
			t.Error("a groom that hangs feeds its watchdog")
		}
	}

	a.cmd.Process.Kill() // what the manager does then
	letGo()
	<-a.done
	a.launch()
	for i, task := range a.awaitTasks(id, api.TaskRunning) {
		if task.Pid != before[i].Pid || task.Attempt != 1 {
			t.Errorf("task %d: pid %d attempt %d, was pid %d", i, task.Pid, task.Attempt, before[i].Pid)
		}
	}
}

// traced says whether a tracer holds every thread of the process.
func traced(pid int) bool {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range paths {
		b, _ := os.ReadFile(path)
		if strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return len(paths) > 0
}
