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
	"sync"
	"testing"
	"time"

	"groom/api"
	"groom/fault"
)

// agentBinary is testdata/agent as it is shipped: static, and without the race detector, so that its start is quick
// and its memory is real.
var agentBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "groom-agent-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./testdata/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build agent: %w: %s", err, out)
	}
	return bin, nil
})

func agent(t testing.TB) string {
	t.Helper()
	bin, err := agentBinary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

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
	root, bin := t.TempDir(), agent(t)
	const n = 400
	kills := 0
	for deadline := time.Now().Add(2 * time.Minute); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2+rand.IntN(40))*time.Millisecond)
		cmd := exec.CommandContext(ctx, bin, root, fmt.Sprint(n)) // killed by SIGKILL when its time is up
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

// failpoints is every point of the groom's side, with how often it must be passed before it kills.
var failpoints = []string{
	"supervisor.before-mkdir", "supervisor.before-spec", "supervisor.before-lock", "supervisor.before-fork",
	"supervisor.after-fork", "supervisor.before-started", "supervisor.before-ended",
}

func TestEachFailpointOnce(t *testing.T) {
	bin := agent(t)
	for _, point := range failpoints {
		for _, pass := range []int{1, 5} {
			t.Run(fmt.Sprintf("%s#%d", point, pass), func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				cmd := exec.CommandContext(t.Context(), bin, root, "12")
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s#%d", fault.Env, point, pass))
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("was not killed: %v: %s", err, out)
				}
				finish(t, bin, root, 12)
			})
		}
	}
}

// finish runs the agent to its end without faults, and checks the history.
func finish(t *testing.T, bin, root string, n int) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), bin, root, fmt.Sprint(n)).CombinedOutput(); err != nil {
		t.Fatalf("next start: %v: %s", err, out)
	}
	readHistory(t, root).check(t, root, n)
}

// Adoption itself is killed as well, at each of its points, and done again.
func TestEachFailpointOfAdoption(t *testing.T) {
	bin := agent(t)
	for _, point := range []string{"supervisor.before-look", "supervisor.before-second-look"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for _, armed := range []string{"supervisor.after-fork#8", point, point + "#3"} {
				cmd := exec.CommandContext(t.Context(), bin, root, "12")
				cmd.Env = append(os.Environ(), fault.Env+"="+armed)
				_, _ = cmd.CombinedOutput() // by the third start there may be nothing left to adopt
			}
			finish(t, bin, root, 12)
		})
	}
}
