package supervisor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"groom/supervisor/ctl"
)

// chain is a program that goes on in another process all the time, in a session of its own.
const chain = `#!/bin/sh
[ "$1" -gt 0 ] || exit
setsid "$0" $(($1 - 1)) &
`

// A scan that looks while one process of a chain has gone and the next is not listed, or while it is between two
// images, sees nothing of it. That must not be taken for its end.
func TestSweepOfAChainOfProcesses(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "chain")
	if err := os.WriteFile(program, []byte(chain), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, ctl.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	self, _ := readStat(os.Getpid())
	if err := os.WriteFile(filepath.Join(dir, ctl.Shim), []byte("v=1\nstart="+strconv.FormatInt(self.start, 10)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		token := "chain-" + strconv.Itoa(i) + "-" + strconv.Itoa(os.Getpid())
		cmd := exec.Command(program, "400") // it ends by itself, if nobody ends it
		cmd.Env = append(os.Environ(), EnvToken+"="+token)
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		w := sweepMarked(t.Context(), Ref{ID: "x", Dir: dir, Token: token})
		if w.unproven {
			t.Logf("chain %d: %s", i, w.why)
			continue
		}
		mark := []byte(EnvToken + "=" + token)
		for range 20 {
			if found, err := scan(mark, 0, 0, map[int]bool{}); err != nil || len(found.marked) > 0 {
				t.Fatalf("chain %d lives on as %v after a sweep that killed %v, %v", i, found.marked, w.killed, err)
			}
			d := time.Millisecond
			pause(context.Background(), &d, d)
		}
	}
}
