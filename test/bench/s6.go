package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// s6 is the peer of this name: s6-svscan is its agent, and each task has an s6-supervise, an s6-log for its output, and
// an s6-supervise for that.
type s6 struct {
	dir, scan string
	call      *call
	cmd       *exec.Cmd
}

var _ contender = (*s6)(nil)

func newS6(dir string, c *call) (*s6, error) {
	s := &s6{dir: filepath.Join(dir, "s6"), scan: filepath.Join(dir, "s6", "scan"), call: c}
	if err := os.MkdirAll(s.scan, 0o700); err != nil {
		return nil, err
	}
	for i := range crowd {
		service := s.service(i)
		if err := os.MkdirAll(filepath.Join(service, "log"), 0o700); err != nil {
			return nil, err
		}
		run := "#!/bin/sh\nexec 2>&1\n" + c.script() + "\n"
		if err := os.WriteFile(filepath.Join(service, "run"), []byte(run), 0o700); err != nil {
			return nil, err
		}
		keep := fmt.Sprintf("#!/bin/sh\nexec s6-log n5 s10485760 %s/log/%d\n", s.dir, i)
		if err := os.WriteFile(filepath.Join(service, "log", "run"), []byte(keep), 0o700); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *s6) service(i int) string { return filepath.Join(s.dir, "services", fmt.Sprint(i)) }

func (s *s6) name() string { return "s6" }

func (s *s6) version() string { return packaged("s6") }

func (s *s6) up() error { return s.again() }

// again starts s6-svscan, which writes to a descriptor when it is ready.
func (s *s6) again() error {
	ready, told, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	s.cmd = exec.Command("s6-svscan", "-d", "3", "-c", "4096", s.scan)
	s.cmd.Env = append(os.Environ(), mark+"="+s.dir)
	s.cmd.ExtraFiles = []*os.File{told}
	err = s.cmd.Start()
	told.Close()
	if err != nil {
		return err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("s6-svscan is not ready: %w", err)
	}
	return nil
}

// gather links the services into the scanned directory, as its documentation has it.
func (s *s6) gather() error {
	for i := range crowd {
		if err := os.Symlink(s.service(i), filepath.Join(s.scan, fmt.Sprint(i))); err != nil {
			return err
		}
	}
	return exec.Command("s6-svscanctl", "-a", s.scan).Run()
}

func (s *s6) agent() int { return s.cmd.Process.Pid }

func (s *s6) kill() { kill9(s.cmd) }

func (s *s6) helpers() ([]int, error) {
	all := marked(s.dir)
	return append(named(all, "s6-supervise"), named(all, "s6-log")...), nil
}

// down ends the helpers before they can start a task again.
func (s *s6) down() error {
	kill9(s.cmd)
	for _, program := range []string{"s6-supervise", "s6-log"} {
		for _, pid := range named(marked(s.dir), program) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				return fmt.Errorf("end %s: %w", program, err)
			}
		}
	}
	if err := await("s6 is gone", func() bool { return len(named(marked(s.dir), "s6-supervise")) == 0 }); err != nil {
		return err
	}
	if err := os.RemoveAll(s.scan); err != nil {
		return err
	}
	if err := os.MkdirAll(s.scan, 0o700); err != nil {
		return err
	}
	return s.call.dismiss()
}
