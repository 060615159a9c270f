package faults

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page about failures names tests that exist, each where it says, and all tests of this package that break
// something.
func TestPageOfFailures(t *testing.T) {
	page, err := os.ReadFile("../../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	where := map[string]string{} // of each test, its package
	defined := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	err = filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range defined.FindAllSubmatch(b, -1) {
			where[string(m[1])] += " " + strings.TrimPrefix(filepath.Dir(path), "../../")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range regexp.MustCompile("`(Test\\w+)`(?: \\(`([^`]+)`\\))?").FindAllStringSubmatch(string(page), -1) {
		name, dir := m[1], m[2]
		if dir == "" {
			dir = "test/faults"
		}
		named = append(named, name)
		if !slices.Contains(strings.Fields(where[name]), dir) {
			t.Errorf("%s is named, and is not in %s", name, dir)
		}
	}
	for name, dirs := range where {
		about := name == "TestPageOfFailures" || name == "TestEveryPointIsReached"
		if slices.Contains(strings.Fields(dirs), "test/faults") && !about && !slices.Contains(named, name) {
			t.Errorf("%s is not named", name)
		}
	}
}
