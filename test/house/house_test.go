// Package house holds the tree to the rules of CONTRIBUTING.md that a machine can check.
package house

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	Dir, ImportPath, Doc string
	GoFiles, Imports     []string
	TestGoFiles          []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,Doc,GoFiles,TestGoFiles,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// borders says what a package may import of groom; the others are free to.
var borders = map[string][]string{
	"groom/api":               {},
	"groom/clock":             {"groom/api"},
	"groom/fault":             {},
	"groom/fsm/table":         {"groom/api"},
	"groom/fsm":               {"groom/api", "groom/fsm/table"},
	"groom/fsm/cluster":       {"groom/api", "groom/fsm/table"},
	"groom/journal":           {"groom/fault"},
	"groom/notify":            {},
	"groom/replay":            {"groom/api", "groom/fsm", "groom/fsm/cluster", "groom/fsm/table", "groom/journal", "groom/story"},
	"groom/supervisor":        {"groom/api", "groom/fault", "groom/supervisor/cgroup", "groom/supervisor/ctl", "groom/supervisor/logs", "groom/supervisor/shim"},
	"groom/supervisor/shim":   {},
	"groom/supervisor/cgroup": {},
	"groom/bsp":               {"groom/api", "groom/bsp/frame", "groom/wire"},
	"groom/web":               {"groom/api", "groom/wire"},
	"groom/wire":              {"groom/api"},
	"groom/master": {
		"groom/api", "groom/clock", "groom/fault", "groom/fsm/cluster", "groom/fsm/table", "groom/job", "groom/journal", "groom/server/home",
		"groom/story", "groom/wire",
	},
	"groom/doctor": {
		"groom/api", "groom/clock", "groom/fsm", "groom/fsm/cluster", "groom/fsm/table", "groom/journal", "groom/server/disk",
		"groom/server/home", "groom/supervisor", "groom/supervisor/ctl",
	},
}

// Arrows run one way.
func TestBorders(t *testing.T) {
	found := map[string]bool{}
	for _, p := range packages(t) {
		allowed, bounded := borders[p.ImportPath]
		found[p.ImportPath] = true
		for _, i := range p.Imports {
			if bounded && strings.HasPrefix(i, "groom/") && !slices.Contains(allowed, i) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
			if i == "net/http" && (strings.HasPrefix(p.ImportPath, "groom/supervisor") || strings.HasPrefix(p.ImportPath, "groom/fsm")) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
	for path := range borders {
		if !found[path] {
			t.Errorf("%s is bounded, and is not there", path)
		}
	}
}

// Each package says once what it is.
func TestPackagesAreDescribed(t *testing.T) {
	for _, p := range packages(t) {
		var comments int
		for _, f := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil {
				comments++
			}
		}
		if len(p.GoFiles) > 0 && comments != 1 {
			t.Errorf("%s has %d package comments, want 1", p.ImportPath, comments)
		}
	}
}

// A file is one idea.
func TestFilesAreSmall(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(b, []byte("\n")); n > 500 {
				t.Errorf("%s/%s has %d lines", p.ImportPath, f, n)
			}
		}
	}
}

// What has to be built from the module path cannot be replaced, and nothing is left for later without a word.
func TestNoLooseEnds(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^(replace|exclude) `).Match(mod) {
		t.Error("go.mod replaces or excludes a module: go install would refuse it")
	}
	marks := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	skips := regexp.MustCompile(`\bt\.Skip(f|Now)?\(`)
	for _, p := range packages(t) {
		for _, f := range append(p.GoFiles, p.TestGoFiles...) {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if marks.Match(b) || skips.Match(b) {
				t.Errorf("%s/%s has an unfinished mark, or skips a test", p.ImportPath, f)
			}
		}
	}
}
