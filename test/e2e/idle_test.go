package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"
)

// usage is what a process has used so far: processor time, and bytes that it made the disk write.
func usage(t *testing.T, pid int) (cpu time.Duration, written int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	for _, f := range fields[11:13] { // utime and stime, in ticks of 10 ms
		ticks, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(io)) {
		if n, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			if written, err = strconv.ParseInt(strings.TrimSpace(n), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	return cpu, written
}

// idleWindow is long enough for ten heartbeats; the figures of docs/benchmarks.md are taken over a minute.
const idleWindow = 10 * time.Second

// A groom whose tasks sleep uses next to nothing and writes nothing.
func TestIdle(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", threeSleepers))
	a.awaitTasks(id, api.TaskRunning)
	var infos []api.JournalInfo
	last := func() (sum uint64) {
		infos = nil
		a.get("/journal/info", &infos)
		for _, j := range infos {
			sum += j.Last
		}
		return sum
	}
	before := last()
	a.await("the reports are acknowledged", func() bool { // three looks in a row without a new entry
		now := last()
		same := now == before
		before = now
		return same && a.job(id).State == api.JobRunning
	})
	pid := a.cmd.Process.Pid
	index := last()
	cpu, written := usage(t, pid)
	<-time.After(idleWindow) // what is measured is the passing of time
	cpu2, written2 := usage(t, pid)
	if written2 != written || last() != index {
		t.Errorf("%d bytes written, journal went from %d to %d", written2-written, index, last())
	}
	share := float64(cpu2-cpu) / float64(idleWindow)
	t.Logf("%.2f %% of a core", 100*share)
	if share > 0.01 { // the figure is 0.5 %; other tests run beside this one
		t.Errorf("%.2f %% of a core while idle", 100*share)
	}
}
