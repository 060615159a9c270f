package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"groom/api"
	"groom/supervisor/ctl"
	"groom/supervisor/logs"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of a few pages, and returns how to take up its room and to give it back.
func smallDisk(t *testing.T, dir string, size int) (fill, free func()) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		t.Fatalf("this test mounts a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	fill = func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		page := make([]byte, 4096)
		for err == nil {
			_, err = f.Write(page)
		}
	}
	free = func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	return fill, free
}

// numbered is a script that writes lines of twenty bytes, each with its number, so that every byte tells its offset.
func numbered(from, to int) string { return fmt.Sprintf("seq -f %%019.0f %d %d", from, to-1) }

// wantNumbers holds a piece of such output against its offset.
func wantNumbers(t *testing.T, offset int64, data []byte) {
	t.Helper()
	var want bytes.Buffer
	first := offset / 20
	for n := first; int64(want.Len()) < offset%20+int64(len(data)); n++ {
		fmt.Fprintf(&want, "%019d\n", n)
	}
	if !bytes.Equal(data, want.Bytes()[offset%20:][:len(data)]) {
		t.Fatalf("%d bytes at %d are not what was written there", len(data), offset)
	}
}

func TestFullLogDisk(t *testing.T) {
	const lines = 100_000 // 2 MB
	spec := shell(t, fmt.Sprintf("%s; echo > written; while [ ! -s free ]; do sleep 0.01; done; %s; exit 3",
		numbered(0, lines), numbered(lines, lines+1000)))
	spec.Logs = api.Logs{MaxSize: 128 << 10, MaxFiles: 2}
	fill, free := smallDisk(t, filepath.Join(spec.Dir, ctl.Log), 512<<10)
	fill()
	s := newSupervisor(t)
	start(t, s, spec)
	wantStarted(t, s)
	written(t, spec, "written")
	until(t, "the bytes to be counted", func() bool {
		p, err := s.Ping(spec.ID)
		return err == nil && p.StdoutLen == lines*20 && p.Dropped > 0
	})
	dropped := func() int64 { p, _ := s.Ping(spec.ID); return p.Dropped }()
	free()
	// The next try is a second after the last one that failed.
	until(t, "the disk to be tried again", func() bool {
		put(t, spec, "free")
		held, err := ctl.Held(spec.Dir)
		return err == nil && !held
	})
	e := wantEnded(t, s)
	if e.Outcome != (api.Outcome{Kind: api.Exited, Code: 3}) || e.StdoutLen != (lines+1000)*20 || e.Dropped < dropped {
		t.Errorf("exit %+v", e)
	}
	var kept, gap int64
	for c, err := range logs.Follow(t.Context(), spec.Dir, logs.Stdout, 0, 64<<10) {
		if err != nil {
			t.Fatal(err)
		}
		wantNumbers(t, c.Offset, c.Data)
		kept, gap = kept+int64(len(c.Data)), gap+c.Gap
	}
	if kept+gap != e.StdoutLen || gap < dropped {
		t.Errorf("%d bytes kept, %d missing, of %d; %d dropped", kept, gap, e.StdoutLen, e.Dropped)
	}
}

// The disk of the whole attempt is full when the task ends: its end waits for room, and is exact.
func TestEndWaitsForRoom(t *testing.T) {
	spec := shell(t, "exec sleep 60")
	fill, free := smallDisk(t, spec.Dir, 256<<10)
	s := newSupervisor(t)
	start(t, s, spec)
	pid := wantStarted(t, s).Pid
	until(t, "an answer", func() bool { _, err := s.Ping(spec.ID); return err == nil })
	fill()
	kill(t, pid, unix.SIGTERM)
	until(t, "the task to be waited for", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
	until(t, "an answer", func() bool { _, err := s.Ping(spec.ID); return err == nil })
	if held, err := ctl.Held(spec.Dir); err != nil || !held {
		t.Errorf("the shim ended without a record: %v, %v", held, err)
	}
	free()
	if e := wantEnded(t, s); e.Outcome != (api.Outcome{Kind: api.Signaled, Signal: "SIGTERM", By: api.ByOthers}) {
		t.Errorf("exit %+v", e)
	}
}

// A reader that follows a task across many rotations sees every byte that is still kept at its place, and the others as
// gaps.
func TestFollowAcrossRotations(t *testing.T) {
	const lines = 50_000 // 1 MB, thirty files, three kept
	s, spec := newSupervisor(t), shell(t, numbered(0, lines))
	spec.Logs = api.Logs{MaxSize: 32_777, MaxFiles: 3}
	start(t, s, spec)
	var next int64
	ended := false
	for c, err := range logs.Follow(t.Context(), spec.Dir, logs.Stdout, 0, 5_001) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Offset-c.Gap != next {
			t.Fatalf("at %d, with a gap of %d, after %d", c.Offset, c.Gap, next)
		}
		wantNumbers(t, c.Offset, c.Data)
		next, ended = c.Offset+int64(len(c.Data)), c.End
	}
	if next != lines*20 || !ended {
		t.Errorf("followed to %d of %d, end %v", next, lines*20, ended)
	}
}

// What is kept of an attempt is bounded by size times files, of each stream, whatever it writes: 100 MB without a line
// end, and every byte there is.
func TestHundredMegabytesWithoutALine(t *testing.T) {
	const size, files, total = 1 << 20, 4, 100_000_000
	s, spec := newSupervisor(t), shell(t, fmt.Sprintf("head -c %d /dev/zero | tr '\\0' '\\377'; printf '\\000\\001\\377\\n' >&2", total))
	spec.Logs = api.Logs{MaxSize: size, MaxFiles: files}
	start(t, s, spec)
	e := wantEnded(t, s)
	if e.Outcome != (api.Outcome{Kind: api.Exited}) || e.StdoutLen != total || e.StderrLen != 4 || e.Dropped != 0 {
		t.Errorf("exit %+v", e)
	}
	data, gap := stream(t, spec, logs.Stdout)
	if int64(len(data))+gap != total || len(data) > size*files || len(data) < size*(files-1) || len(bytes.Trim(data, "\xff")) > 0 {
		t.Errorf("%d bytes kept after a gap of %d", len(data), gap)
	}
	if errs, _ := stream(t, spec, logs.Stderr); string(errs) != "\x00\x01\xff\n" {
		t.Errorf("stderr %q", errs)
	}
	var sum int64
	entries, err := os.ReadDir(filepath.Join(spec.Dir, ctl.Log))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	if sum > 2*size*files {
		t.Errorf("%d bytes are kept of the attempt", sum)
	}
}
