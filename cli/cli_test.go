package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
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

// A listing from afar has the process read what is listed, and not the whole history to count it.
func TestListingFromAfarCountsNothing(t *testing.T) {
	var asked []string
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/journal/info" {
			fmt.Fprint(w, `[{"of":"groom","first":1,"last":9}]`)
			return
		}
		fmt.Fprint(w, `[]`)
	}))
	defer far.Close()
	for _, verb := range []string{"ls", "tail"} {
		root := newRoot("test")
		root.SetArgs([]string{"journal", verb, "--addr", strings.TrimPrefix(far.URL, "http://")})
		root.SetOut(io.Discard)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) < 4 || slices.ContainsFunc(asked, func(url string) bool { return strings.Contains(url, "kinds") }) {
		t.Errorf("asked for %v", asked)
	}
}
