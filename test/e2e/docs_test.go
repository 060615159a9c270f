package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// blocks are the commands that README and docs tell people to type, document by document.
func blocks(t *testing.T) map[string][]string {
	t.Helper()
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	fence := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	for _, doc := range append(docs, "../../README.md", "../../CONTRIBUTING.md") {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllSubmatch(b, -1) {
			for line := range strings.Lines(string(m[1])) {
				if line = strings.TrimSpace(line); line != "" {
					found[filepath.Base(doc)] = append(found[filepath.Base(doc)], line)
				}
			}
		}
	}
	return found
}

// targets that are run by other tests, or that run the tests.
var targets = regexp.MustCompile(`^make (test|run|bench|build|lint|e2e|clean)( [A-Z]+=\S+)*$`)

// Every command of README and docs does what it should, typed in the order in which it stands there.
func TestCommandsOfTheDocs(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for doc, commands := range blocks(t) {
		t.Run(doc, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"examples", "docs"} {
				abs, err := filepath.Abs("../../" + name)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(abs, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			data := filepath.Join(dir, "data")
			// The default ports may be taken on this machine; everything else is as it stands there.
			master := freePort(t)
			env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "GROOM_DATA="+data, "GROOM_MASTER_ADDR="+master,
				"GROOM_WEB_ADDR=127.0.0.1:0", "GROOM_WORKER_ADDR=127.0.0.1:0", "GROOM_REPORT_ADDR=127.0.0.1:0")
			ready := 0
			for _, command := range commands {
				if targets.MatchString(command) {
					if name := strings.Fields(command)[1]; !bytes.Contains(makefile, []byte("\n"+name+":")) {
						t.Errorf("%s: the Makefile has no target %s", command, name)
					}
					continue
				}
				command = strings.ReplaceAll(command, "127.0.0.1:40000", master)
				command, stays := strings.CutSuffix(command, "&")
				if stays {
					command = "exec " + command // so that it is the one that is killed in the end
				}
				cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
				cmd.Dir = dir
				cmd.Env = env
				out := new(output)
				cmd.Stdout, cmd.Stderr = out, out
				if !stays {
					if err := cmd.Run(); err != nil {
						t.Errorf("%s: %v\n%s", command, err, out)
					}
					continue
				}
				ready++
				stay(t, cmd, out, filepath.Join(dir, fmt.Sprintf("ready-%d", ready)))
			}
			killAttempts(t, data)
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// stay starts a command that stays until the test ends, and waits until it says that it is ready.
func stay(t *testing.T, cmd *exec.Cmd, out *output, path string) {
	t.Helper()
	f, err := os.Create(path) // read while it is written, which a buffer is not for
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout = f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
	})
	a := &agent{t: t, cmd: cmd, done: done, out: out}
	a.await(strings.Join(cmd.Args, " ")+" is ready", func() bool {
		if !a.running() {
			t.Fatalf("%v ended:\n%s", cmd.Args, out)
		}
		b, _ := os.ReadFile(path)
		return strings.Contains(string(b), " is ready")
	})
}

// make run, as README has it: exit status 0, ranks that sum to 1, and what it promises to print.
func TestMainJob(t *testing.T) {
	build := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "-s", "-C", "../..", "run", "BIN="+bin, "BUILD="+build)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make run: %v\n%s", err, out)
	}
	for _, want := range []string{"superstep", "succeeded", "entries", "http://127.0.0.1:", "sum"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("does not tell of %q", want)
		}
	}
	t.Logf("%s", out)
}

// Every link of README and docs that points into the tree leads somewhere.
func TestLinksOfTheDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#: ]+)\)`)
	var docs []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../*/DESIGN.md", "../../*/*/DESIGN.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, found...)
	}
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(b, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), string(m[1]))); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
}
