// Package faults breaks what the whole agent stands on, one thing at a time (its own life, its shims', system calls,
// disks, the host), and holds what the next start makes of it against marks that the tasks left on disk.
package faults

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// bin is where TestMain builds the product and the tools of this package.
var bin string

// inside says how far the tests are on their way into namespaces of their own.
const inside = "GROOM_FAULTS_INSIDE"

// The tests run in a pid and a mount namespace of their own: small file systems can be mounted without being root, they
// end with the tests however those end, and so does every process.
func TestMain(m *testing.M) {
	switch os.Getenv(inside) {
	case "":
		enter()
	case "init":
		reap()
	default:
		os.Exit(build(m))
	}
}

func enter() {
	line := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"}
	if os.Geteuid() != 0 {
		line = append(line, "--user", "--map-root-user")
	}
	path, err := exec.LookPath(line[0])
	if err == nil {
		err = syscall.Exec(path, append(append(line, os.Args[0]), os.Args[1:]...), append(os.Environ(), inside+"=init"))
	}
	fmt.Fprintln(os.Stderr, "enter namespaces:", err)
	os.Exit(1)
}

// reap is the namespace's first process, which has to wait for the orphans of all others.
func reap() {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "start tests:", err)
		os.Exit(1)
	}
	for {
		var status syscall.WaitStatus
		if pid, err := syscall.Wait4(-1, &status, 0, nil); err == nil && pid == cmd.Process.Pid {
			os.Exit(status.ExitStatus()) // -1, when it was killed
		}
	}
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "groom-faults")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	_ = os.Chmod(dir, 0o755) // some agents are another user's
	for _, args := range [][]string{
		{"-ldflags", "-X main.build=first", "-o", dir + "/groom", "../.."},
		{"-ldflags", "-X main.build=second", "-o", dir + "/groom.next", "../.."},
		{"-o", dir + "/pi", "../../examples/pi"},
		{"-o", dir + "/cut", "./cut"},
		{"-o", dir + "/rounds", "./rounds"},
	} {
		cmd := exec.Command("go", append([]string{"build", "-trimpath"}, args...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build:", err)
			return 1
		}
	}
	return m.Run()
}
