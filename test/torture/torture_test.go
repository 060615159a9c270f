package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The short form of `make torture`: a round of kills, and the beginning of one on a machine that loses its power.
func TestTorture(t *testing.T) {
	build := t.TempDir()
	if out, err := exec.Command("make", "-s", "-C", "../..", "torturers", "BUILD="+build).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "torture") // it is kept when something is found
	if err != nil {
		t.Fatal(err)
	}
	bin := build + "/torture"
	out, err := exec.Command(bin+"/torture", "-bin", bin, "-dir", dir, "-n", "60", "-round", "40", "-seed", "1", "-v").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "torture: cycles 60,") {
		t.Error("the last line does not tell of 60 cycles")
	}
}
