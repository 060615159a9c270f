package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"
)

// idleShim is the shim of a shipped binary, with a task that sleeps.
func idleShim(t *testing.T) int {
	t.Helper()
	spec := shell(t, "")
	spec.Argv = []string{"sleep", "300"}
	cleanUpAfter(t, spec)
	var e Event
	once(t, "", "start", spec, &e)
	if e.Kind != Started || e.ShimPid == 0 {
		t.Fatalf("%+v", e)
	}
	return e.ShimPid
}

func TestIdleShimHoldsLessThanOneMiB(t *testing.T) {
	pid := idleShim(t)
	kib := map[string]int{}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			kib[strings.TrimSuffix(f[0], ":")], _ = strconv.Atoi(f[1])
		}
	}
	// A binary that was built a moment ago is not written back yet: the pages of its file count as dirty as well. They
	// are no memory of the shim's own.
	private := min(kib["Private_Dirty"], kib["Anonymous"])
	t.Logf("of its own %d KiB, proportional %d KiB, resident %d KiB", private, kib["Pss"], kib["Rss"])
	if private == 0 || private >= 1024 {
		t.Errorf("an idle shim holds %d KiB", private)
	}
}

// switches is how often any thread of a process was put to sleep or put aside, and how many threads there are.
func switches(t *testing.T, pid int) (n, threads int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if key, value, _ := strings.Cut(line, ":"); strings.HasSuffix(key, "ctxt_switches") {
				count, _ := strconv.Atoi(strings.TrimSpace(value))
				n += count
			}
		}
	}
	return n, len(tasks)
}

// A shim that woke up even once a second would never show a quiet window.
func TestIdleShimDoesNotWakeUp(t *testing.T) {
	const window = 1500 * time.Millisecond
	pid := idleShim(t)
	last, _ := switches(t, pid)
	since := time.Now()
	until(t, "a window without a wake-up", func() bool {
		n, threads := switches(t, pid)
		if threads == 0 {
			t.Fatal("the shim has gone")
		}
		if n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > window
	})
}

// BenchmarkLaunch is from the call of Start until the groom has heard that the task runs, and until it has heard of
// its end.
func BenchmarkLaunch(b *testing.B) {
	for name, own := range map[string]Own{"bare": {}, "group": {}, "stage": {Umask: ptr(uint32(0o022))}} {
		b.Run(name, func(b *testing.B) {
			s := newSupervisor(b)
			if name != "bare" {
				s = grouped(b)
			}
			benchmarkLaunch(b, s, own)
		})
	}
}

func benchmarkLaunch(b *testing.B, s *Supervisor, own Own) {
	root := b.TempDir()
	var launch, whole []time.Duration
	for i := range b.N {
		id := api.TaskID(fmt.Sprintf("task_202611240915_0001_%06d", i)).Attempt(1)
		spec := Spec{
			ID: id, Dir: filepath.Join(root, string(id)), Token: "launch-" + root + string(id),
			Argv: []string{"/bin/true"}, Env: []string{"PATH=/usr/bin:/bin"}, Own: own,
		}
		began := time.Now()
		if err := s.Start(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		if e := next(b, s); e.Kind != Started {
			b.Fatalf("%+v", e)
		}
		launch = append(launch, time.Since(began))
		if e := next(b, s); e.Kind != Ended || e.Exit.Outcome.Kind != api.Exited {
			b.Fatalf("%+v", e)
		}
		whole = append(whole, time.Since(began))
	}
	slices.Sort(launch)
	slices.Sort(whole)
	for name, sorted := range map[string][]time.Duration{"launch": launch, "whole": whole} {
		b.ReportMetric(float64(sorted[len(sorted)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(sorted[len(sorted)*95/100].Microseconds())/1000, name+"-p95-ms")
	}
}
