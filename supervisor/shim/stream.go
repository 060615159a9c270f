package shim

import "syscall"

// retryAfter is how long a stream drops everything after its disk refused a write.
const retryAfter = 1_000_000_000 // ns

// digits of an offset in the name of a log file, so that names sort as offsets do.
const offsetDigits = 20

// stream copies one pipe of the task into files that are named by the offset of their first byte. Offsets count what
// the task wrote: bytes that could not be kept are counted as well, and show as a gap between one file's end and the
// next file's name.
type stream struct {
	pipe    int32
	file    int
	prefix  string
	size    int64 // of the open file
	offset  int64 // bytes that the task wrote
	dropped int64
	retryAt int64 // no write is tried before this moment, on the steady clock
	maxSize int64
	starts  []int64 // ring of the offsets of the files kept
	oldest  int
	kept    int
	path    []byte
}

func newStream(prefix string, pipe int, s *spec) stream {
	_ = syscall.SetNonblock(pipe, true)
	return stream{
		pipe: int32(pipe), file: -1, prefix: prefix, maxSize: s.maxSize,
		starts: make([]int64, s.maxFiles), path: make([]byte, 0, len(prefix)+offsetDigits+1),
	}
}

// pump moves what the pipe holds, at most limit bytes of it. The pipe is closed at its end.
func (t *stream) pump(buf []byte, limit int) {
	for t.pipe >= 0 && limit > 0 {
		n, err := syscall.Read(int(t.pipe), buf[:min(len(buf), limit)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return
		case err != nil || n == 0:
			t.close()
			return
		}
		limit -= n
		t.keep(buf[:n])
	}
}

func (t *stream) close() {
	if t.pipe >= 0 {
		_ = syscall.Close(int(t.pipe))
		t.pipe = -1
	}
}

// keep writes b, or counts as dropped what the disk does not take. It never waits for the disk to get better.
func (t *stream) keep(b []byte) {
	for len(b) > 0 {
		if t.file < 0 && !t.next() {
			t.drop(len(b))
			return
		}
		n, err := syscall.Write(t.file, b[:min(int64(len(b)), t.maxSize-t.size)])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			t.giveUp()
			t.drop(len(b))
			return
		}
		t.size += int64(n)
		t.offset += int64(n)
		b = b[n:]
		if t.size == t.maxSize {
			_ = syscall.Close(t.file)
			t.file = -1
		}
	}
}

func (t *stream) drop(n int) {
	t.offset += int64(n)
	t.dropped += int64(n)
}

// next opens the file for the bytes that come, after the oldest has made room for it.
func (t *stream) next() bool {
	if t.retryAt > 0 && steady() < t.retryAt {
		return false
	}
	if t.kept == len(t.starts) {
		unlink(t.name(t.starts[t.oldest]))
		t.oldest = (t.oldest + 1) % len(t.starts)
		t.kept--
	}
	t.file = openLog(t.name(t.offset))
	if t.file < 0 {
		t.retryAt = steady() + retryAfter
		return false
	}
	t.size, t.retryAt = 0, 0
	t.starts[(t.oldest+t.kept)%len(t.starts)] = t.offset
	t.kept++
	return true
}

// giveUp ends the open file: what follows has another offset. A file that took nothing is removed, so that a disk
// that stays full does not push out the files that are good.
func (t *stream) giveUp() {
	_ = syscall.Close(t.file)
	t.file = -1
	t.retryAt = steady() + retryAfter
	if t.size == 0 {
		t.kept--
		unlink(t.name(t.offset))
	}
}

func (t *stream) name(offset int64) []byte {
	t.path = append(t.path[:0], t.prefix...)
	t.path = appendDecimal(t.path, offset, offsetDigits)
	t.path = append(t.path, 0)
	return t.path
}
