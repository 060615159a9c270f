package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/doctor"
)

// examine runs the doctor on a data directory as anybody would, and says how it ended.
func examine(t *testing.T, data string, args ...string) (doctor.Report, int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "groom"), append([]string{"doctor", "--json", "--data", data}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	var r doctor.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r, cmd.ProcessState.ExitCode()
}

// The doctor sees the same beside a groom that runs and after it was killed, touches nothing, and foretells what the
// next start finds.
func TestDoctorForetellsAStart(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", threeSleepers))
	before := a.awaitTasks(id, api.TaskRunning)
	r, code := examine(t, a.data, "--rehearse")
	if code != 0 || r.Rehearsal == nil || len(r.Rehearsal.Attempts) != 3 {
		t.Fatalf("beside the groom: exit %d, %+v", code, r)
	}
	for _, f := range r.Rehearsal.Attempts {
		if f.Finding != api.FoundAlive {
			t.Errorf("beside the groom: %+v", f)
		}
	}

	a.kill9()
	victim := before[1]
	if err := syscall.Kill(victim.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var foretold map[api.AttemptID]api.Finding
	a.await("the end of the victim is seen", func() bool {
		foretold = map[api.AttemptID]api.Finding{}
		r, code = examine(t, a.data, "--rehearse")
		for _, f := range r.Rehearsal.Attempts {
			foretold[f.Attempt] = f.Finding
		}
		return foretold[victim.ID.Attempt(1)] == api.FoundEnded
	})
	if code != 0 {
		t.Errorf("exit %d, %+v", code, r.Checks)
	}
	for _, task := range before {
		if task.ID != victim.ID && !alive(task.Pid) {
			t.Errorf("the doctor ended task %d", task.Index)
		}
	}
	a.launch()
	var reports []api.RecoveryReport
	a.get("/recoveries", &reports)
	found := map[api.AttemptID]api.Finding{}
	for _, row := range reports[0].Found {
		found[row.Attempt] = row.Finding
	}
	if diff := cmp.Diff(found, foretold); diff != "" {
		t.Errorf("found, and foretold: %s", diff)
	}
}

// Fields that scripts rely on.
func TestDoctorsShape(t *testing.T) {
	out := offline(t, filepath.Join(t.TempDir(), "none"), "doctor", "--json")
	var shape map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &shape); err != nil {
		t.Fatal(err)
	}
	var checks []map[string]json.RawMessage
	if err := json.Unmarshal(shape["checks"], &checks); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"level", "build", "data", "checks"} {
		if shape[key] == nil {
			t.Errorf("no %s in %s", key, out)
		}
	}
	for _, c := range checks {
		for _, key := range []string{"check", "level", "words"} {
			if c[key] == nil {
				t.Errorf("no %s in %s", key, c)
			}
		}
	}
}

func TestDoctorThatFindsTheHostUnfit(t *testing.T) {
	file := write(t, "file", "no directory")
	cmd := exec.Command(filepath.Join(bin, "groom"), "doctor", "--data", t.TempDir(), "--local-dir", "/proc/groom")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 5 || !strings.Contains(string(out), "groom: error: 1 of ") {
		t.Errorf("on a file system that takes no file: %v\n%s", err, out)
	}
	// What the configuration file of the agent says counts for the doctor as well.
	config := write(t, "groom.yaml", "local-dir: /proc/groom\nweb-addr: 127.0.0.1:0\n")
	cmd = exec.Command(filepath.Join(bin, "groom"), "doctor", "--data", t.TempDir(), "--config", config)
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("by the configuration: exit %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
	cmd = exec.Command(filepath.Join(bin, "groom"), "doctor", "--data", file)
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("with a file for a data directory: exit %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
}

// Ctrl-C ends the doctor, and nothing of its copies stays.
func TestDoctorInterrupted(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	tmp := t.TempDir()
	cmd := exec.Command(filepath.Join(bin, "groom"), "doctor", "--rehearse", "--data", a.data)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.await("the doctor has a copy", func() bool {
		found, _ := filepath.Glob(filepath.Join(tmp, "groom-doctor-*"))
		return len(found) > 0
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	done := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer done.Stop()
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
