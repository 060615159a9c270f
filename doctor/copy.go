package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// errBusy is returned when a journal is written to so often that no copy of it is of one moment.
var errBusy = errors.New("the journal is too busy to be copied")

const (
	logName  = "raft.db"
	copyFor  = 5 * time.Second // of trying
	copyWait = 2 * time.Millisecond
	chunk    = 64 << 20
)

// unneeded are files of a journal that a copy does without.
func unneeded(name string) bool {
	return name == "reserve" || name == "fatal" || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".new")
}

// before are what speaks of the log. They are copied before it, so that they never speak of entries that the copy of the
// log does not have. The archive may then end long before the copy of the log begins only if that many entries, as many
// as stay in the log behind a snapshot, came meanwhile.
var before = []string{"tail", "snapshots", "archive"}

// copyJournal copies a journal, also one that a living process writes to.
func copyJournal(ctx context.Context, from, to string) error {
	for _, name := range before {
		if err := copyTree(ctx, from, to, name); err != nil {
			return err
		}
	}
	if err := copyLog(ctx, filepath.Join(from, logName), filepath.Join(to, logName)); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("copy journal: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); name != logName && !slices.Contains(before, name) && !unneeded(name) {
			if err := copyTree(ctx, from, to, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTree copies files that are written once, under another name first. One that goes away meanwhile is left out.
func copyTree(ctx context.Context, from, to, name string) error {
	err := filepath.WalkDir(filepath.Join(from, name), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir() && unneeded(e.Name()):
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !e.Type().IsRegular() || unneeded(e.Name()):
			return nil
		}
		if err := copyFile(ctx, path, filepath.Join(to, rel)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("copy journal: %w", err)
	}
	return nil
}

// copyLog copies a bbolt file. Its owner never changes a page that the newest meta page leads to: it writes other
// pages, and then the other meta page. So a copy is of one moment, and whole, when the meta pages were the same before
// and after.
func copyLog(ctx context.Context, from, to string) error {
	for deadline := time.Now().Add(copyFor); ; {
		before, err := metas(from)
		if err != nil {
			return fmt.Errorf("copy journal: %w", err)
		}
		if err := copyFile(ctx, from, to); err != nil {
			return fmt.Errorf("copy journal: %w", err)
		}
		after, err := metas(from)
		if err != nil {
			return fmt.Errorf("copy journal: %w", err)
		}
		if bytes.Equal(before, after) {
			return nil
		}
		if time.Now().After(deadline) {
			return errBusy
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("copy journal: %w", ctx.Err())
		case <-time.After(copyWait):
		}
	}
}

// metas reads the two meta pages. Each is as long as a page of the system that made the file, which the first tells
// behind a header of 16 bytes, a magic number and a version.
func metas(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 28)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	size := int64(binary.NativeEndian.Uint32(head[24:]))
	if size < 512 || size > 1<<16 {
		size = int64(os.Getpagesize()) // whoever opens the copy says what is wrong with it
	}
	pages := make([]byte, 2*size)
	n, err := f.ReadAt(pages, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return pages[:n], nil
}

func copyFile(ctx context.Context, from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	for {
		_, err := io.CopyN(dst, src, chunk)
		switch {
		case errors.Is(err, io.EOF):
			return dst.Close()
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
