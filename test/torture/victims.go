package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// envMarks is in the environment of every task of the torture. A shim is known by the directory that it was told.
const (
	envMarks = "TORTURE_MARKS"
	envShim  = "GROOM_SHIM"
)

// The kinds of victim.
const (
	ofGroom = "groom"
	ofShim  = "shim"
	ofTask  = "task"
	ofChild = "child"
)

// victim is a process that may be killed.
type victim struct {
	kind, attempt string
	pid           int
}

// living lists the processes of a run, by what they are. It asks /proc, and nothing of groom.
func living(data, marks string) []victim {
	var all []victim
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if v, ok := identify(pid, data, marks); ok {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b victim) int { return a.pid - b.pid })
	return all
}

func identify(pid int, data, marks string) (victim, bool) {
	v := victim{pid: pid}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil || len(env) == 0 {
		return v, false
	}
	ours := false
	for kv := range strings.SplitSeq(string(env), "\x00") {
		key, value, _ := strings.Cut(kv, "=")
		switch {
		case key == envShim && strings.HasPrefix(value, data+"/"):
			v.kind, v.attempt = ofShim, filepath.Base(value)
			return v, true
		case key == envMarks && value == marks:
			ours = true
		case key == "GROOM_ATTEMPT":
			v.attempt = value
		}
	}
	if !ours {
		return v, false
	}
	v.kind = ofTask
	cmd, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	for _, habit := range []string{"\x00child\x00", "\x00middle\x00", "\x00link\x00"} {
		if bytes.Contains(cmd, []byte(habit)) {
			v.kind = ofChild
		}
	}
	return v, true
}

// send signals a victim, and nobody else: what it is is looked at again while its pidfd is held.
func (v victim) send(data, marks string, sig syscall.Signal) bool {
	fd, err := unix.PidfdOpen(v.pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if again, ok := identify(v.pid, data, marks); !ok || again.attempt != v.attempt || again.kind != v.kind {
		return false
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// pick chooses a victim of a kind by a share of 1, which the plan drew.
func pick(all []victim, kind string, share float64) (victim, bool) {
	var of []victim
	for _, v := range all {
		if v.kind == kind {
			of = append(of, v)
		}
	}
	if len(of) == 0 {
		return victim{}, false
	}
	return of[min(int(math.Floor(share*float64(len(of)))), len(of)-1)], true
}
