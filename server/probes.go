package server

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"groom/api"
	"groom/clock"
	"groom/fsm"
	"groom/server/probe"
	"groom/supervisor"
)

// probes is what is asked of living attempts that do not use the SDK. It is soft state, like pulses: after a start of
// the groom each attempt's grace and count begin anew.
type probes struct {
	mu sync.Mutex
	by map[api.AttemptID]*probed
}

type probed struct {
	stop  context.CancelFunc
	limit int
	probe.State
}

func newProbes() *probes { return &probes{by: map[api.AttemptID]*probed{}} }

func (p *probes) drop(id api.AttemptID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.by[id]; x != nil {
		x.stop()
		delete(p.by, id)
	}
}

// view is what is known of an attempt, nil when it is not probed or was not yet.
func (p *probes) view(id api.AttemptID) *api.ProbeView {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.by[id]
	if x == nil || x.At.IsZero() {
		return nil
	}
	return &api.ProbeView{At: x.At, OK: x.OK, Failures: x.Failures, Limit: x.limit, Words: x.Words}
}

// probe watches an attempt that was launched or adopted, if its job asks for it. What it finds wanting is out of
// contact, as one that does not ping is.
func (g *Groom) probe(a fsm.Attempt, job fsm.Job, spec *api.JobSpec) {
	if !spec.Probe.On() {
		return
	}
	who, err := credential(spec)
	if err != nil {
		g.log.Warn("probe", "attempt", a.ID, "err", err) // a start fails for it as well
		return
	}
	ctx, stop := context.WithCancel(g.life)
	x := &probed{stop: stop, limit: spec.Probe.Failures}
	g.probes.mu.Lock()
	g.probes.by[a.ID] = x
	g.probes.mu.Unlock()
	work := filepath.Join(attemptDir(a), "work")
	task := probe.Task{
		Env: g.environment(a, job, spec),
		Command: func(ctx context.Context, argv, env []string) *exec.Cmd {
			return command(ctx, who, work, argv, env)
		},
	}
	began := clock.Boot()
	g.running.Go(func() {
		why := probe.Watch(ctx, spec.Probe, task, began, func(s probe.State) {
			g.probes.mu.Lock()
			defer g.probes.mu.Unlock()
			x.State = s
		})
		for wait := 50 * time.Millisecond; why != "" && ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
			err := g.observe(ctx, fsm.Silent{Attempt: a.ID, Why: why})
			if err == nil {
				return
			}
			g.log.Warn("record failed probes", "attempt", a.ID, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	})
}

// credential is the user of a task, nil for the groom's own.
func credential(spec *api.JobSpec) (*syscall.Credential, error) {
	id, err := supervisor.Lookup(spec.User, spec.Group)
	if err != nil || id.UID == os.Geteuid() && id.GID == os.Getegid() {
		return nil, err
	}
	who := &syscall.Credential{Uid: uint32(id.UID), Gid: uint32(id.GID)}
	for _, group := range id.Groups {
		who.Groups = append(who.Groups, uint32(group))
	}
	return who, nil
}

// command is a process beside the task's: of its user, in its directory, and in a group of its own, which ends as a
// whole. It carries the task's token, so that what proves an attempt dead ends it too.
func command(ctx context.Context, who *syscall.Credential, dir string, argv, env []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: who}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // what left the group and holds its output does not hold the groom up
	return cmd
}
