// Bench measures the figures that groom is held to, each beside what it is compared with, in one run on one machine.
// It prints a table; see docs/benchmarks.md. `make bench` builds what it needs and runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// row is one line of the table.
type row struct {
	what, goal, got, beside string
	met                     bool
}

// part is a set of rows that are measured together.
type part struct {
	name string
	run  func(dir string) ([]row, error)
}

func main() {
	bin := flag.String("bin", "bin", "directory of the built binaries")
	dir := flag.String("dir", "build/bench", "directory for what is measured; on the disk that matters")
	idle := flag.Duration("idle", time.Minute, "how long an idle groom is looked at")
	only := flag.String("only", "", "measure this part alone: journal, open, tasks, idle, thousand or million")
	entries := flag.Uint64("entries", 1_000_000, "length of the long history")
	flag.Parse()
	parts := []part{
		{"journal", journalRows},
		{"open", openRows},
		{"tasks", func(dir string) ([]row, error) { return contestRows(*bin, dir) }},
		{"idle", func(dir string) ([]row, error) { return idleRows(*bin, dir, *idle) }},
		{"million", func(dir string) ([]row, error) { return millionRows(*bin, dir, *entries) }},
		{"thousand", func(dir string) ([]row, error) { return thousandRows(*bin, dir) }},
	}
	if err := run(parts, *dir, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(parts []part, dir, only string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	var rows []row
	for _, p := range parts {
		if only != "" && only != p.name {
			continue
		}
		own := filepath.Join(dir, p.name)
		if err := os.MkdirAll(own, 0o700); err != nil {
			return err
		}
		more, err := p.run(own)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		rows = append(rows, more...)
	}
	if err := print(rows); err != nil {
		return err
	}
	return os.RemoveAll(dir) // what failed is left to be looked at
}

func print(rows []row) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tGOAL\tMEASURED\t\tBESIDE IT, IN THIS RUN")
	for _, r := range rows {
		mark := "met"
		switch {
		case r.goal == "":
			mark = ""
		case !r.met:
			mark = "NOT met"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.what, r.goal, r.got, mark, r.beside)
	}
	return w.Flush()
}

func median[T int64 | float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
