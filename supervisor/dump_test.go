package supervisor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"groom/api"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

const hungJava = `public class Hung {
	public static void main(String[] args) throws Exception {
		waitForWhatNeverComes();
	}
	static void waitForWhatNeverComes() throws Exception {
		java.nio.file.Files.writeString(java.nio.file.Path.of("ready"), "ready\n");
		Thread.sleep(Long.MAX_VALUE);
	}
}
`

// Before a task is ended for its silence it writes its stacks to stderr. That a Go program ends by it, with a code of
// its own, and a JVM does not, changes nothing of the outcome.
func TestDumpBeforeTheEndOfSilence(t *testing.T) {
	silent := api.Outcome{Kind: api.OutOfContact, Signal: "SIGKILL", Why: "it was not heard of and was ended"}
	silentCode := api.Outcome{Kind: api.OutOfContact, Why: "it was not heard of and was ended"}
	silentQuit := api.Outcome{Kind: api.OutOfContact, Signal: "SIGQUIT", Why: "it was not heard of and was ended"}
	const long = time.Hour
	for _, c := range []struct {
		name   string
		argv   []string
		order  Order
		want   api.Outcome
		status int    // exit code, -1 for a signal
		stderr string // contained
		dumped bool
	}{
		{"a Go program ends with code 2", []string{"hung"}, Order{Signal: "SIGKILL", Dump: "SIGQUIT", DumpWait: long}, silentCode, 2, "waitForWhatNeverComes", true},
		{"a JVM lives on and is killed", []string{"java", "-Xshare:auto", "Hung.java"}, Order{Signal: "SIGKILL", Dump: "SIGQUIT", DumpWait: 3 * time.Second}, silent, -1, "", true},
		{"a program without a handler ends by it", []string{"/bin/sh", "-c", "echo ready > ready; exec sleep 60"}, Order{Signal: "SIGKILL", Dump: "SIGQUIT", DumpWait: long}, silentQuit, -1, "", true},
		{"the stop's own signal comes after the dump", []string{"/bin/sh", "-c", `trap 'echo dump >&2' QUIT; trap 'echo term >&2; exit 9' TERM; echo ready > ready; while :; do sleep 0.01; done`}, Order{Signal: "SIGTERM", Grace: long, Dump: "SIGQUIT", DumpWait: 100 * time.Millisecond}, silentCode, 9, "dump\nterm\n", true},
		{"another signal", []string{"/bin/sh", "-c", `trap 'echo dump >&2; exit 4' USR1; echo ready > ready; while :; do sleep 0.01; done`}, Order{Signal: "SIGTERM", Grace: long, Dump: "SIGUSR1", DumpWait: long}, silentCode, 4, "dump\n", true},
		{"ignores dump and signal, is killed", []string{"/bin/sh", "-c", `trap '' QUIT TERM; echo ready > ready; while :; do sleep 0.01; done`}, Order{Signal: "SIGTERM", Grace: 20 * time.Millisecond, Dump: "SIGQUIT", DumpWait: 20 * time.Millisecond}, silent, -1, "", true},
		{"a stopped process writes its dump", []string{"/bin/sh", "-c", `trap 'echo dump >&2; exit 4' QUIT; echo ready > ready; kill -STOP $$; while :; do sleep 0.01; done`}, Order{Signal: "SIGTERM", Grace: long, Dump: "SIGQUIT", DumpWait: long}, silentCode, 4, "dump\n", true},
		{"none", []string{"hung"}, Order{Signal: "SIGKILL"}, silent, -1, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, spec := newSupervisor(t), shell(t, "")
			spec.Argv, spec.Env = c.argv, append(spec.Env, "PATH="+filepath.Dir(binary(t, "hung"))+":"+os.Getenv("PATH"))
			work := filepath.Join(spec.Dir, ctl.Work)
			if err := os.MkdirAll(work, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(work, "Hung.java"), []byte(hungJava), 0o600); err != nil {
				t.Fatal(err)
			}
			start(t, s, spec)
			wantStarted(t, s)
			written(t, spec, "ready")
			c.order.By = BySilence
			if err := s.Stop(spec.ID, c.order); err != nil {
				t.Fatal(err)
			}
			e := wantEnded(t, s)
			code := -1
			if ws := unix.WaitStatus(e.Status); ws.Exited() {
				code = ws.ExitStatus()
			}
			if e.Outcome != c.want || code != c.status || e.Dumped != c.dumped || e.Asked != BySilence {
				t.Errorf("exit %+v", e)
			}
			errs, _ := stream(t, spec, "stderr")
			if !strings.Contains(withoutShell(errs), c.stderr) {
				t.Errorf("stderr %q", errs)
			}
			if c.argv[0] == "java" { // which writes it to stdout
				if out, _ := stream(t, spec, "stdout"); !strings.Contains(string(out), "waitForWhatNeverComes") {
					t.Errorf("stdout %q", out)
				}
			}
		})
	}
}

