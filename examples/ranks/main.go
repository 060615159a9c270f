// Ranks shows what a pagerank job computed: the most important vertices by name, how many there are, and the sum of
// all ranks, which must be 1.
//
//	ranks [-top N] -names FILE DIR
//
// DIR holds the job's output (part-*, one "number rank" a line), FILE one "number name" a line.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "ranks:", err)
		os.Exit(1)
	}
}

// tolerance is how far from 1 the sum of all ranks may be.
const tolerance = 1e-9

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("ranks", flag.ContinueOnError)
	top := flags.Int("top", 20, "how many to show")
	namesFile := flags.String("names", "", "file with one \"number name\" a line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || *namesFile == "" {
		return errors.New("want -names FILE and the directory of the output")
	}
	names, err := readNames(*namesFile)
	if err != nil {
		return err
	}
	ranks, err := readParts(flags.Arg(0), names)
	if err != nil {
		return err
	}
	slices.SortFunc(ranks, func(a, b vertex) int { return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.name, b.name)) })
	for i, v := range ranks[:min(max(0, *top), len(ranks))] {
		fmt.Fprintf(out, "%4d  %.9f  %s\n", i+1, v.rank, v.name)
	}
	total := sum(ranks)
	fmt.Fprintf(out, "%d packages; their ranks sum to %.15f\n", len(ranks), total)
	if !(math.Abs(total-1) <= tolerance) { // a NaN is off as well
		return fmt.Errorf("ranks sum to %v, which is off from 1 by more than %v", total, tolerance)
	}
	return nil
}

type vertex struct {
	name string
	rank float64
}

// readNames reads the names by number.
func readNames(path string) (map[int64]string, error) {
	names := map[int64]string{}
	err := eachLine(path, func(id int64, name string) error {
		names[id] = name
		return nil
	})
	return names, err
}

// readParts reads the ranks of every vertex. Each must be there exactly once: a part that is missing, or that is there
// twice, is no result.
func readParts(dir string, names map[int64]string) ([]vertex, error) {
	parts, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil {
		return nil, fmt.Errorf("list parts: %w", err)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("no part-* in %s: has the job succeeded?", dir)
	}
	var ranks []vertex
	seen := make(map[int64]bool, len(names))
	for _, part := range parts {
		err := eachLine(part, func(id int64, text string) error {
			rank, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return fmt.Errorf("rank %q of %d is no number", text, id)
			}
			name, ok := names[id]
			if !ok {
				return fmt.Errorf("vertex %d has no name", id)
			}
			if seen[id] {
				return fmt.Errorf("vertex %d has a rank already", id)
			}
			seen[id] = true
			ranks = append(ranks, vertex{name, rank})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(ranks) != len(names) {
		return nil, fmt.Errorf("%d of %d vertices have a rank", len(ranks), len(names))
	}
	return ranks, nil
}

// eachLine splits lines into a number and the rest.
func eachLine(path string, yield func(id int64, rest string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, rest, _ := strings.Cut(lines.Text(), " ")
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || rest == "" {
			return fmt.Errorf("%s:%d: want a number and a value, found %q", path, n, lines.Text())
		}
		if err := yield(id, rest); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// sum adds with the error of each addition carried along, so that a million small ranks lose nothing.
func sum(ranks []vertex) float64 {
	total, lost := 0.0, 0.0
	for _, v := range ranks {
		next := total + v.rank
		if math.Abs(total) >= math.Abs(v.rank) {
			lost += (total - next) + v.rank
		} else {
			lost += (v.rank - next) + total
		}
		total = next
	}
	return total + lost
}
