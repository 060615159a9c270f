// Package examples has no code of its own: its tests hold the script behind `make run` to what it promises.
package examples

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"groom/job"
)

// stage makes a directory for builds whose name needs quoting, and programs that say what they were asked. groom is
// the body of the one that stands for the product.
func stage(t *testing.T, groom string) (bin, build string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "it's a: build")
	bin, build = filepath.Join(dir, "bin"), filepath.Join(dir, "build")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"importgraph": `mkdir -p "$2"; echo importgraph`, "ranks": `echo ranks "$3"`, "pagerank": "", "groom": groom,
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin, build
}

func script(bin, build, keep string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command("./run")
	cmd.Env = append(os.Environ(), "BIN="+bin, "BUILD="+build, "KEEP="+keep)
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

const saying = `echo groom "$1" "$2" "$3"`

// The main job: graph, job, ranks, in this order, in a directory that no run before it had.
func TestRun(t *testing.T) {
	bin, build := stage(t, saying)
	for _, n := range []string{"1", "2"} {
		cmd, out := script(bin, build, "")
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		run := filepath.Join(build, "run", n)
		want := "importgraph\ngroom run --data " + run + "/data\nranks " + run + "/ranks\n"
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", out, want)
		}
		spec, err := job.Load(filepath.Join(run, "pagerank.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if spec.Tasks != 3 || spec.Command[0] != filepath.Join(bin, "pagerank") || spec.Output != run+"/ranks" ||
			spec.Config["vertices"] != run+"/graph/imports.v" || spec.Config["edges"] != run+"/graph/imports.e" {
			t.Errorf("%+v", spec)
		}
	}
}

// A job that does not succeed is told by the exit status, and nothing is shown as its result.
func TestRunFails(t *testing.T) {
	bin, build := stage(t, "exit 7")
	cmd, out := script(bin, build, "1")
	_ = cmd.Run() // the exit status is what counts
	if code := cmd.ProcessState.ExitCode(); code != 7 || strings.Contains(out.String(), "ranks") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// With KEEP=1 the ranks are shown before the agent stays up, on the data directory of the run.
func TestRunKeeps(t *testing.T) {
	bin, build := stage(t, saying)
	cmd, out := script(bin, build, "1")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ranks, agent := strings.Index(out.String(), "ranks"), strings.Index(out.String(), "groom agent --data "+build+"/run/1/data")
	if ranks < 0 || agent < ranks {
		t.Errorf("said\n%s", out)
	}
}

// Ctrl-C reaches the whole group: groom ends what it started, and only then the script ends, with 130.
func TestRunInterrupted(t *testing.T) {
	bin, build := stage(t, `trap 'echo killed the job; exit 130' INT; echo up >"$3.up"; while :; do sleep 0.05; done`)
	cmd, out := script(bin, build, "")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	up := filepath.Join(build, "run", "1", "data.up")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, up)
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit status is what counts
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(out.String(), "killed the job") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// await polls until another process has made a file.
func await(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never came", path)
		}
	}
}
