package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"groom/api"
	"groom/supervisor/ctl"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// attempt is a directory as a shim keeps it.
type attempt struct {
	t    *testing.T
	dir  string
	lock int
}

// living is an attempt whose lock is held.
func living(t *testing.T) *attempt {
	t.Helper()
	a := &attempt{t: t, dir: t.TempDir(), lock: -1}
	for _, dir := range []string{ctl.Dir, ctl.Log} {
		if err := os.Mkdir(filepath.Join(a.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := ctl.TakeLock(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	a.lock = fd
	t.Cleanup(a.die)
	return a
}

// die lets go of the lock: without an exit record the shim was killed.
func (a *attempt) die() {
	if a.lock >= 0 {
		_ = unix.Close(a.lock)
		a.lock = -1
	}
}

// end writes an exit record that counts the bytes of stdout.
func (a *attempt) end(stdout int64) {
	a.t.Helper()
	text := fmt.Sprintf("v=1\nstatus=0\nstdout=%d\nstderr=0\n", stdout)
	a.write(ctl.Exit, fmt.Appendf([]byte(text), "sum=%016x\n", ctl.Sum([]byte(text))))
	a.die()
}

func (a *attempt) write(name string, data []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// log writes the file whose first byte stands at the offset.
func (a *attempt) log(offset int64, data string) {
	a.t.Helper()
	a.write(fmt.Sprintf("log/stdout.%020d", offset), []byte(data))
}

func (a *attempt) append(offset int64, data string) {
	a.t.Helper()
	f, err := os.OpenFile(filepath.Join(a.dir, fmt.Sprintf("log/stdout.%020d", offset)), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(data); err != nil {
		a.t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	chunk := func(offset, gap int64, data string) api.LogChunk {
		return api.LogChunk{Stream: Stdout, Offset: offset, Gap: gap, Data: []byte(data)}
	}
	nothing := func(offset int64) api.LogChunk { return api.LogChunk{Stream: Stdout, Offset: offset} }
	over := func(offset, gap int64) api.LogChunk {
		return api.LogChunk{Stream: Stdout, Offset: offset, Gap: gap, End: true}
	}
	for _, c := range []struct {
		name   string
		make   func(a *attempt)
		offset int64
		limit  int
		want   api.LogChunk
	}{
		{"from the start", func(a *attempt) { a.log(0, "hello") }, 0, 10, chunk(0, 0, "hello")},
		{"at most the limit", func(a *attempt) { a.log(0, "hello") }, 1, 3, chunk(1, 0, "ell")},
		{"one file at a time", func(a *attempt) { a.log(0, "hello"); a.log(5, "world") }, 3, 10, chunk(3, 0, "lo")},
		{"the next file goes on", func(a *attempt) { a.log(0, "hello"); a.log(5, "world") }, 5, 10, chunk(5, 0, "world")},
		{"rotated away is a gap", func(a *attempt) { a.log(100, "world") }, 0, 10, chunk(100, 100, "world")},
		{"dropped in the middle is a gap", func(a *attempt) { a.log(0, "hello"); a.log(9, "world") }, 5, 10, chunk(9, 4, "world")},
		{"inside a gap", func(a *attempt) { a.log(0, "hello"); a.log(9, "world") }, 7, 10, chunk(9, 2, "world")},
		{"an empty file is passed over", func(a *attempt) { a.log(0, ""); a.log(7, "x") }, 0, 10, chunk(7, 7, "x")},
		{"nothing yet", func(*attempt) {}, 0, 10, nothing(0)},
		{"nothing more yet", func(a *attempt) { a.log(0, "hello") }, 5, 10, nothing(5)},
		{"beyond what there is", func(a *attempt) { a.log(0, "hello") }, 50, 10, nothing(50)},
		{"the last bytes", func(a *attempt) { a.log(0, "hello") }, -2, 10, chunk(3, 0, "lo")},
		{"more last bytes than there are", func(a *attempt) { a.log(0, "hello") }, -99, 10, chunk(0, 0, "hello")},
		{"the last bytes over two files", func(a *attempt) { a.log(0, "hello"); a.log(5, "world") }, -7, 10, chunk(3, 0, "lo")},
		{"the end", func(a *attempt) { a.log(0, "hello"); a.end(5) }, 5, 10, over(5, 0)},
		{"data before the end", func(a *attempt) { a.log(0, "hello"); a.end(5) }, 0, 10, chunk(0, 0, "hello")},
		{"the end dropped its last bytes", func(a *attempt) { a.log(0, "hello"); a.end(8) }, 5, 10, over(8, 3)},
		{"the end wrote nothing", func(a *attempt) { a.end(0) }, 0, 10, over(0, 0)},
		{"the last bytes of which some were dropped", func(a *attempt) { a.log(0, "hello"); a.end(8) }, -4, 10, chunk(4, 0, "o")},
		{"the end of a killed shim", func(a *attempt) { a.log(0, "hello"); a.die() }, 5, 10, over(5, 0)},
		{"torn exit record, shim gone", func(a *attempt) { a.write(ctl.Exit, []byte("v=1\nsta")); a.die() }, 0, 10, over(0, 0)},
		{"torn exit record, shim alive", func(a *attempt) { a.write(ctl.Exit, []byte("v=1\nsta")) }, 0, 10, nothing(0)},
		{"the lock is not made yet", func(a *attempt) {
			a.die()
			if err := os.Remove(filepath.Join(a.dir, ctl.Lock)); err != nil {
				a.t.Fatal(err)
			}
		}, 0, 10, nothing(0)},
		{"torn offsets are no log files", func(a *attempt) {
			for _, name := range []string{"stdout.", "stdout.x", "stdout.-1", "stdout.1e3", "stdout.0 ", "stdout", "stdout.99999999999999999999", "stderr.0"} {
				a.write("log/"+name, []byte("no"))
			}
			if err := os.Mkdir(filepath.Join(a.dir, "log/stdout.3"), 0o700); err != nil {
				a.t.Fatal(err)
			}
			if err := os.Symlink("stderr.0", filepath.Join(a.dir, "log/stdout.4")); err != nil {
				a.t.Fatal(err)
			}
			a.log(5, "yes")
		}, 0, 10, chunk(5, 5, "yes")},
		{"binary bytes", func(a *attempt) { a.log(0, "\x00\xff\r\n\x1b[0m\xc3") }, 0, 99, chunk(0, 0, "\x00\xff\r\n\x1b[0m\xc3")},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := living(t)
			c.make(a)
			got, err := Read(a.dir, Stdout, c.offset, c.limit)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSize(t *testing.T) {
	a := living(t)
	if n, err := Size(a.dir, Stdout); n != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", n, err)
	}
	a.log(100, "hello")
	a.log(300, "world")
	if n, err := Size(a.dir, Stdout); n != 305 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestWrongStreamOrDirectory(t *testing.T) {
	a := living(t)
	for _, stream := range []string{"", "stdin", "../ctl/exit"} {
		if _, err := Read(a.dir, stream, 0, 1); !errors.Is(err, ErrStream) {
			t.Errorf("%q: %v", stream, err)
		}
	}
	for _, err := range Follow(t.Context(), filepath.Join(a.dir, "none"), Stdout, 0, 1) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no directory: %v", err)
		}
	}
}

// A reader in pieces of any size gets the stream as it was written, whatever the cuts between the files.
func TestAnyCutsGiveTheSameBytes(t *testing.T) {
	for range 50 {
		a := living(t)
		var whole []byte
		for range 1 + rand.IntN(6) {
			part := bytes.Repeat([]byte{byte(rand.IntN(256))}, rand.IntN(200<<10))
			a.log(int64(len(whole)), string(part))
			whole = append(whole, part...)
		}
		a.end(int64(len(whole)))
		from, limit := rand.IntN(len(whole)+1), 1000+rand.IntN(100<<10)
		var got []byte
		ended := false
		for c, err := range Follow(t.Context(), a.dir, Stdout, int64(from), limit) {
			if err != nil || c.Gap != 0 || len(c.Data) > limit || c.Offset != int64(from+len(got)) {
				t.Fatalf("offset %d, gap %d, %d bytes, %v", c.Offset, c.Gap, len(c.Data), err)
			}
			got, ended = append(got, c.Data...), c.End
		}
		if !ended || !bytes.Equal(got, whole[from:]) {
			t.Fatalf("from %d by %d: got %d bytes of %d, end %v", from, limit, len(got), len(whole)-from, ended)
		}
	}
}

func TestFollowUntilTheEnd(t *testing.T) {
	a := living(t)
	line := strings.Repeat("x", 100<<10) + "\n" // longer than any buffer on its way
	a.log(0, "first\n")
	var got strings.Builder
	var gap int64
	step := 0
	for c, err := range Follow(t.Context(), a.dir, Stdout, 0, 64<<10) {
		if err != nil {
			t.Fatal(err)
		}
		got.Write(c.Data)
		gap += c.Gap
		// Each step is taken when the one before was seen.
		switch {
		case step == 0 && got.Len() == len("first\n"):
			a.append(0, "second\n")
			step++
		case step == 1 && strings.HasSuffix(got.String(), "second\n"):
			a.log(13, line)
			step++
		case step == 2 && strings.HasSuffix(got.String(), line):
			a.log(13+int64(len(line))+50, "after a gap\n") // 50 bytes were dropped
			a.end(13 + int64(len(line)) + 50 + 12 + 7)     // and the last 7
			step++
		}
		if c.End && step != 3 {
			t.Fatalf("end after step %d", step)
		}
	}
	if want := "first\nsecond\n" + line + "after a gap\n"; got.String() != want || gap != 57 {
		t.Errorf("%d bytes, want %d; gap %d", got.Len(), len(want), gap)
	}
}

func TestFollowEndsWithItsReader(t *testing.T) {
	a := living(t)
	a.log(0, "hello")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for c, err := range Follow(ctx, a.dir, Stdout, 0, 10) {
		if err != nil || string(c.Data) != "hello" {
			t.Fatalf("%+v, %v", c, err)
		}
		cancel()
	}
	for range Follow(t.Context(), a.dir, Stdout, 0, 10) {
		break
	}
}

// A file that rotation takes away between the listing and the reading is a gap, and no error.
func TestReadWhileRotated(t *testing.T) {
	a := living(t)
	const size, keep, files = 64, 3, 400
	done := make(chan error, 1)
	go func() {
		for i := range int64(files) {
			path := func(n int64) string { return filepath.Join(a.dir, fmt.Sprintf("log/stdout.%020d", n*size)) }
			if i >= keep {
				_ = os.Remove(path(i - keep))
			}
			if err := os.WriteFile(path(i), bytes.Repeat([]byte{byte(i)}, size), 0o600); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var offset int64
	for deadline := time.Now().Add(20 * time.Second); offset < files*size; {
		c, err := Read(a.dir, Stdout, offset, 1000)
		if err != nil || c.Offset-c.Gap != offset {
			t.Fatalf("at %d: %+v, %v", offset, c, err)
		}
		for i, b := range c.Data {
			if at := c.Offset + int64(i); b != byte(at/size) {
				t.Fatalf("byte %d of the stream is %d, want %d", at, b, byte(at/size))
			}
		}
		offset = c.Offset + int64(len(c.Data))
		if time.Now().After(deadline) {
			t.Fatalf("at %d of %d", offset, files*size)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
