package bsp_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"groom/bsp"
	"groom/bsp/bsptest"
)

// programEnv makes the test binary a program that calls Main.
const programEnv = "BSP_TEST_PROGRAM"

var programs = map[string]func(*bsp.Peer) error{
	"steps": func(p *bsp.Peer) error {
		for range 300 {
			for to := range p.N() {
				p.Send(to, make([]byte, 1000))
			}
			if err := p.Sync(); err != nil {
				return err
			}
		}
		return nil
	},
	"fails":   func(*bsp.Peer) error { return errTest },
	"panics":  func(*bsp.Peer) error { panic("at once") },
	"endless": func(p *bsp.Peer) error { fmt.Println("computing"); time.Sleep(time.Hour); return nil },
}

func TestMain(m *testing.M) {
	if name := os.Getenv(programEnv); name != "" {
		bsp.Main(programs[name])
	}
	goleak.VerifyTestMain(m)
}

// process starts a program as one peer of a job.
func process(t *testing.T, g *bsptest.Groom, peer int, name string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd, stderr = exec.Command(exe), new(bytes.Buffer)
	cmd.Stderr = stderr
	cmd.Env = append(os.Environ(), programEnv+"="+name)
	for k, v := range g.Env(peer) {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd, stderr
}

func TestProcessesOutliveTheirGroom(t *testing.T) {
	g := bsptest.Start(t.TempDir(), 3, nil)
	defer g.Close()
	var peers sync.WaitGroup
	for i := range 3 {
		cmd, stderr := process(t, g, i, "steps")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		peers.Go(func() {
			if err := cmd.Wait(); err != nil {
				t.Errorf("peer %d: %v\n%s", i, err, stderr)
			}
		})
	}
	ended := make(chan struct{})
	go func() { peers.Wait(); close(ended) }()
	for range 5 {
		select {
		case <-ended:
		case <-time.After(20 * time.Millisecond): // anywhere in its run
			g.Restart()
		}
	}
	<-ended
}

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		says string
	}{
		"fails":  {1, "bsp: error: by the program"},
		"panics": {1, "main_test.go"}, // the stack
	} {
		g := bsptest.Start(t.TempDir(), 1, nil)
		cmd, stderr := process(t, g, 0, name)
		err := cmd.Run()
		g.Close()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s: %v\n%s", name, err, stderr)
		}
	}
}

func TestRollbackEndsTheProcessWithHamasCode(t *testing.T) {
	g := bsptest.Start(t.TempDir(), 1, nil)
	defer g.Close()
	cmd, stderr := process(t, g, 0, "endless")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it computes
		t.Fatal(err)
	}
	g.EndEpoch()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 69 {
		t.Errorf("%v\n%s", err, stderr)
	}
}
