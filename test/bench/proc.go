package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// memory reads one line of smaps_rollup, in bytes.
func memory(pid int, name string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s of %d", name, pid)
}

// usage is the processor time of a process, and the bytes that it made the disk write.
func usage(pid int) (time.Duration, int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	io, err3 := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(io), "\nwrite_bytes: ")
	line, _, _ := strings.Cut(rest, "\n")
	written, err := strconv.ParseInt(line, 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, written, err
}

// await looks every half millisecond, which bounds the error of what is timed by it.
func await(what string, ok func() bool) error {
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(500 * time.Microsecond) {
		if time.Now().After(deadline) {
			return errors.New("never so: " + what)
		}
	}
	return nil
}

func kill9(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