// The shell ends by the dump signal. What it started has its share of the time: dump, then signal, then grace.
func TestWhatATaskLeftIsAskedAfterTheDump(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `sh -c 'trap "echo dump >&2" USR1; trap "echo term >&2; exit" TERM; echo $$ > near; while :; do sleep 0.01; done' & while [ ! -s near ]; do :; done; echo ready > ready; exec sleep 60`)
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	if err := s.Stop(spec.ID, Order{By: BySilence, Signal: "SIGTERM", Grace: time.Hour, Dump: "SIGUSR1", DumpWait: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	e := wantEnded(t, s)
	if e.Outcome.Kind != api.OutOfContact || e.Outcome.Signal != "SIGUSR1" || e.Escalated {
		t.Errorf("exit %+v", e)
	}
	if errs, _ := stream(t, spec, "stderr"); withoutShell(errs) != "dump\nterm\n" {
		t.Errorf("stderr %q", errs)
	}
}

// withoutShell is what a script wrote, without what its shell adds of the signals that ended its commands.
func withoutShell(b []byte) string {
	text := string(b)
	for _, word := range []string{"Quit\n", "Terminated\n", "User defined signal 1\n"} {
		text = strings.ReplaceAll(text, word, "")
	}
	return text
}

func TestKillCutsTheDumpShort(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "trap '' QUIT; echo ready > ready; while :; do sleep 0.01; done")
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	if err := s.Stop(spec.ID, Order{By: BySilence, Signal: "SIGKILL", Dump: "SIGQUIT", DumpWait: time.Hour}); err != nil {
		t.Fatal(err)
	}
	until(t, "the order", func() bool { return orderTaken(s, spec) })
	if err := s.Stop(spec.ID, Order{By: api.ByKill}); err != nil {
		t.Fatal(err)
	}
	e := wantEnded(t, s)
	if want := (api.Outcome{Kind: api.Signaled, Signal: "SIGKILL", By: api.ByKill}); e.Outcome != want || e.Asked != BySilence {
		t.Errorf("exit %+v", e)
	}
}

// An order that the shim has already asks for no second dump, and gives no second wait.
func TestDumpIsAskedForOnce(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, `trap 'echo dump >&2' QUIT; echo ready > ready; while :; do sleep 0.01; done`)
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "ready")
	order := Order{By: BySilence, Signal: "SIGKILL", Dump: "SIGQUIT", DumpWait: 500 * time.Millisecond}
	if err := s.Stop(spec.ID, order); err != nil {
		t.Fatal(err)
	}
	until(t, "the order", func() bool { return orderTaken(s, spec) })
	_ = s.Close()
	next := newSupervisor(t)
	if f, err := next.Adopt(t.Context(), refOf(t, spec)); err != nil || f.Kind != api.FoundAlive {
		t.Fatalf("adopt: %+v, %v", f, err)
	}
	order.DumpWait = time.Hour
	if err := next.Stop(spec.ID, order); err != nil {
		t.Fatal(err)
	}
	if e := wantEnded(t, next); e.Outcome.Kind != api.OutOfContact || e.Outcome.Signal != "SIGKILL" {
		t.Errorf("exit %+v", e)
	}
	if errs, _ := stream(t, spec, "stderr"); withoutShell(errs) != "dump\n" {
		t.Errorf("stderr %q", errs)
	}
}

// What an older shim does with the keys that it does not know: it stops as it was told, and passes them over.
func TestOrdersHoldKeysThatShimsPassOver(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "exec sleep 60")
	start(t, s, spec)
	wantStarted(t, s)
	until(t, "an answer", func() bool { _, err := s.Ping(spec.ID); return err == nil })
	answer, err := ask(spec.Dir, ctl.Record{{Key: "mood", Value: "good"}}.
		Add("cmd", "stop").Add("by", BySilence).Add("signal", strconv.Itoa(int(unix.SIGTERM))).
		Add("grace", "3600000000000").Add("later", "5"))
	if err != nil || answer.Get("ok") != "1" {
		t.Errorf("%v, %v", answer, err)
	}
	if e := wantEnded(t, s); e.Outcome.Kind != api.OutOfContact || e.Dumped {
		t.Errorf("exit %+v", e)
	}
}
