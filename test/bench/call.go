package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nap is what each task of a crowd ends up as; nothing else sleeps for just as long.
const nap = "86413"

// call is a roll call: each task of a crowd writes its pid into a named pipe as the first thing that it does, so that
// groom and its peers are timed by the same event, seen from outside.
type call struct {
	path string
	pipe *os.File
	pids chan int
	all  []int // every process heard of
}

func newCall(dir string) (*call, error) {
	c := &call{path: filepath.Join(dir, "call"), pids: make(chan int, 4096)}
	if err := unix.Mkfifo(c.path, 0o600); err != nil {
		return nil, fmt.Errorf("make roll call: %w", err)
	}
	var err error
	if c.pipe, err = os.OpenFile(c.path, os.O_RDWR, 0); err != nil { // for writing too, so that it never ends
		return nil, fmt.Errorf("open roll call: %w", err)
	}
	go func() {
		defer close(c.pids)
		for s := bufio.NewScanner(c.pipe); s.Scan(); {
			if pid, err := strconv.Atoi(s.Text()); err == nil {
				c.pids <- pid
			}
		}
	}()
	return c, nil
}

// script is the task, for sh.
func (c *call) script() string { return fmt.Sprintf("echo $$ >%s; exec sleep %s", c.path, nap) }

var errSilent = errors.New("too few tasks answered the roll call")

// hear waits for so many processes to start.
func (c *call) hear(n int) ([]int, error) {
	heard := c.within(n, time.Minute)
	if len(heard) < n {
		return heard, fmt.Errorf("%w: %d of %d", errSilent, len(heard), n)
	}
	return heard, nil
}

// within is the processes that start in a time, until there are so many.
func (c *call) within(n int, d time.Duration) (heard []int) {
	late := time.After(d)
	for len(heard) < n {
		select {
		case pid := <-c.pids:
			heard, c.all = append(heard, pid), append(c.all, pid)
		case <-late:
			return heard
		}
	}
	return heard
}

// asleep are those of the processes that are still tasks of the crowd.
func asleep(pids []int) []int {
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err != nil || string(line) != "sleep\x00"+nap+"\x00"
	})
}

// dismiss ends every task that was heard of.
func (c *call) dismiss() error {
	c.within(cap(c.pids), 50*time.Millisecond) // who starts just now
	for _, pid := range asleep(c.all) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("end task %d: %w", pid, err)
		}
	}
	err := await("tasks are gone", func() bool { return len(asleep(c.all)) == 0 })
	c.all = nil
	return err
}

// mark is in the environment of each peer's daemons, which hand it on to what they start.
const mark = "GROOM_BENCH"

// marked are the processes that carry the mark of this run.
func marked(dir string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // nothing of one that has gone
		if slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return string(v) == mark+"="+dir }) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// named are those of the processes that run a program.
func named(pids []int, program string) []int {
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err != nil || strings.TrimSpace(string(comm)) != program
	})
}
