package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// output writes names and parts, and returns the arguments that show them.
func output(t *testing.T, names string, parts ...string) []string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"names": names, "ranks/.parts": "never read"}
	for i, part := range parts {
		files[fmt.Sprintf("ranks/part-%05d", i)] = part
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"-names", filepath.Join(dir, "names"), filepath.Join(dir, "ranks")}
}

func TestRanks(t *testing.T) {
	args := output(t, "0 os\n1 fmt\n2 io\n3 net/http\n", "2 0.5\n0 0.125\n", "1 0.25\n3 1.25e-1\n")
	var out bytes.Buffer
	if err := run(append([]string{"-top", "3"}, args...), &out); err != nil {
		t.Fatal(err)
	}
	const want = `   1  0.500000000  io
   2  0.250000000  fmt
   3  0.125000000  net/http
4 packages; their ranks sum to 1.000000000000000
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := run(args, &out); err != nil || strings.Count(out.String(), "\n") != 5 {
		t.Errorf("%v: all of them are fewer than twenty:\n%s", err, out.String())
	}
}

func TestResultsThatAreNone(t *testing.T) {
	const names = "0 a\n1 b\n"
	for _, c := range []struct {
		name, names string
		parts       []string
		want        string
	}{
		{"the sum is off", names, []string{"0 0.5\n", "1 0.50000001\n"}, "off from 1"},
		{"no number", names, []string{"0 NaN\n", "1 0.5\n"}, "off from 1"},
		{"no part", names, nil, "has the job succeeded?"},
		{"a part is missing", names, []string{"0 1\n"}, "1 of 2 vertices have a rank"},
		{"a vertex twice", names, []string{"0 0.5\n", "0 0.5\n"}, "part-00001:1: vertex 0 has a rank already"},
		{"a vertex without a name", names, []string{"0 0.5\n2 0.5\n"}, "part-00000:2: vertex 2 has no name"},
		{"a line cut short", names, []string{"0 0.5\n1"}, "part-00000:2: want a number and a value"},
		{"a rank that is none", names, []string{"0 half\n"}, `part-00000:1: rank "half" of 0 is no number`},
		{"names that are none", "a 0\n", []string{"0 1\n"}, "names:1: want a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := run(output(t, c.names, c.parts...), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	for _, args := range [][]string{{}, {"-names", "x"}, {"-names", "/nowhere", "/nowhere"}, {"-x"}} {
		if err := run(args, new(bytes.Buffer)); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// A million ranks of very different size add up to the last digit.
func TestSum(t *testing.T) {
	const n = 1_000_000
	ranks := []vertex{{rank: 0.5}}
	for range n {
		ranks = append(ranks, vertex{rank: 0.5 / n})
	}
	if got := sum(ranks); math.Abs(got-1) > 1e-15 {
		t.Errorf("sum %v", got)
	}
	if got := sum([]vertex{{rank: 1e-30}, {rank: 1}, {rank: -1}}); got != 1e-30 {
		t.Errorf("sum %v", got)
	}
}
