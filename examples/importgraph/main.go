// Importgraph writes the graph of the Go packages on this machine, as an input for pagerank: which package imports
// which, as their import statements say.
//
//	importgraph [-o DIR] [-roots DIR:DIR]
//
// It writes three files: imports.v with the number of each package, imports.e with one import a line ("who whom", by
// number), and imports.names with "number import-path". The same source gives the same bytes.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "importgraph:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("importgraph", flag.ContinueOnError)
	dir := flags.String("o", ".", "directory to write the graph to")
	list := flags.String("roots", "", "directories of Go source, separated as in $PATH (default: that of Go itself and the module cache)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	roots := filepath.SplitList(*list)
	if len(roots) == 0 {
		var err error
		if roots, err = goRoots(); err != nil {
			return err
		}
	}
	g, err := scan(roots)
	if err != nil {
		return err
	}
	if len(g.names) == 0 {
		return fmt.Errorf("no Go source below %s", strings.Join(roots, ", "))
	}
	if err := g.write(*dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d packages, %d imports between them, from %d files in %s", len(g.names), g.edges(), g.files,
		filepath.Join(*dir, "imports.{v,e,names}"))
	if g.broken > 0 {
		fmt.Fprintf(out, "; %d files did not parse", g.broken)
	}
	fmt.Fprintln(out)
	return nil
}

// goRoots asks the go command where the source of Go itself and of the modules in use lies. A machine that never
// fetched a module has no module cache.
func goRoots() ([]string, error) {
	cmd := exec.Command("go", "env", "GOROOT", "GOMODCACHE")
	var said bytes.Buffer
	cmd.Stderr = &said
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w %s(name the directories by -roots instead)", err, said.Bytes())
	}
	goroot, modcache, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	roots := []string{filepath.Join(goroot, "src")}
	if _, err := os.Stat(modcache); err == nil {
		roots = append(roots, modcache)
	}
	return roots, nil
}
