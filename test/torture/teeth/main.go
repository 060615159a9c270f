// Teeth shows that the torture can fail. For each protection of the product there is a build, by a tag, that leaves it
// out; the torture must find out within a number of cycles, and by an invariant that the protection is there for.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tooth is a protection that is left out.
type tooth struct {
	tag        string
	without    string
	invariants []int // at least one of which breaks
	limit      int   // cycles within which it does
	args       []string
}

var teeth = []tooth{
	{"tooth_claim", "the claim", []int{2, 4}, 40, []string{"-only", "newborn", "-power", "none"}},
	// With a control group a shim that is late finds none to start its task in: the lock has to be seen without.
	{"tooth_lock", "the lock before the fork", []int{2, 4}, 120, []string{"-only", "newborn", "-power", "none", "-groups", "none"}},
	{"tooth_intent", "the intent entry before the process", []int{2, 3}, 40, []string{"-power", "none"}},
	{"tooth_sync", "the sync of the exit record", []int{4}, 60, []string{"-only", "power", "-power", "all"}},
	{"tooth_dedupe", "the dedupe window of submissions", []int{1}, 40, []string{"-power", "none"}},
}

// patience bounds the torture of one build.
const patience = 3 * time.Minute

func main() {
	bin := flag.String("bin", "build/torture", "directory of torture, pi and task")
	dir := flag.String("dir", "build/teeth", "directory for the builds")
	seed := flag.Uint64("seed", 1, "seed of the plans")
	only := flag.String("only", "", "try this tag alone")
	flag.Parse()
	ok := true
	for _, t := range teeth {
		if *only != "" && *only != t.tag {
			continue
		}
		began := time.Now()
		words, err := t.try(*bin, filepath.Join(*dir, t.tag), *seed)
		if err != nil {
			ok, words = false, "NOT caught: "+err.Error()
		}
		fmt.Printf("without %s: %s (%s, limit %d cycles, %s)\n", t.without, words, t.tag, t.limit, time.Since(began).Round(time.Second))
	}
	if !ok {
		os.Exit(1)
	}
}

// roundOf is how many cycles go by until the torture judges.
const roundOf = 10

func (t tooth) try(bin, dir string, seed uint64) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-tags", t.tag, "-o", filepath.Join(dir, "groom"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	for _, name := range []string{"pi", "task"} {
		b, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			return "", err
		}
	}
	left, err := os.MkdirTemp("", "teeth")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(left)
	args := append([]string{
		"-bin", dir, "-dir", left, "-n", strconv.Itoa(t.limit), "-round", strconv.Itoa(roundOf), "-seed", strconv.FormatUint(seed, 10),
	}, t.args...)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "torture"), args...)
	// The torture ends what it started before it ends itself, also when it is told to hurry.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", fmt.Errorf("%s", last(out))
	}
	return t.caught(string(out))
}

var (
	cyclesIn = regexp.MustCompile(`torture: cycles (\d+),`)
	brokenIn = regexp.MustCompile(`\b(\d+):([1-9]\d*)\b`)
)

// caught reads the last line of a torture that failed, and says whether it failed for the reason that it should.
func (t tooth) caught(out string) (string, error) {
	line := last([]byte(out))
	cycles := cyclesIn.FindStringSubmatch(line)
	_, counts, ok := strings.Cut(line, "violations ")
	if cycles == nil || !ok {
		return "", fmt.Errorf("the torture itself failed: %s", out)
	}
	var broken []string
	right := false
	for _, m := range brokenIn.FindAllStringSubmatch(counts, -1) {
		n, _ := strconv.Atoi(m[1])
		right = right || slices.Contains(t.invariants, n)
		broken = append(broken, m[1])
	}
	if !right {
		return "", fmt.Errorf("invariants %v broke, and not one of %v", broken, t.invariants)
	}
	return fmt.Sprintf("caught within %s cycles, by invariants %s", cycles[1], strings.Join(broken, ", ")), nil
}

func last(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
