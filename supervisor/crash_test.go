package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"groom/api"
)

// history is what the agent's journal and the tasks' own traces tell.
type history struct {
	ran    map[string]int      // executions, by "task.attempt"
	done   map[int][]string    // "attempt code"
	ends   map[string][]string // what other ends there were, by "task.attempt"
	adopts int
}

func readHistory(t *testing.T, root string) history {
	t.Helper()
	h := history{ran: map[string]int{}, done: map[int][]string{}, ends: map[string][]string{}}
	ran, err := os.ReadFile(filepath.Join(root, "ran"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range strings.Fields(string(ran)) {
		h.ran[id]++
	}
	journal, err := os.ReadFile(filepath.Join(root, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(journal)) {
		var kind, rest string
		var task, attempt int
		_, _ = fmt.Sscan(line, &kind, &task, &attempt, &rest)
		switch kind {
		case "done":
			h.done[task] = append(h.done[task], fmt.Sprint(attempt, " ", rest))
		case "end":
			id := fmt.Sprintf("%d.%d", task, attempt)
			h.ends[id] = append(h.ends[id], line)
		case "adopt":
			h.adopts++
		}
	}
	return h
}

// check holds a finished history against the promise: no attempt ran twice, no task ran in two attempts, every task
// has one end with its own code and its whole output.
func (h history) check(t *testing.T, root string, n int) {
	t.Helper()
	for id, times := range h.ran {
		if times > 1 {
			t.Errorf("attempt %s ran %d times", id, times)
		}
	}
	for id, ends := range h.ends {
		if h.ran[id] > 0 {
			t.Errorf("attempt %s ran, and its end is not known: %v", id, ends)
		}
	}
	for task := range n {
		var attempt, code int
		if len(h.done[task]) != 1 {
			t.Errorf("task %d has ends %v", task, h.done[task])
			continue
		}
		_, _ = fmt.Sscan(h.done[task][0], &attempt, &code)
		if code != task%100 || h.ran[fmt.Sprintf("%d.%d", task, attempt)] != 1 {
			t.Errorf("task %d: attempt %d ended with %d", task, attempt, code)
		}
		id := api.TaskID(fmt.Sprintf("task_202611240915_0001_%06d", task)).Attempt(attempt)
		log, _ := os.ReadFile(filepath.Join(root, string(id), "log", "stdout.00000000000000000000"))
		if lines := strings.Split(string(log), "\n"); len(lines) != 201 || lines[199] != "line 199" {
			t.Errorf("task %d: output of %d lines", task, len(lines))
		}
	}
}

func TestExactlyOnceUnderRandomKills(t *testing.T) {
	root, bin := t.TempDir(), binary(t, "agent")
	const n = 400
	groom := groomID(t)
	kills := 0
	for deadline := time.Now().Add(2 * time.Minute); ; {
		// Lives grow, or an agent on a busy host would never get beyond its start.
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2+rand.IntN(40+kills/5))*time.Millisecond)
		cmd := exec.CommandContext(ctx, bin, root, fmt.Sprint(n), groom) // killed by SIGKILL when its time is up
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		cancel()
		if err == nil && strings.Contains(out.String(), "ALLDONE") {
			break
		}
		if errs.Len() > 0 || time.Now().After(deadline) {
			t.Fatalf("after %d kills: %v: %s", kills, err, &errs)
		}
		kills++
	}
	h := readHistory(t, root)
	h.check(t, root, n)
	t.Logf("%d tasks, %d kills of the agent, %d adoptions, %d attempts not started", n, kills, h.adopts, len(h.ends))
	if kills < 20 || h.adopts < 20 {
		t.Errorf("only %d kills and %d adoptions: the test proves little", kills, h.adopts)
	}
}
