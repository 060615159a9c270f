// Package logs reads what an attempt wrote, from the files that its shim keeps. Offsets count the bytes that the task
// wrote, across rotations; what is not kept any more, or could not be written, is told as a gap.
//
// It reads files only: it makes no difference whether the attempt lives, or which process started it.
package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"groom/api"
	"groom/supervisor/ctl"
)

// The streams of an attempt.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// While there is nothing new the pause between two looks grows. Nobody looks when nobody reads.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// ErrStream is returned when a stream is neither stdout nor stderr.
var ErrStream = errors.New("no such stream")

// file is one log file: where its first byte stands in the stream, and how much it holds.
type file struct {
	path  string
	start int64
	size  int64
}

func (f file) end() int64 { return f.start + f.size }

// list is every file of a stream, by offset. Files may go while they are listed.
func list(dir, stream string) ([]file, error) {
	if stream != Stdout && stream != Stderr {
		return nil, fmt.Errorf("%w: %q", ErrStream, stream)
	}
	entries, err := os.ReadDir(filepath.Join(dir, ctl.Log))
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	var files []file
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), stream+".")
		if !ok || !e.Type().IsRegular() {
			continue
		}
		start, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || start < 0 {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list logs: %w", err)
		}
		files = append(files, file{path: filepath.Join(dir, ctl.Log, e.Name()), start: start, size: info.Size()})
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.start, b.start) })
	return files, nil
}

// Size is the offset of the next byte that a file would hold.
func Size(dir, stream string) (int64, error) {
	files, err := list(dir, stream)
	if err != nil || len(files) == 0 {
		return 0, err
	}
	return files[len(files)-1].end(), nil
}

// Read returns at most limit bytes from the offset on. When they are not kept it goes on at the next that are, and
// says how many lie between; a negative offset counts from the end. A chunk without data is the end of what there is
// for now, or, with End set, for ever.
func Read(dir, stream string, offset int64, limit int) (api.LogChunk, error) {
	// First whether it has ended, then the data: what is read after the end is all there will be.
	end, over, err := ended(dir, stream)
	if err != nil {
		return api.LogChunk{}, err
	}
	files, err := list(dir, stream)
	if err != nil {
		return api.LogChunk{}, err
	}
	if offset < 0 {
		size := end
		if len(files) > 0 {
			size = max(size, files[len(files)-1].end())
		}
		offset = max(size+offset, 0)
	}
	c := api.LogChunk{Stream: stream, Offset: offset}
	for _, f := range files {
		if f.end() <= offset || f.size == 0 {
			continue
		}
		c.Offset = max(offset, f.start)
		c.Gap = c.Offset - offset
		c.Data, err = readAt(f.path, c.Offset-f.start, min(int64(limit), f.end()-c.Offset))
		if errors.Is(err, fs.ErrNotExist) { // rotated away since it was listed
			c = api.LogChunk{Stream: stream, Offset: offset}
			continue
		}
		if err != nil {
			return api.LogChunk{}, err
		}
		return c, nil
	}
	if over {
		c.End = true
		if end > offset { // the last bytes could not be written
			c.Offset, c.Gap = end, end-offset
		}
	}
	return c, nil
}

func readAt(path string, at, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	b := make([]byte, n)
	got, err := f.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return b[:got], nil
}

// ended says whether the attempt writes no more, and how much it wrote when that is known.
func ended(dir, stream string) (length int64, over bool, err error) {
	r, err := ctl.ReadExit(dir)
	if err == nil {
		return r.Int(stream), true, nil
	}
	held, err := ctl.Held(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil // not started yet
	}
	if err != nil {
		return 0, false, err
	}
	return 0, !held, nil
}

// Follow yields the stream from the offset on, and waits for more until the attempt has ended or ctx is done. The last
// chunk has End set.
func Follow(ctx context.Context, dir, stream string, offset int64, limit int) iter.Seq2[api.LogChunk, error] {
	return func(yield func(api.LogChunk, error) bool) {
		timer := time.NewTimer(0)
		defer timer.Stop()
		d := firstPause
		for ctx.Err() == nil {
			c, err := Read(dir, stream, offset, limit)
			if err != nil {
				yield(c, err)
				return
			}
			offset = c.Offset + int64(len(c.Data))
			if len(c.Data) > 0 || c.End {
				if !yield(c, nil) || c.End {
					return
				}
				d = firstPause
				continue
			}
			timer.Reset(d)
			d = min(d*2, lastPause)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
	}
}
