package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// graph is packages by number, in the order of their import paths, with the numbers of those that each imports.
type graph struct {
	names   []string
	imports [][]int
	files   int // read
	broken  int // of them did not parse
}

func (g *graph) edges() int {
	n := 0
	for _, to := range g.imports {
		n += len(to)
	}
	return n
}

// source is one file with the import path of its package.
type source struct{ pkg, path string }

// scan reads the import statements below the roots, as many files at a time as there are processors. Which worker
// reads which file does not matter: sets are merged, and sorted at the end.
func scan(roots []string) (*graph, error) {
	var sources []source
	for _, root := range roots {
		more, err := find(root)
		if err != nil {
			return nil, fmt.Errorf("walk %s: %w", root, err)
		}
		sources = append(sources, more...)
	}
	workers := make([]worker, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			workers[i].found = map[string]map[string]bool{}
			for j := i; j < len(sources); j += len(workers) {
				workers[i].read(sources[j])
			}
		})
	}
	all.Wait()
	found, broken := map[string]map[string]bool{}, 0
	for _, w := range workers {
		broken += w.broken
		for pkg, imports := range w.found {
			if found[pkg] == nil {
				found[pkg] = map[string]bool{}
			}
			maps.Copy(found[pkg], imports)
		}
	}
	g := number(found)
	g.files, g.broken = len(sources), broken
	return g, nil
}

// find lists the source files below a root. Tests are left out, since nobody imports them, and so are directories
// that the go command does not look into: testdata, and names that begin with "." or "_". Vendored copies are the
// same packages under the same import paths, and the toolchains in a module cache are Go itself once more.
func find(root string) ([]source, error) {
	var sources []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_') {
				return filepath.SkipDir
			}
			if strings.HasPrefix(name, "toolchain@") || filepath.Dir(path) == root && name == "cache" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		sources = append(sources, source{importPath(filepath.ToSlash(rel)), path})
		return nil
	})
	return sources, err
}

// importPath is the import path of a directory below a root. In a module cache the version is part of the path
// ("github.com/!burnt!sushi/toml@v1.5.0/internal"), and "!b" stands for "B". Versions of a module are one package here.
func importPath(rel string) string {
	var b strings.Builder
	for i, part := range strings.Split(rel, "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		part, _, _ = strings.Cut(part, "@")
		upper := false
		for _, r := range part {
			switch {
			case r == '!':
				upper = true
			case upper:
				b.WriteString(strings.ToUpper(string(r)))
				upper = false
			default:
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}

// worker is what one goroutine finds.
type worker struct {
	found  map[string]map[string]bool // imports by package
	broken int
}

func (w *worker) read(s source) {
	f, err := parser.ParseFile(token.NewFileSet(), s.path, nil, parser.ImportsOnly|parser.SkipObjectResolution)
	if err != nil {
		w.broken++
		return
	}
	if w.found[s.pkg] == nil {
		w.found[s.pkg] = map[string]bool{}
	}
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		// "C" is no package, and a path that begins with a dot names a directory.
		if err != nil || path == "C" || path == s.pkg || strings.HasPrefix(path, ".") {
			continue
		}
		w.found[s.pkg][path] = true
	}
}

// number gives every package that stands somewhere, as importer or as imported, its number.
func number(found map[string]map[string]bool) *graph {
	all := map[string]bool{}
	for pkg, imports := range found {
		all[pkg] = true
		maps.Copy(all, imports)
	}
	g := &graph{names: slices.Sorted(maps.Keys(all))}
	numbers := make(map[string]int, len(g.names))
	for i, name := range g.names {
		numbers[name] = i
	}
	g.imports = make([][]int, len(g.names))
	for pkg, imports := range found {
		var to []int
		for path := range imports {
			to = append(to, numbers[path])
		}
		slices.Sort(to)
		g.imports[numbers[pkg]] = to
	}
	return g
}
