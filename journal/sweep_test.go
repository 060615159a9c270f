package journal

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

var sweepAll = flag.Bool("sweep.all", false, "kill at every point of the sweep, and not at a sample of them")

// swept are the system calls that leave something, and up to which of them, counted by thread, the sweep goes.
var swept = []struct {
	calls string
	upTo  int
}{
	{"fdatasync", 70},
	{"pwrite64", 70},
	{"write", 50},
	{"openat", 40},
	{"fsync", 40},
	{"rename,renameat,renameat2", 25},
	{"unlink,unlinkat", 25},
	{"mkdir,mkdirat", 6},
	{"ftruncate,fallocate", 6},
	{"flock,fcntl", 20},
}

// injected runs the child under strace, which does something at the n-th of these calls of each thread. It returns what
// was acknowledged, what the child said when it ended, and its exit status, -1 for a signal. The child is killed after
// so many acknowledgements if nothing happened.
func injected(t *testing.T, dir, calls, inject string, acks int) (acked int, said string, status int, reached bool) {
	t.Helper()
	args := []string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + inject}
	cmd := exec.Command("strace", append(args, os.Args[0])...)
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_CHILD="+dir, archivingEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = io.Discard // the child's own log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, seen := bufio.NewScanner(out), 0
	for lines.Scan() {
		var n int
		switch line := lines.Text(); {
		case scan(line, "have %d", &n):
			acked = n
		case scan(line, "ack %d", &n):
			acked = n + 1
			if seen++; seen == acks {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // strace and the child: the group is theirs alone
			}
		default:
			said = line
		}
	}
	_ = cmd.Wait()
	return acked, said, cmd.ProcessState.ExitCode(), seen < acks
}

// points are those of the sweep, or a sample of them.
func points() (all []struct {
	calls string
	n     int
},
) {
	step := 11
	if *sweepAll {
		step = 1
	}
	at := 0
	for _, s := range swept {
		for n := 1; n <= s.upTo; n++ {
			if at++; at%step == 0 {
				all = append(all, struct {
					calls string
					n     int
				}{s.calls, n})
			}
		}
	}
	return all
}

// Killed before the n-th of any system call that leaves something, twice in a row: what was acknowledged is there, what
// is there was proposed, and the journal is proven, each time.
func TestSweepOfKills(t *testing.T) {
	var reached atomic.Int64
	all := points()
	t.Cleanup(func() {
		// Some threads never make so many of a call. Most of the sweep has to kill something all the same.
		if t.Logf("%d kills at %d points, twice each", reached.Load(), len(all)); reached.Load() < int64(len(all)) {
			t.Error("less than half of the points were reached")
		}
	})
	for _, p := range all {
		t.Run(fmt.Sprintf("%s %d", strings.Split(p.calls, ",")[0], p.n), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "journal")
			acked := 0
			for range 2 {
				n, said, _, hit := injected(t, dir, p.calls, fmt.Sprintf("signal=KILL:when=%d", p.n), 400)
				if hit {
					reached.Add(1)
				}
				if said != "" {
					t.Errorf("the child says %q", said)
				}
				acked = max(acked, n)
				survived(t, dir, acked)
			}
			survived(t, dir, life(t, dir, "", 50, archivingEnv))
		})
	}
}

// The n-th write or sync fails. Whatever comes of it, nothing that was acknowledged is lost, and the next process goes
// on: the process ends with status 70 when it cannot know what the disk holds, with 1 when it had not begun yet, and
// goes on where the failure left nothing in doubt.
func TestSweepOfErrors(t *testing.T) {
	for _, kind := range []string{"EIO", "ENOSPC"} {
		for _, p := range points() {
			if !slices.Contains([]string{"fdatasync", "fsync", "pwrite64"}, p.calls) {
				continue // write is the runtime's own as well, which gives up
			}
			t.Run(fmt.Sprintf("%s of %s %d", kind, strings.Split(p.calls, ",")[0], p.n), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "journal")
				acked, said, status, _ := injected(t, dir, p.calls, fmt.Sprintf("error=%s:when=%d", kind, p.n), 400)
				switch {
				case status == -1, status == 70, status == 1 && strings.HasPrefix(said, "error"):
				default:
					t.Errorf("exit status %d; it says %q", status, said)
				}
				if kind == "EIO" && p.calls == "fdatasync" && status == 1 && acked > 0 {
					t.Errorf("the journal had been opened, and a sync that failed ended it with %q", said)
				}
				survived(t, dir, acked)
				survived(t, dir, max(acked, life(t, dir, "", 50, archivingEnv)))
			})
		}
	}
}
