package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// supervisord is the peer of this name, with the defaults of its distribution. It is asked on its socket: its own
// client takes longer to start than what is measured.
type supervisord struct {
	dir  string
	call *call
	cmd  *exec.Cmd
	http *http.Client
}

var _ contender = (*supervisord)(nil)

func newSupervisord(dir string, c *call) (*supervisord, error) {
	s := &supervisord{dir: filepath.Join(dir, "supervisord"), call: c}
	s.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.path("sock"))
		},
	}}
	if err := os.MkdirAll(s.path("log"), 0o700); err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.path("conf"), fmt.Appendf(nil, `[supervisord]
logfile=%[1]s/supervisord.log
pidfile=%[1]s/pid
childlogdir=%[1]s/log
nodaemon=true
[unix_http_server]
file=%[1]s/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files=%[1]s/crowd.conf
`, s.dir), 0o600)
}

func (s *supervisord) path(name string) string { return filepath.Join(s.dir, name) }

func (s *supervisord) name() string { return "supervisord" }

func (s *supervisord) version() string { return packaged("supervisor") }

func (s *supervisord) up() error {
	if err := os.WriteFile(s.path("crowd.conf"), nil, 0o600); err != nil {
		return err
	}
	return s.again()
}

func (s *supervisord) again() error {
	_ = os.Remove(s.path("sock")) // what a killed one left would be taken for an answer that is slow to come
	s.cmd = exec.Command("supervisord", "-c", s.path("conf"))
	s.cmd.Env = append(os.Environ(), mark+"="+s.dir)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	return await("supervisord answers", func() bool { return s.ask("getState") == nil })
}

func (s *supervisord) gather() error {
	program := fmt.Sprintf("[program:crowd]\ncommand=sh -c '%s'\nnumprocs=%d\nprocess_name=%%(process_num)s\n", s.call.script(), crowd)
	if err := os.WriteFile(s.path("crowd.conf"), []byte(program), 0o600); err != nil {
		return err
	}
	return errors.Join(s.ask("reloadConfig"), s.ask("addProcessGroup", "crowd"))
}

func (s *supervisord) agent() int { return s.cmd.Process.Pid }

func (s *supervisord) kill() { kill9(s.cmd) }

func (s *supervisord) helpers() ([]int, error) { return nil, nil }

func (s *supervisord) down() error {
	kill9(s.cmd)
	return s.call.dismiss()
}

// ask calls a method of the daemon.
func (s *supervisord) ask(method string, params ...string) error {
	body := "<?xml version='1.0'?><methodCall><methodName>supervisor." + method + "</methodName><params>"
	for _, p := range params {
		body += "<param><value><string>" + p + "</string></value></param>"
	}
	resp, err := s.http.Post("http://supervisord/RPC2", "text/xml", strings.NewReader(body+"</params></methodCall>"))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || bytes.Contains(answer, []byte("<fault>")) {
		return fmt.Errorf("supervisord %s: %s: %s", method, resp.Status, answer)
	}
	return nil
}
