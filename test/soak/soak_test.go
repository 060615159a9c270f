// Package soak runs many short attempts through one groom, and sees that nothing of them stays behind.
package soak

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"groom/api"
)

// attempts is how many a run makes: few in `make test`, 10,000 in `make soak`.
var attempts = flag.Int("attempts", 600, "attempts to run")

// bin is where TestMain builds the groom.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "groom-soak")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = filepath.Join(dir, "groom")
	build := exec.Command("go", "build", "-o", bin, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
	build.Stderr = os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

const (
	sleepers  = 3   // run from before the first sample until after the last
	atOnce    = 100 // places of the groom beside theirs: a job starts when it has room for all of its tasks
	perJob    = 100 // tasks of a short job
	perJobRun = 120 // its attempts: every fifth task fails once, by its code or by a signal
)

const resident = `
name: resident
type: plain
tasks: 3
command: [sleep, "86400"]
`

// short is a job that is forgotten soon after its end. It writes to both logs.
const short = `
name: short
type: plain
tasks: 100
command: [sh, -c, 'echo out; echo err >&2; case $GROOM_ATTEMPT in *0_1) exit 7;; *5_1) kill -9 $$;; esac']
restart: {backoff: 1ms}
retention: {keep: 2s, keep_failed: 2s}
`

// Growth that is allowed between a sample after a fifth of the attempts and one after the last, when everything that
// is bounded by a window or filled lazily has been there once.
const (
	moreDescriptors = 4
	moreGoroutines  = 12
	moreMemory      = 12 << 20
)

// The Go runtime makes a thread for each system call that blocks at one time and keeps it for ever, so their number is
// that of the worst moment, which a slow disk makes worse: it has a bound and no slope. One more for every 20 attempts
// would break this bound in the short form too.
const mostThreads = 36

// Ten thousand attempts leave behind what one does: nothing.
func TestNothingStaysBehind(t *testing.T) {
	a := start(t, sleepers+atOnce)
	a.awaitState(a.submit(resident), api.JobRunning)
	jobs := max((*attempts+perJobRun-1)/perJobRun, 2)
	warm := max(jobs/5, 1)
	var before sample
	began := time.Now()
	for i := range jobs {
		a.awaitState(a.submit(short), api.JobSucceeded)
		if i+1 == warm {
			before = a.sample()
			t.Logf("after %5d attempts: %v", (i+1)*perJobRun, before)
		}
	}
	took := time.Since(began)
	after := a.sample()
	t.Logf("after %5d attempts: %v; %.0f attempts/s", jobs*perJobRun, after, float64(jobs*perJobRun)/took.Seconds())
	for _, c := range []struct {
		what                string
		before, after, more int64
	}{
		{"descriptors", before.descriptors, after.descriptors, moreDescriptors},
		{"threads", mostThreads, after.threads, 0},
		{"goroutines", before.goroutines, after.goroutines, moreGoroutines},
		{"bytes of anonymous memory", before.anonymous, after.anonymous, moreMemory},
		{"zombies", 0, after.zombies, 0},
		{"children", sleepers, after.children, 0},
		{"attempt directories", sleepers, after.dirs, 0},
		{"rows of living things", before.rows, after.rows, 0},
	} {
		if c.after > c.before+c.more {
			t.Errorf("%s: %d before, %d after; at most %d more are allowed", c.what, c.before, c.after, c.more)
		}
	}
}
