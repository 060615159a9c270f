package cli

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"groom/api"
)

// Every verb says in one line what it does, and its error for a wrong flag names its own help.
func TestEveryVerbIsDescribed(t *testing.T) {
	forEach(newRoot("test"), func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: described as %q", c.CommandPath(), c.Short)
		}
	})
	for _, args := range [][]string{{"job", "submit"}, {"job", "wait", "--timeout", "soon", "x"}, {"journal", "show", "zero"}, {"node", "what"}} {
		root := newRoot("test")
		root.SetArgs(args)
		cmd, err := root.ExecuteC()
		var out bytes.Buffer
		if code := tell(&out, cmd, err); code != exitUsage || !strings.Contains(out.String(), "--help") {
			t.Errorf("groom %s: exit %d:\n%s", strings.Join(args, " "), code, &out)
		}
	}
}

func TestExitStatusOfAJob(t *testing.T) {
	for state, want := range map[api.JobState]int{
		api.JobSucceeded: exitOK, api.JobFailed: exitFailed, api.JobKilled: exitNotRun, api.JobStopped: exitNotRun,
	} {
		err := verdict(api.JobDetail{JobView: api.JobView{ID: "job_202611240915_0001", State: state, Reason: "why"}})
		var out bytes.Buffer
		if got := tell(&out, &cobra.Command{}, err); got != want {
			t.Errorf("%s: exit %d, want %d", state, got, want)
		}
		if err != nil && (!strings.Contains(out.String(), "why") || !strings.Contains(out.String(), "hint: groom job")) {
			t.Errorf("%s:\n%s", state, &out)
		}
	}
}

// Lines of several tasks never mix; the last one needs no newline; one without an end needs no memory.
func TestLineWriter(t *testing.T) {
	var out bytes.Buffer
	var mu sync.Mutex
	a, b := &lineWriter{mu: &mu, w: &out, prefix: "[0] "}, &lineWriter{mu: &mu, w: &out, prefix: "[1] "}
	a.Write([]byte("one "))
	b.Write([]byte("two\nthr"))
	a.Write([]byte("line\n"))
	b.close()
	a.close()
	if want := "[1] two\n[0] one line\n[1] thr\n"; out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
	out.Reset()
	a.Write(bytes.Repeat([]byte("x"), 3*maxLine))
	if len(a.rest) >= maxLine {
		t.Errorf("holds %d bytes", len(a.rest))
	}
}
