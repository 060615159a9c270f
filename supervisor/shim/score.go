package shim

import "syscall"

// shimScore keeps the shim alive when the host runs out of memory: it is small, and it holds what a task leaves. It is
// set after the fork, so that the task does not get it. Without the right to lower a score the shim keeps its own.
const shimScore = -900

const scoreFile = "/proc/self/oom_score_adj"

func score() int64 {
	var b [16]byte
	return signed(readSmall([]byte(scoreFile+"\x00"), b[:]))
}

func setScore(n int64) syscall.Errno {
	var b [16]byte
	return writeFile(append([]byte(scoreFile), 0), appendDecimal(b[:0], n, 1))
}
