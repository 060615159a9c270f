// Package probe asks tasks that do not use the SDK whether they are well.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"groom/api"
)

// Task is what a probe is about.
type Task struct {
	Env []string // the task's own: what an exec probe runs with, and what addresses are filled in from
	// Command makes the process of an exec probe: as the task's user, in its directory. It ends when ctx does.
	Command func(ctx context.Context, argv, env []string) *exec.Cmd
}

// told bounds what is told of a probe's own words, in bytes.
const told = 200

// Ask makes one probe and returns why the task is not well, or nil.
func Ask(ctx context.Context, p api.Probe, t Task) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.Timeout))
	defer cancel()
	var err error
	switch {
	case len(p.Exec) > 0:
		err = askExec(ctx, p.Exec, t)
	case p.HTTP != "":
		err = askHTTP(ctx, t.fill(p.HTTP))
	case p.TCP != "":
		err = askTCP(ctx, t.fill(p.TCP))
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer in %s", time.Duration(p.Timeout))
	}
	return err
}

// fill puts the task's variables into an address.
func (t Task) fill(address string) string {
	return os.Expand(address, func(name string) string {
		for _, v := range t.Env {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	})
}

func askTCP(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// client follows no redirect: that the task answers is what is asked. Each request has a connection of its own, since
// one that is kept would hide a task that takes no new ones.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func askHTTP(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "groom-probe")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode < 400 {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, told)) // only to be told
	return fmt.Errorf("%s%s", res.Status, colon(said))
}

func askExec(ctx context.Context, argv []string, t Task) error {
	// The process is to die with the groom; the kernel goes by the thread that made it, which must not end before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := t.Command(ctx, argv, t.Env)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return fmt.Errorf("%s exited with code %d%s", argv[0], exit.ExitCode(), colon(said.b))
	}
	return fmt.Errorf("%s: %w%s", argv[0], err, colon(said.b))
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - told; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func colon(said []byte) string {
	if text := strings.TrimSpace(string(said)); text != "" {
		return ": " + strings.ToValidUTF8(text, "\uFFFD")
	}
	return ""
}
