package shim

import "syscall"

// shimScore keeps the shim alive when the host runs out of memory: it is small, and it holds what a task leaves. It is
// set after the fork, so that the task does not get it. Without the right to lower a score the shim keeps its own.
const shimScore = -900

const scoreFile = "/proc/self/oom_score_adj"

func score() int64 {
	var b [16]byte
	text := readSmall([]byte(scoreFile+"\x00"), b[:])
	if len(text) > 0 && text[0] == '-' {
		return -number(text[1:])
	}
	return number(text)
}

func setScore(n int64) {
	fd, err := syscall.Open(scoreFile, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	var b [16]byte
	_, _ = syscall.Write(fd, appendDecimal(b[:0], n, 1))
	_ = syscall.Close(fd)
}
