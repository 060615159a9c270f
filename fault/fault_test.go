package fault

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test binary stand for a process with failpoints: it passes point "a" three times and says so.
func TestMain(m *testing.M) {
	if os.Getenv("FAULT_CHILD") != "" {
		for i := range 3 {
			Point("test.a")
			fmt.Println("passed", i+1)
		}
		Point("test.b")
		fmt.Println("done")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestPoint(t *testing.T) {
	for _, c := range []struct {
		name, armed string
		passed      int
		killed      bool
	}{
		{"not armed", "", 3, false},
		{"armed for the first pass", "test.a", 0, true},
		{"armed for the third pass", "test.a#3", 2, true},
		{"armed for a pass that never comes", "test.a#4", 3, false},
		{"another point", "test.b", 3, true},
		{"a point that does not exist", "test.c", 3, false},
		{"a pass that is no number", "test.a#x", 0, true},
		{"a pass before the first", "test.a#0", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "FAULT_CHILD=1", Env+"="+c.armed)
			out, _ := cmd.Output() // how it ended is looked at below
			if got := strings.Count(string(out), "passed"); got != c.passed {
				t.Errorf("passed %d times, want %d", got, c.passed)
			}
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if killed := status.Signaled() && status.Signal() == syscall.SIGKILL; killed != c.killed {
				t.Errorf("ended by %v", cmd.ProcessState)
			}
		})
	}
}
