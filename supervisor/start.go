package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"groom/api"
	"groom/fault"
	"groom/supervisor/cgroup"
	"groom/supervisor/ctl"
	"groom/supervisor/shim"

	"golang.org/x/sys/unix"
)

// EnvToken carries the attempt's token into the task's environment.
const EnvToken = "GROOM_TOKEN"

// Defaults of api.Logs.
const (
	defaultLogSize  = 10 << 20
	defaultLogFiles = 5
	maxLogFiles     = 1000
)

// Start forks the shim of an attempt and returns; that the task runs is an event. The caller's journal must hold the
// intent. An error means that nothing was forked, and that nothing ever will be: the attempt is not-started.
func (s *Supervisor) Start(ctx context.Context, spec Spec) error {
	if err := spec.check(); err != nil {
		return err
	}
	a, err := s.enter(Ref{ID: spec.ID, Dir: spec.Dir, Token: spec.Token})
	if err != nil {
		return fmt.Errorf("start %s: %w", spec.ID, err)
	}
	if err := s.fork(ctx, a, spec); err != nil {
		s.leave(a)
		return fmt.Errorf("start %s: %w", spec.ID, err)
	}
	// Killed here: the shim goes on alone; the next start finds its lock held and adopts it.
	fault.Point("supervisor.after-fork")
	if !s.spawn(func() { s.watch(a) }) {
		a.shim.close()
		s.leave(a)
	}
	return nil
}

func (s *Supervisor) fork(ctx context.Context, a *attempt, spec Spec) error {
	// Killed up to the fork: no claim, so the next start sees that nothing ran. What is left is the directory.
	fault.Point("supervisor.before-mkdir")
	id, err := spec.Own.identity()
	if err != nil {
		return err
	}
	for _, dir := range []string{ctl.Work, ctl.Log} {
		if err := os.MkdirAll(filepath.Join(spec.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	fault.Point("supervisor.before-ctl")
	// ctl/ is made once: a second start of the same attempt ends here, whoever makes it.
	if err := os.Mkdir(filepath.Join(spec.Dir, ctl.Dir), 0o700); errors.Is(err, fs.ErrExist) {
		return ErrStarted
	} else if err != nil {
		return fmt.Errorf("make ctl: %w", err)
	}
	if id != nil {
		if err := id.hand(spec.Dir); err != nil {
			return err
		}
	}
	fault.Point("supervisor.before-group")
	group, unenforced := s.groups.Make(string(spec.ID), cgroup.Limits{Memory: spec.Own.Memory, CPU: spec.Own.CPU, Pids: spec.Own.Pids})
	if err := s.forkShim(ctx, a, spec.record(id, group, unenforced)); err != nil {
		// Nothing was ever in it.
		_ = group.End(ctx, 0)
		return err
	}
	return nil
}

func (s *Supervisor) forkShim(ctx context.Context, a *attempt, spec ctl.Record) error {
	// Killed here: a control group that no file names. The next start derives it from the attempt's id.
	fault.Point("supervisor.before-spec")
	// Neither synced nor renamed: only the shim forked below reads it, and no shim outlives a power loss.
	if err := os.WriteFile(filepath.Join(a.Dir, ctl.Spec), spec.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	fault.Point("supervisor.before-lock")
	lock, err := ctl.TakeLock(a.Dir)
	if err != nil {
		return err
	}
	// The shim holds the same open file: closing ours does not unlock.
	defer unix.Close(lock)
	if !shim.LockFirst {
		_ = unix.Flock(lock, unix.LOCK_UN)
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open null device: %w", err)
	}
	defer unix.Close(null)
	if err := ctx.Err(); err != nil {
		return err
	}
	fault.Point("supervisor.before-fork")
	pidfd := -1
	attr := &syscall.ProcAttr{
		Env:   shimEnv(a.Dir),
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), shim.LockFD: uintptr(lock)},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	}
	// The path is the running image itself, even when its file was replaced by an upgrade.
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"groom-shim " + string(a.ID)}, attr)
	if err != nil {
		return fmt.Errorf("fork shim: %w", err)
	}
	if pidfd < 0 {
		// Kernels without pidfds are not supported; one without descriptors left lands here too. The shim is a
		// child that nobody has waited for, so the number is still its own.
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return errors.New("fork shim: no pidfd")
	}
	a.shim = newProcess(pid, pidfd)
	return nil
}

// shimEnv keeps the shim small: one processor, no collector, no huge pages. The armed fault is passed on.
func shimEnv(dir string) []string {
	env := []string{shim.Env + "=" + dir, "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=16MiB", "GODEBUG=disablethp=1"}
	if armed := os.Getenv(shim.EnvFault); armed != "" {
		env = append(env, shim.EnvFault+"="+armed)
	}
	return env
}

func (s Spec) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrSpec, fmt.Errorf(format, args...))
	}
	switch {
	case s.ID == "":
		return bad("no attempt id")
	case !filepath.IsAbs(s.Dir):
		return bad("directory %q is not absolute", s.Dir)
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return bad("no command")
	case s.Token == "":
		return bad("no token")
	case s.Logs.MaxSize < 0 || s.Logs.MaxFiles < 0 || s.Logs.MaxFiles > maxLogFiles:
		return bad("logs want a size above 0 and 1 to %d files", maxLogFiles)
	}
	if err := s.Own.check(); err != nil {
		return bad("%w", err)
	}
	size := 0
	for _, v := range append(append([]string{string(s.ID), s.Token, s.Dir}, s.Argv...), s.Env...) {
		if strings.ContainsRune(v, 0) {
			return bad("a zero byte in %q", v)
		}
		size += len(v)
	}
	_, as := s.Own.Rlimits["as"]
	_, data := s.Own.Rlimits["data"]
	if (as || data) && size > maxTight {
		return bad("arguments and environment of %d bytes are too much for a limit of memory; at most %d", size, maxTight)
	}
	return nil
}

// record is ctl/spec: what the shim needs, and what a later groom needs to end the attempt without it.
func (s Spec) record(id *Identity, group cgroup.Group, unenforced []string) ctl.Record {
	logs := api.Logs{MaxSize: s.Logs.MaxSize, MaxFiles: s.Logs.MaxFiles}
	if logs.MaxSize == 0 {
		logs.MaxSize = defaultLogSize
	}
	if logs.MaxFiles == 0 {
		logs.MaxFiles = defaultLogFiles
	}
	r := ctl.Record{}.
		Add("id", string(s.ID)).
		Add("token", s.Token).
		Add("logsize", strconv.FormatInt(logs.MaxSize, 10)).
		Add("logfiles", strconv.Itoa(logs.MaxFiles))
	r = s.Own.record(r, id)
	if group.Unified != "" {
		r = r.Add("cgroup", group.Unified)
		if group.Born {
			r = r.Add("born", "1")
		}
	}
	for _, dir := range group.Others {
		r = r.Add("join", dir)
	}
	if group.OOM != "" {
		r = r.Add("oom", group.OOM)
	}
	for _, words := range unenforced {
		r = r.Add("unenforced", words)
	}
	for _, arg := range s.Argv {
		r = r.Add("arg", arg)
	}
	for _, kv := range s.Env {
		if !strings.HasPrefix(kv, EnvToken+"=") {
			r = r.Add("env", kv)
		}
	}
	return r.Add("env", EnvToken+"="+s.Token)
}
