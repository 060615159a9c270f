package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/job"
	"groom/node"
)

type runOptions struct {
	data, webAddr string
	maxTasks      int
	verbose       bool
}

func (o *runOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.webAddr, "web-addr", "127.0.0.1:0", "host:port of the pages")
	fs.IntVar(&o.maxTasks, "max-tasks", 0, "tasks at once (default: those of the job)")
	markSettings(fs)
	// Not a setting: what an agent uses all the time must not be where a job is tried out.
	fs.StringVar(&o.data, "data", "", "data directory (default: a new one for temporary files); an unfinished run of the same job in it goes on, one of another job is killed")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "print what the groom and its master log")
}

func newRun(build string) *cobra.Command {
	o := new(runOptions)
	cmd := &cobra.Command{
		Use: "run JOB.yaml", Short: "Run a job to its end, with a groom and a master in this process", Args: cobra.ExactArgs(1),
		Long: `Run a job to its end, with a groom and a master in this process. The exit status is 0 only if the job succeeded.
Ctrl-C kills the job, at once and without its stop signal. A run that was itself killed goes on when it is run again on the same data directory.`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, build, args[0]) },
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func (o *runOptions) run(cmd *cobra.Command, build, file string) (err error) {
	if _, err := settle(cmd); err != nil {
		return err
	}
	spec, err := job.Load(file)
	if err != nil {
		return err
	}
	if o.maxTasks != 0 && o.maxTasks < spec.Tasks {
		return usage(cmd, fmt.Errorf("--max-tasks %d: the job has %d tasks, and all of them run at once", o.maxTasks, spec.Tasks))
	}
	if o.data == "" {
		if o.data, err = os.MkdirTemp("", "groom-run-"); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	n, err := node.Open(cmd.Context(), o.node(cmd, build, spec))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	id, err := o.submit(cmd, n, spec)
	if err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr())
	p.line("%s (%s), %d tasks; watch it at %s/jobs/%s", id, spec.Name, spec.Tasks, n.URL, id)
	p.line("journal and logs in %s", o.data)
	d, err := o.watch(cmd.Context(), n, id, p)
	if err != nil {
		return err
	}
	p.end(n, d)
	if errors.Is(context.Cause(cmd.Context()), errInterrupted) {
		return fail(exitInterrupted, fmt.Errorf("interrupted: %s is %s", id, d.State), "everything about it is kept: groom agent --data %s shows it", o.data)
	}
	if err := verdict(d); err != nil {
		f, _ := errors.AsType[*failure](err)
		return fail(f.code, f.err, "everything about it is kept: groom agent --data %s shows it", o.data)
	}
	return nil
}

func (o *runOptions) node(cmd *cobra.Command, build string, spec api.JobSpec) node.Options {
	level := slog.LevelError
	if o.verbose {
		level = slog.LevelInfo
	}
	places := o.maxTasks
	if places == 0 {
		places = max(spec.Tasks, defaultTasks)
	}
	host, _ := os.Hostname()
	return node.Options{
		Data: o.data, Name: host, Build: build, WebAddr: o.webAddr,
		Log:    slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
		Master: new(node.MasterOptions),
		Groom: &node.GroomOptions{
			MaxTasks: places, WorkerAddr: "127.0.0.1:0", ReportAddr: "127.0.0.1:0",
		},
	}
}

// submit hands in the job, or goes on with the one that a run before this one left unfinished in the data directory.
// Unfinished jobs of other specs are killed: whoever runs another job here has given them up.
func (o *runOptions) submit(cmd *cobra.Command, n *node.Node, spec api.JobSpec) (api.JobID, error) {
	ctx := cmd.Context()
	hash, _, err := job.Hash(spec)
	if err != nil {
		return "", err
	}
	jobs, err := n.Views.Jobs(ctx)
	if err != nil {
		return "", err
	}
	var resumed api.JobID
	for _, j := range jobs {
		if j.State.Terminal() {
			continue
		}
		d, err := n.Views.Job(ctx, string(j.ID))
		if err != nil {
			return "", err
		}
		r := api.ActRequest{Version: api.Version, Job: string(j.ID), Verb: api.VerbKill, Reason: "another job is run here"}
		if d.SpecHash == hash && resumed == "" && d.State != api.JobKilling && d.State != api.JobFailing {
			resumed = j.ID
			if d.State != api.JobStopped && d.State != api.JobStopping {
				continue
			}
			r.Verb, r.Reason = api.VerbResume, "run again"
		}
		if r.Verb == api.VerbKill {
			fmt.Fprintf(cmd.ErrOrStderr(), "killing %s (%s), which an earlier run left unfinished in %s\n", j.ID, j.Name, o.data)
		}
		if _, err := n.Actions.Act(ctx, r); err != nil {
			return "", err
		}
	}
	if resumed != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "going on with %s, which an earlier run left\n", resumed)
		return resumed, nil
	}
	s, err := n.Actions.Submit(ctx, api.SubmitRequest{Version: api.Version, Request: rand.Text(), Spec: spec})
	return s.Job, err
}

// watch follows a job to its end. An interrupt kills the job, and its end is still waited for.
func (o *runOptions) watch(ctx context.Context, n *node.Node, id api.JobID, p *progress) (api.JobDetail, error) {
	life := context.WithoutCancel(ctx)
	interrupted := ctx.Done()
	changes := n.Changes(life)
	defer changes.Stop()
	for {
		d, err := n.Views.Job(life, string(id))
		if err != nil {
			return d, err
		}
		p.show(d)
		if d.State.Terminal() {
			return d, nil
		}
		select {
		case <-changes.C:
		case <-interrupted:
			interrupted = nil
			p.line("interrupted: killing %s", id)
			r := api.ActRequest{Version: api.Version, Job: string(id), Verb: api.VerbKill, Reason: "interrupted"}
			if _, err := n.Actions.Act(life, r); err != nil {
				return d, err
			}
		}
	}
}
