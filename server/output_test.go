package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
	"groom/fsm"
)

const (
	outputJob   = api.JobID("job_202611240915_0001")
	outputOther = api.JobID("job_202611240915_0002")
)

// idleGroom is a groom with empty tables and without a life of its own.
func idleGroom(t *testing.T) *Groom {
	t.Helper()
	g := &Groom{state: fsm.NewState(), log: slog.New(slog.DiscardHandler), claims: newClaims(), hands: newHands()}
	g.machine = fsm.NewMachine(g.state, nil)
	return g
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhereAJobMayWrite(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // part of the error
	}{
		{name: "not there yet"},
		{name: "being marked by a task that is staged at the same moment", files: map[string]string{".groom.123": "", ".parts/a/x": ""}},
		{name: "empty", files: map[string]string{"": ""}},
		{name: "its own", files: map[string]string{".groom": string(outputJob) + " \n", "part-00000": "x"}},
		{name: "left by a job without a result", files: map[string]string{".groom": string(outputOther) + " \n", ".parts/a/part": "x"}},
		{name: "the result of another", files: map[string]string{".groom": string(outputOther) + " \n", "part-00000": "x"}, want: string(outputOther)},
		{name: "the result of a job with this id in another cluster", files: map[string]string{".groom": string(outputJob) + " c0ffee\n", "part-00000": "x"}, want: string(outputJob)},
		{name: "somebody's files", files: map[string]string{"thesis.tex": "x"}, want: "not empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "output")
			for name, text := range c.files {
				if name == "" {
					if err := os.Mkdir(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					continue
				}
				put(t, filepath.Join(dir, name), text)
			}
			err := idleGroom(t).checkOutput(dir, outputJob)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// While a job writes to an output no other gets it, be it of another groom; afterwards it is free again.
func TestOutputHasOneOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "output")
	first, second := idleGroom(t), idleGroom(t)
	for range 2 {
		if err := first.claim(dir, outputJob); err != nil {
			t.Fatal(err)
		}
	}
	stale := filepath.Join(dir, partsName, string(outputJob.Task(0).Attempt(1)), "part-00000")
	put(t, stale, "half a result")
	torn := filepath.Join(dir, ownerName+".123")
	put(t, torn, "job_")
	if err := second.claim(dir, outputOther); err == nil || !strings.Contains(err.Error(), string(outputJob)) {
		t.Errorf("the output of a living job was given away: %v", err)
	}
	if err := second.claim(dir, outputJob); err != nil {
		t.Errorf("the same job on another groom: %v", err)
	}
	if err := second.claims.close(); err != nil {
		t.Fatal(err)
	}
	first.keepClaims(nil)
	if err := second.claim(dir, outputOther); err != nil {
		t.Errorf("the output of an ended job without a result: %v", err)
	}
	for _, path := range []string{stale, torn} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("left of the ended job: %s, %v", path, err)
		}
	}
	if err := second.claims.close(); err != nil {
		t.Fatal(err)
	}
}

// A move that was cut short goes on where it was, and done twice it changes nothing.
func TestOutputIsMovedOnce(t *testing.T) {
	dir := t.TempDir()
	a := outputJob.Task(1).Attempt(2)
	put(t, filepath.Join(dir, partsName, string(a), "part-00001"), "one")
	put(t, filepath.Join(dir, partsName, string(a), "part-00002"), "two")
	put(t, filepath.Join(dir, "part-00001"), "one") // a kill right after this rename left the staged name gone: see below
	if err := os.Remove(filepath.Join(dir, partsName, string(a), "part-00001")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := moveParts(dir, a); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"part-00001": "one", "part-00002": "two"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, partsName, string(a))); !os.IsNotExist(err) {
		t.Errorf("the staging directory stays: %v", err)
	}
}
