package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for every child of this process: those that it started, and those that are left to it when a groom or a
// shim dies, since it is a subreaper.
type reaper struct {
	mu   sync.Mutex
	mine map[int]*child
}

// child is a process that the harness started.
type child struct {
	pid    int
	status syscall.WaitStatus // once done is closed
	done   chan struct{}
}

func newReaper() (*reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	r := &reaper{mine: map[int]*child{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			r.reap()
		}
	}()
	return r, nil
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
		if c := r.mine[pid]; c != nil {
			c.status = status
			close(c.done)
			delete(r.mine, pid)
		}
	}
}

// start makes a process with both outputs to one file.
func (r *reaper) start(out *os.File, env []string, sys *syscall.SysProcAttr, argv ...string) (*child, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env: env, Files: []uintptr{null.Fd(), out.Fd(), out.Fd()}, Sys: sys,
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	c := &child{pid: pid, done: make(chan struct{})}
	r.mine[pid] = c
	return c, nil
}

// run is start, and waits for the end. It returns what was written.
func (r *reaper) run(argv ...string) ([]byte, error) {
	out, err := os.CreateTemp("", "torture")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	defer os.Remove(out.Name())
	c, err := r.start(out, os.Environ(), nil, argv...)
	if err != nil {
		return nil, err
	}
	<-c.done
	b, err := os.ReadFile(out.Name())
	if err == nil && c.status != 0 {
		err = fmt.Errorf("%s: exit %d: %s", strings.Join(argv, " "), c.status.ExitStatus(), bytes.TrimSpace(b))
	}
	return b, err
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// signal reaches the child itself or nobody: its number is its own until the reaper has waited for it.
func (r *reaper) signal(c *child, sig syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mine[c.pid] == c {
		_ = syscall.Kill(c.pid, sig)
	}
}

// childrenOf lists the children of a process, as far as the kernel tells them.
func childrenOf(pid int) []int {
	var pids []int
	tasks := "/proc/" + strconv.Itoa(pid) + "/task/"
	threads, _ := os.ReadDir(tasks) // none when it has gone
	for _, t := range threads {
		b, _ := os.ReadFile(tasks + t.Name() + "/children")
		for _, field := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}
