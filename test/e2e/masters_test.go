package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
)

// What happened while no master answered is told when one does: in order, over a crash of the groom, each thing once.
func TestOutboxOverCrashes(t *testing.T) {
	m := start(t, t.TempDir(), "master", "--master-addr", "127.0.0.1:0", "--web-addr", "127.0.0.1:0")
	g := start(t, t.TempDir(), agentArgs("--masters", kept(t, m.data)["master"], "--master-token-file", filepath.Join(m.data, "token"))...)
	gate := filepath.Join(t.TempDir(), "gate")
	id := m.submit(write(t, "job.yaml", fmt.Sprintf(
		"name: waits\ntype: plain\ntasks: 3\ncommand: [sh, -c, 'while [ ! -e %s ]; do sleep 0.02; done; exit $((GROOM_INDEX == 1 && ${GROOM_ATTEMPT##*_} < 3))']\n"+
			"restart: {backoff: 10ms}\n", gate)))
	g.awaitTasks(id, api.TaskRunning)
	m.kill9()
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	g.awaitTasks(id, api.TaskSucceeded) // task 1 at its third attempt
	g.kill9()
	g.launch()
	m.launch()
	m.await("the job's end at the master", func() bool { return m.job(id).State == api.JobSucceeded })
	m.await("an empty outbox", func() bool { return strings.Contains(g.metrics(), "groom_outbox_reports 0") })

	words := m.groom("journal", "ls", "--of", "master", "--limit", "1000")
	for i := range 3 {
		if n := strings.Count(words, fmt.Sprintf("%s is succeeded", id.Task(i))); n != 1 {
			t.Errorf("the master learned %d times that task %d succeeded\n%s", n, i, words)
		}
	}
	again, pause, end := fmt.Sprintf("%s is launching", id.Task(1)), fmt.Sprintf("%s is backoff", id.Task(1)), fmt.Sprintf("%s is succeeded", id.Task(1))
	if a, b, c := strings.Index(words, again), strings.Index(words, pause), strings.Index(words, end); a < 0 || b < a || c < b {
		t.Errorf("the failures came out of order, or not at all\n%s", words)
	}
	if got := m.job(id).TaskViews[1]; got.Failures != 2 || got.Attempt != 3 {
		t.Errorf("the master says %d failures, attempt %d", got.Failures, got.Attempt)
	}
}
