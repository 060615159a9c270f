package cgroup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = 10 * time.Second

// parent makes groups on this host, and removes what a test leaves.
func parent(t *testing.T) *Parent {
	t.Helper()
	p := New(fmt.Sprintf("test%016x", rand.Uint64()))
	if p.Unified == "" {
		t.Fatalf("this test wants control groups, and the rights of root: %s", p.Why)
	}
	t.Cleanup(func() {
		for _, name := range p.Leftovers() {
			if err := p.Of(name).End(context.Background(), soon); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// enter starts a process in a group, which forks another that leaves its session.
func enter(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "echo 0 > "+dir+"/cgroup.procs && setsid sleep 60 & echo 0 > "+dir+"/cgroup.procs && echo in && exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if n, err := out.Read(make([]byte, 3)); n != 3 {
		t.Fatalf("the process did not get in: %v", err)
	}
	return cmd
}

func TestEndOfAGroup(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, g Group)
		kill func(dir string) error // nil: the whole of End
	}{
		{"empty", func(*testing.T, Group) {}, nil},
		{"populated", func(t *testing.T, g Group) { enter(t, g.Unified) }, nil},
		{"a group below, as a task of root may make", func(t *testing.T, g Group) {
			below := filepath.Join(g.Unified, "a", "b")
			if err := os.MkdirAll(below, 0o755); err != nil {
				t.Fatal(err)
			}
			enter(t, below)
		}, nil},
		{"gone already", func(t *testing.T, g Group) {
			if err := os.Remove(g.Unified); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"frozen and killed one by one, as before Linux 5.14", func(t *testing.T, g Group) {
			below := filepath.Join(g.Unified, "a")
			if err := os.Mkdir(below, 0o755); err != nil {
				t.Fatal(err)
			}
			enter(t, g.Unified)
			enter(t, below)
		}, killFrozen},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parent(t)
			g, unenforced := p.Make("attempt", Limits{Pids: 50})
			if len(unenforced) > 0 || g.Unified == "" {
				t.Fatalf("%+v, %v", g, unenforced)
			}
			c.make(t, g)
			if c.kill != nil {
				if err := c.kill(g.Unified); err != nil {
					t.Fatal(err)
				}
				for deadline := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
					populated, err := Populated(g.Unified)
					if err == nil && !populated {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("populated %v, %v", populated, err)
					}
				}
			}
			for range 2 { // killed after the first, and done again
				if err := g.End(t.Context(), soon); err != nil {
					t.Fatal(err)
				}
			}
			for _, dir := range append(g.Others, g.Unified, filepath.Dir(g.Unified)) {
				if _, err := os.Stat(dir); err == nil {
					t.Errorf("%s is still there", dir)
				}
			}
			if left := p.Leftovers(); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// Without the unified hierarchy nothing is killed: a group that holds a process stays, and End says so.
func TestGroupForLimitsAloneIsNotKilled(t *testing.T) {
	p := parent(t)
	g, _ := p.Make("attempt", Limits{Pids: 50})
	if len(g.Others) == 0 {
		g.Others = []string{g.Unified} // everything is v2 here: its directory stands for one of v1
	}
	enter(t, g.Others[0])
	err := Group{Others: g.Others}.End(t.Context(), 20*time.Millisecond)
	if !errors.Is(err, ErrPopulated) {
		t.Errorf("got %v", err)
	}
	for dir := range g.Others {
		pids, err := members(g.Others[dir])
		if err != nil {
			t.Fatal(err)
		}
		for pid := range pids {
			killMember(g.Others[dir], pid)
		}
	}
	if err := g.End(t.Context(), soon); err != nil {
		t.Error(err)
	}
}

// A number that has gone to a process outside of the group is not signalled.
func TestOnlyMembersAreKilled(t *testing.T) {
	p := parent(t)
	g, _ := p.Make("attempt", Limits{})
	stranger := exec.Command("sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	killMember(g.Unified, stranger.Process.Pid)
	if err := g.End(t.Context(), soon); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", stranger.Process.Pid)); err != nil || strings.Contains(string(b), ") Z") {
		t.Errorf("the stranger was killed: %s, %v", b, err)
	}
}

func TestMakeAgainIsTheSameGroup(t *testing.T) {
	p := parent(t)
	first, _ := p.Make("attempt", Limits{Memory: 64 << 20, CPU: 0.001, Pids: 5})
	again, unenforced := p.Make("attempt", Limits{Memory: 64 << 20, CPU: 2, Pids: 6})
	if len(unenforced) > 0 || first.Unified != again.Unified || len(again.Others) != len(first.Others) {
		t.Errorf("%+v, then %+v, %v", first, again, unenforced)
	}
	if of := p.Of("attempt"); of.Unified != first.Unified || len(of.Others) != len(first.Others) {
		t.Errorf("derived %+v, made %+v", of, first)
	}
	if again.OOM == "" {
		t.Error("nobody counts the kills for want of memory")
	}
}

// What the kernel refuses is told, and the group is there.
func TestRefusedLimitIsTold(t *testing.T) {
	p := parent(t)
	g, unenforced := p.Make("attempt", Limits{Pids: 1 << 62})
	if len(unenforced) != 1 || !strings.Contains(unenforced[0], "pids limit of 4611686018427387904 processes: write") || g.Unified == "" {
		t.Errorf("%+v, %q", g, unenforced)
	}
}
