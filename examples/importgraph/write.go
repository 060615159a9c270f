package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
)

// write makes the three files. Each is complete or not there: a kill leaves a temporary file at most.
func (g *graph) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	files := []struct {
		name  string
		lines func(*bufio.Writer)
	}{
		{"imports.names", func(w *bufio.Writer) {
			for i, name := range g.names {
				fmt.Fprintln(w, i, name)
			}
		}},
		{"imports.e", func(w *bufio.Writer) {
			for from, imports := range g.imports {
				for _, to := range imports {
					fmt.Fprintln(w, from, to)
				}
			}
		}},
		{"imports.v", func(w *bufio.Writer) {
			for i := range g.names {
				fmt.Fprintln(w, i)
			}
		}},
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), f.lines); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

func writeFile(path string, lines func(*bufio.Writer)) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is there any more after the rename
	defer f.Close()
	w := bufio.NewWriter(f)
	lines(w)
	// The writer keeps its first error for Flush.
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
