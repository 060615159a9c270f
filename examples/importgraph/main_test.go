package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// source makes a tree of files; each has the imports that its line names.
func sourceTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, imports := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text := imports
		if !strings.Contains(imports, "package") {
			text = "package x\n"
			for _, path := range strings.Fields(imports) {
				text += "import \"" + path + "\"\n"
			}
			text += "func f() { is not read"
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGraph(t *testing.T) {
	std := sourceTree(t, map[string]string{
		"fmt/print.go":              "io os unsafe",
		"fmt/scan.go":               "io",
		"fmt/fmt_test.go":           "testing",
		"io/io.go":                  "",
		"io/testdata/x.go":          "never",
		"vendor/golang.org/x/a.go":  "never",
		"_old/x.go":                 "never",
		".hidden/x.go":              "never",
		"os/file.go":                "io C ./local os",
		"os/broken.go":              "no package here",
		"os/notes.txt":              "never",
		"os/linux.go":               "package os\nimport renamed \"io/fs\"\nimport _ \"embed\"\n",
		"cmd/go/main.go":            "fmt",
		"io/fs/_skipped/deep/x.go":  "never",
		"os/vendor/deep/deeper.go":  "never",
		"os/testdata/deep/broke.go": "nothing",
	})
	cache := sourceTree(t, map[string]string{
		"cache/download/x.go":                               "never",
		"golang.org/toolchain@v0.0.1-go1.26/src/fmt/f.go":   "never",
		"github.com/!burnt!sushi/toml@v1.5.0/a.go":          "fmt io",
		"github.com/!burnt!sushi/toml@v1.4.0/a.go":          "fmt os",
		"github.com/!burnt!sushi/toml@v1.5.0/internal/t.go": "github.com/BurntSushi/toml",
	})
	dir := filepath.Join(t.TempDir(), "new", "graph")
	var out bytes.Buffer
	if err := run([]string{"-o", dir, "-roots", std + string(filepath.ListSeparator) + cache}, &out); err != nil {
		t.Fatal(err)
	}
	const names = `0 cmd/go
1 embed
2 fmt
3 github.com/BurntSushi/toml
4 github.com/BurntSushi/toml/internal
5 io
6 io/fs
7 os
8 unsafe
`
	if diff := cmp.Diff(names, read(t, dir, "imports.names")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("0\n1\n2\n3\n4\n5\n6\n7\n8\n", read(t, dir, "imports.v")); diff != "" {
		t.Errorf("vertices (-want +got):\n%s", diff)
	}
	const edges = "0 2\n2 5\n2 7\n2 8\n3 2\n3 5\n3 7\n4 3\n7 1\n7 5\n7 6\n"
	if diff := cmp.Diff(edges, read(t, dir, "imports.e")); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if got := out.String(); !strings.HasPrefix(got, "9 packages, 11 imports between them, from 10 files in ") || !strings.Contains(got, "1 files did not parse") {
		t.Errorf("said %q", got)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("%v: %v", files, err)
	}
}

// The same source gives the same bytes, whichever worker reads what.
func TestGraphIsDeterministic(t *testing.T) {
	files := map[string]string{}
	for _, a := range "abcdefgh" {
		for _, b := range "abcdefgh" {
			files[string(a)+"/"+string(b)+"/x.go"] = "a/a " + string(b) + "/" + string(a) + " fmt"
		}
	}
	root := sourceTree(t, files)
	var first string
	for range 5 {
		dir := t.TempDir()
		if err := run([]string{"-o", dir, "-roots", root}, new(bytes.Buffer)); err != nil {
			t.Fatal(err)
		}
		got := read(t, dir, "imports.v") + read(t, dir, "imports.e") + read(t, dir, "imports.names")
		if first == "" {
			first = got
		}
		if got != first {
			t.Fatal("two runs differ")
		}
	}
}

// The source of Go itself is there wherever this test runs.
func TestGoItself(t *testing.T) {
	roots, err := goRoots()
	if err != nil {
		t.Fatal(err)
	}
	g, err := scan(roots[:1])
	if err != nil {
		t.Fatal(err)
	}
	if len(g.names) < 200 || g.edges() < 1000 {
		t.Errorf("%d packages with %d imports", len(g.names), g.edges())
	}
}

func TestErrors(t *testing.T) {
	full := sourceTree(t, map[string]string{"a/a.go": "fmt"})
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a root that is not there", []string{"-roots", "/nowhere"}, "no such file"},
		{"no source", []string{"-roots", t.TempDir()}, "no Go source below"},
		{"an output that is a file", []string{"-roots", full, "-o", filepath.Join(full, "a/a.go")}, "make output directory"},
		{"an unknown flag", []string{"-x"}, "not defined"},
	} {
		if err := run(c.args, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestImportPath(t *testing.T) {
	for rel, want := range map[string]string{
		"fmt":                                      "fmt",
		"net/http/internal":                        "net/http/internal",
		"go.yaml.in/yaml/v3@v3.0.6":                "go.yaml.in/yaml/v3",
		"github.com/!azure/go!x@v1.0.0/!a/b":       "github.com/Azure/goX/A/b",
		"gopkg.in/x.v1@v1.0.0-2026+incompatible/y": "gopkg.in/x.v1/y",
	} {
		if got := importPath(rel); got != want {
			t.Errorf("%s: got %s, want %s", rel, got, want)
		}
	}
}
