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

func main() {
	bin := flag.String("bin", "bin", "directory of the built binaries")
	dir := flag.String("dir", "build/bench", "directory for what is measured; on the disk that matters")
	idle := flag.Duration("idle", time.Minute, "how long an idle groom is looked at")
	flag.Parse()
	if err := run(*bin, *dir, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(bin, dir string, idle time.Duration) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var rows []row
	for _, part := range []func() ([]row, error){
		func() ([]row, error) { return journalRows(dir) },
		func() ([]row, error) { return openRows(dir) },
		func() ([]row, error) { return agentRows(bin, dir, idle) },
	} {
		more, err := part()
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	return print(rows)
}

func print(rows []row) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tGOAL\tMEASURED\t\tBESIDE IT, IN THIS RUN")
	for _, r := range rows {
		mark := "met"
		if !r.met {
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
