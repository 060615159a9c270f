// Package cli is what people type: one file a verb, each with its options, its flags and its run.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs a command line and returns the exit status of the process.
func Main(args []string, build string) int {
	ctx, stop := signals()
	defer stop()
	root := newRoot(buildName(build))
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if f := (*failure)(nil); err != nil && !errors.As(err, &f) && errors.Is(context.Cause(ctx), errInterrupted) {
		err = fail(exitInterrupted, errInterrupted, "")
	}
	return tell(os.Stderr, cmd, err)
}

func newRoot(build string) *cobra.Command {
	root := &cobra.Command{
		Use:   "groom",
		Short: "A crash-resilient node agent for bulk synchronous parallel jobs",
		Long: `groom runs the tasks of jobs as processes that outlive it. Every change of its state is journaled first, so a groom
that was killed comes back, adopts what still runs, and goes on.

  groom run JOB.yaml      run one job to its end, here and now
  groom agent             stay, and take jobs: groom job submit JOB.yaml`,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.AddCommand(
		newRun(build), newAgent(build), newMaster(build), newJob(), newTask(), newNode(), newJournal(build), newDoctor(build),
		newVersion(build),
	)
	forEach(root, func(c *cobra.Command) {
		if args := c.Args; args != nil {
			c.Args = func(cmd *cobra.Command, a []string) error {
				if err := args(cmd, a); err != nil {
					return usage(cmd, err)
				}
				return nil
			}
		}
	})
	return root
}

func forEach(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		forEach(sub, f)
	}
}

// errInterrupted is the cause of the context that ends with the first SIGINT or SIGTERM.
var errInterrupted = errors.New("interrupted")

// signals ends the context at the first signal, and the process at the second.
func signals() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	go func() {
		if _, ok := <-ch; !ok {
			return
		}
		cancel(errInterrupted)
		if _, ok := <-ch; ok {
			fmt.Fprintln(os.Stderr, "groom: interrupted twice; tasks that run are adopted by the next start")
			os.Exit(exitInterrupted)
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(ch)
		cancel(nil)
	}
}

// buildName is what the Makefile says, or what the Go tool knows of a build without it.
func buildName(build string) string {
	if build != "" {
		return build
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func newVersion(build string) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the build", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "groom", build)
			return err
		},
	}
}
