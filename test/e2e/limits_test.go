package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
)

// open lets other users pass through the directories above one that the test made.
func open(t *testing.T, dir string) string {
	t.Helper()
	for above := dir; above != os.TempDir() && above != "/"; above = filepath.Dir(above) {
		if err := os.Chmod(above, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A task runs as who its job says, within the limits that its job says, and can still report; it cannot read what is
// the groom's.
func TestIdentityAndLimits(t *testing.T) {
	a := start(t, open(t, t.TempDir()), agentArgs()...)
	id := a.submit(write(t, "job.yaml", `
name: nobody
type: plain
tasks: 1
command:
  - sh
  - -c
  - |
    id -un; umask; ulimit -n; ulimit -Hn; pwd; cat /proc/self/oom_score_adj; echo "$USER $HOME"
    touch here && stat -c '%U %a' here
    cat ../ctl/spec 2>&1; ls ../log 2>&1
    curl -s --unix-socket "$GROOM_SOCK" -H "Authorization: Bearer $GROOM_TOKEN" http://groom/v1/task
user: nobody
umask: "0027"
oom_score: 123
rlimits: {nofile: "100:200"}
`))
	a.awaitTasks(id, api.TaskSucceeded)
	out := a.groom("job", "logs", string(id))
	for _, want := range []string{"nobody\n0027\n100\n200\n/", "/work\n123\nnobody ", "nobody 640\n", "cat: ../ctl/spec: Permission denied", "Permission denied\n{", `"task":"` + string(id.Task(0))} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	stranger := a.submit(write(t, "stranger.yaml", "name: stranger\ntype: plain\ntasks: 1\ncommand: [id]\nuser: no-such-user\nrestart: {limit: 1}\n"))
	a.awaitTasks(stranger, api.TaskFailed)
	at := a.task(stranger.Task(0)).Attempts[0]
	if at.Outcome == nil || at.Outcome.Kind != api.ExecFailed || !strings.Contains(at.Words, "no user no-such-user") || !at.Counted {
		t.Errorf("%+v", at)
	}
}

// A task that takes more memory than it may is killed by the kernel, and that is told as what it is.
func TestOutOfMemory(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", `
name: greedy
type: plain
tasks: 1
command: [sh, -c, 'x=x; while :; do x=$x$x; done']
resources: {memory: 33554432}
restart: {limit: 1}
`))
	a.awaitTasks(id, api.TaskFailed)
	at := a.task(id.Task(0)).Attempts[0]
	if at.Outcome == nil || at.Outcome.Kind != api.OOM || !at.Counted {
		t.Errorf("%+v; not enforced: %v", at.Outcome, at.Unenforced)
	}
}

// A peer that hangs leaves its stacks in its log before it is killed.
func TestStacksOfWhatHangs(t *testing.T) {
	a := start(t, t.TempDir(), agentArgs()...)
	id := a.submit(write(t, "job.yaml", fmt.Sprintf(`
name: hangs
type: plain
tasks: 1
command: [%s]
ping: {required: true, period: 50ms, first: 4}
restart: {limit: 1}
`, build(t, "package main\n\nfunc main() { inTheMiddleOfIt() }\n\n//go:noinline\nfunc inTheMiddleOfIt() {\n\tfor i := uint(1); i != 0; i |= 1 {\n\t}\n}\n"))))
	a.awaitTasks(id, api.TaskFailed)
	at := a.task(id.Task(0)).Attempts[0]
	if at.Outcome == nil || at.Outcome.Kind != api.OutOfContact || !strings.Contains(at.Words, "stacks") {
		t.Errorf("%+v: %s", at.Outcome, at.Words)
	}
	if out := a.groom("job", "logs", "--stream", "stderr", string(id)); !strings.Contains(out, "SIGQUIT") || !strings.Contains(out, "inTheMiddleOfIt") {
		t.Errorf("its log:\n%s", out)
	}
}
