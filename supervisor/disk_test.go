package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"groom/api"
	"groom/supervisor/cgroup"
	"groom/supervisor/ctl"
	"groom/supervisor/logs"

	"golang.org/x/sys/unix"
)

// limitFiles sets the size that no file of a process may exceed: for a shim it is a disk that is full, and with
// RLIM_INFINITY has room again.
func limitFiles(t *testing.T, pid int, size uint64) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: min(size, old.Max), Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
}

// stream reads everything that is kept of a stream, and counts what is not.
func stream(t *testing.T, spec Spec, name string) (data []byte, gap int64) {
	t.Helper()
	for c, err := range logs.Follow(t.Context(), spec.Dir, name, 0, 64<<10) {
		if err != nil {
			t.Fatal(err)
		}
		data, gap = append(data, c.Data...), gap+c.Gap
	}
	return data, gap
}

func TestFullDiskNeitherBlocksTheTaskNorLosesItsEnd(t *testing.T) {
	// The task writes twenty times what a pipe holds while nothing can be kept, then waits for the disk.
	const lost = 1280 << 10
	s, spec := newSupervisor(t), shell(t, fmt.Sprintf(`while [ ! -s full ]; do sleep 0.01; done
		head -c %d /dev/zero; echo written > written
		while [ ! -s free ]; do echo again; sleep 0.1; done
		echo last >&2; exit 5`, lost))
	start(t, s, spec)
	shim := wantStarted(t, s).ShimPid
	until(t, "an answer", func() bool { _, err := s.Ping(spec.ID); return err == nil })
	limitFiles(t, shim, 0)
	put(t, spec, "full")
	written(t, spec, "written")
	until(t, "the bytes to be counted", func() bool { p, err := s.Ping(spec.ID); return err == nil && p.Dropped >= lost })
	limitFiles(t, shim, unix.RLIM_INFINITY)
	// A byte that is kept: a file that was made and could not be written to is there for a moment as well.
	until(t, "the log to go on", func() bool {
		c, err := logs.Read(spec.Dir, logs.Stdout, 0, 1)
		return err == nil && len(c.Data) > 0
	})
	limitFiles(t, shim, 0)
	put(t, spec, "free")
	// The end cannot be written now, and is not given up.
	until(t, "the pid of the task to go", func() bool {
		p, err := s.Ping(spec.ID)
		return err == nil && !alive(p.Pid)
	})
	if held, err := ctl.Held(spec.Dir); err != nil || !held {
		t.Fatalf("the shim ended without a record: %v, %v", held, err)
	}
	limitFiles(t, shim, unix.RLIM_INFINITY)
	e := wantEnded(t, s)
	if e.Outcome != (api.Outcome{Kind: api.Exited, Code: 5}) || e.Dropped < lost || !strings.Contains(e.Words, "could not be written") {
		t.Errorf("exit %+v", e)
	}
	data, gap := stream(t, spec, logs.Stdout)
	if !bytes.Contains(data, []byte("again\n")) || gap < lost || int64(len(data))+gap != e.StdoutLen {
		t.Errorf("%d bytes kept, %d dropped, of %d", len(data), gap, e.StdoutLen)
	}
}

func TestRotationKeepsOffsetsAndBytes(t *testing.T) {
	const size, files, total = 70_000, 3, 1_000_000
	s, spec := newSupervisor(t), shell(t, "cat input")
	spec.Logs = api.Logs{MaxSize: size, MaxFiles: files}
	input := make([]byte, total) // every byte there is, and no line end where a buffer ends
	for i := range input {
		input[i] = byte(i * 7 / 3)
	}
	work := filepath.Join(spec.Dir, ctl.Work)
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "input"), input, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, s, spec)
	if e := wantEnded(t, s); e.StdoutLen != total || e.Dropped != 0 {
		t.Errorf("exit %+v", e)
	}
	data, gap := stream(t, spec, logs.Stdout)
	if int64(len(data))+gap != total || !bytes.Equal(data, input[gap:]) {
		t.Errorf("%d bytes after a gap of %d", len(data), gap)
	}
	entries, err := os.ReadDir(filepath.Join(spec.Dir, ctl.Log))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != files {
		t.Errorf("%d files are kept, want %d", len(entries), files)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > size {
			t.Errorf("%s: %d bytes, %v", e.Name(), info.Size(), err)
		}
	}
}

func TestFollowALivingTask(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "echo one; while [ ! -s go ]; do sleep 0.01; done; echo two")
	start(t, s, spec)
	wantStarted(t, s)
	var got strings.Builder
	ended := false
	for c, err := range logs.Follow(t.Context(), spec.Dir, logs.Stdout, 0, 100) {
		if err != nil {
			t.Fatal(err)
		}
		if got.Write(c.Data); got.String() == "one\n" {
			put(t, spec, "go")
		}
		ended = c.End
	}
	if got.String() != "one\ntwo\n" || !ended {
		t.Errorf("%q, end %v", got.String(), ended)
	}
}

// Start goes as far as the disk lets it, and what is left is known for never started.
func TestNoRoomForTheIdentityIsNotStarted(t *testing.T) {
	spec := fabricated(t, map[string]string{"ctl/shim.tmp/in-the-way": ""})
	for name, text := range map[string]string{ctl.Spec: string(spec.record(nil, cgroup.Group{}, nil).Bytes())} {
		if err := os.WriteFile(filepath.Join(spec.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code := runShim(t, spec); code != 92 {
		t.Errorf("the shim ended with %d", code)
	}
	f, err := newSupervisor(t).Adopt(t.Context(), refOf(t, spec))
	if err != nil || f.Kind != api.FoundUnborn {
		t.Errorf("%+v, %v", f, err)
	}
}

// On a full disk there is no ctl/start. The task runs, and the groom knows.
func TestStartedWithoutARecord(t *testing.T) {
	s, spec := newSupervisor(t), shell(t, "exec sleep 60")
	if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, s, spec)
	e := wantStarted(t, s)
	_ = s.Close()
	if err := os.Remove(filepath.Join(spec.Dir, ctl.Start)); err != nil {
		t.Fatal(err)
	}
	next := newSupervisor(t)
	if f, err := next.Adopt(t.Context(), refOf(t, spec)); err != nil || f.Kind != api.FoundAlive || f.Pid != 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	if again := wantStarted(t, next); again.Pid != e.Pid || !again.At.Equal(e.At) {
		t.Errorf("told %+v, want %+v", again, e)
	}
}
