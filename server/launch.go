package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"groom/api"
	"groom/fault"
	"groom/fsm"
	"groom/job"
	"groom/supervisor"
)

// launch makes the process of an attempt that the journal intends. An error says that none was made.
func (g *Groom) launch(ctx context.Context, a fsm.Attempt) error {
	if launchedBefore(a.ID) {
		return nil
	}
	row, spec, err := g.specOf(a.ID.Task().Job())
	if err != nil {
		return err
	}
	dir := attemptDir(a)
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return fmt.Errorf("make attempt directory: %w", err)
	}
	fault.Point("server.before-artifacts")
	// A kill from here on leaves a directory without a lock: adoption takes the attempt as never started, and the
	// next one has a directory of its own.
	for _, art := range spec.Artifacts {
		if err := copyArtifact(art, work); err != nil {
			return fmt.Errorf("copy artifact %s: %w", art.Name, err)
		}
	}
	if err := g.stageOutput(a, row, spec); err != nil {
		return err
	}
	own, err := ownOf(spec)
	if err != nil {
		return err
	}
	g.tokens.add(g.taskToken(a.ID), a.ID)
	g.pulses.watch(a.ID, row, spec)
	g.probe(a, row, spec)
	if err := g.super.Start(ctx, supervisor.Spec{
		ID: a.ID, Dir: dir, Token: g.taskToken(a.ID), Argv: spec.Command,
		Env: g.environment(a, row, spec), Logs: spec.Logs, Own: own,
	}); err != nil {
		g.pulses.drop(a.ID)
		g.probes.drop(a.ID)
		return err
	}
	return nil
}

// ownOf is what a task has of its own, as its job says.
func ownOf(spec *api.JobSpec) (supervisor.Own, error) {
	own := supervisor.Own{
		User: spec.User, Group: spec.Group, Memory: spec.Resources.Memory, CPU: spec.Resources.CPU, Pids: spec.Resources.Pids,
	}
	if spec.OOMScore != 0 {
		own.OOMScore = &spec.OOMScore
	}
	if spec.Umask != "" {
		bits, err := strconv.ParseUint(spec.Umask, 8, 32)
		if err != nil {
			return own, fmt.Errorf("read umask: %w", err)
		}
		umask := uint32(bits)
		own.Umask = &umask
	}
	for name, text := range spec.Rlimits {
		soft, hard, err := job.ParseRlimit(text)
		if err != nil {
			return own, fmt.Errorf("read limit %s: %w", name, err)
		}
		if own.Rlimits == nil {
			own.Rlimits = map[string]supervisor.Rlimit{}
		}
		own.Rlimits[name] = supervisor.Rlimit{Soft: soft, Hard: hard}
	}
	return own, nil
}

func attemptDir(a fsm.Attempt) string { return filepath.Join(a.Place.Dir, string(a.ID)) }

func (g *Groom) taskToken(id api.AttemptID) string { return g.o.Home.Derive("attempt", string(id)) }

// specOf is a job's row and its spec, which the entry that made the row is not older than.
func (g *Groom) specOf(id api.JobID) (fsm.Job, *api.JobSpec, error) {
	var job fsm.Job
	var ok bool
	g.machine.View(func() { job, ok = g.state.Jobs.Get(string(id)) })
	if !ok {
		return job, nil, fmt.Errorf("job %s: %w", id, fsm.ErrUnknown)
	}
	b, err := g.o.Home.Spec(job.Spec)
	if err != nil {
		return job, nil, err
	}
	spec := new(api.JobSpec)
	if err := json.Unmarshal(b, spec); err != nil {
		return job, nil, fmt.Errorf("decode spec: %w", err)
	}
	return job, spec, nil
}

// inherited names what a task gets of the groom's own environment; the rest comes from its spec.
var inherited = []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "JAVA_HOME"}

func (g *Groom) environment(a fsm.Attempt, job fsm.Job, spec *api.JobSpec) []string {
	env := map[string]string{}
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			env[name] = v
		}
	}
	if spec.User != "" {
		if id, err := supervisor.Lookup(spec.User, spec.Group); err == nil { // else the start fails
			env["HOME"], env["USER"] = id.Home, id.Name
		}
	}
	maps.Copy(env, spec.Env)
	task := a.ID.Task()
	maps.Copy(env, map[string]string{
		api.EnvJob: string(job.ID), api.EnvTask: string(task), api.EnvAttempt: string(a.ID),
		api.EnvIndex: strconv.Itoa(task.Index()), api.EnvTasks: strconv.Itoa(spec.Tasks),
		api.EnvSocket: g.socket, api.EnvReport: g.report.Addr().String(), api.EnvToken: g.taskToken(a.ID),
	})
	if job.Type == api.BSP {
		env[api.EnvEpoch], env[api.EnvOutput] = strconv.Itoa(a.Epoch), outputDir(a, spec)
		if g.worker != nil { // peers on other hosts reach a task where they reach its groom
			env[api.EnvData], _, _ = net.SplitHostPort(g.worker.Addr().String())
		}
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// copyArtifact copies a file into the working directory and proves that it is the one that was meant.
func copyArtifact(art api.Artifact, work string) error {
	src, err := os.Open(art.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	mode := os.FileMode(art.Mode)
	if mode == 0 {
		mode = 0o644
	}
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	defer root.Close()
	dst, err := root.OpenFile(art.Name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer dst.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(dst, sum), src); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != art.SHA256 {
		return fmt.Errorf("%s has SHA-256 %s, the job says %s", art.Source, got, art.SHA256)
	}
	return dst.Close()
}
