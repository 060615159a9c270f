package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/wire"
)

// lookEvery is how often a verb that waits for a job asks for its state.
const lookEvery = 200 * time.Millisecond

func newJobWait() *cobra.Command {
	var timeout time.Duration
	add := func(fs *pflag.FlagSet) {
		fs.DurationVar(&timeout, "timeout", 0, "give up after this time (default: never)")
	}
	return newVerb("wait JOB", "Wait for the end of a job; the exit status is the job's", cobra.ExactArgs(1), add,
		func(cmd *cobra.Command, c *wire.Client, args []string) error {
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			d, err := awaitJob(ctx, c, args[0])
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				return fail(exitFailed, fmt.Errorf("%s has not ended after %s", args[0], timeout), "groom job status %s", args[0])
			case errors.Is(context.Cause(ctx), errInterrupted):
				return fail(exitInterrupted, errInterrupted, "the job goes on: groom job status %s", args[0])
			case err != nil:
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", d.ID, d.State)
			return verdict(d)
		})
}

// awaitJob asks until the job has ended. An agent that does not answer for a while is asked again: it may be on its
// way back.
func awaitJob(ctx context.Context, c *wire.Client, name string) (api.JobDetail, error) {
	var d api.JobDetail
	for misses := 0; ; {
		err := c.Get(ctx, jobPath(name), &d)
		p, isProblem := errors.AsType[*api.Problem](err)
		switch {
		case err == nil && d.State.Terminal():
			return d, nil
		case ctx.Err() != nil:
			return d, ctx.Err()
		case err == nil:
			misses = 0
		case isProblem && p.Code != api.CodeUnavailable:
			return d, err
		default:
			if misses++; time.Duration(misses)*lookEvery > 30*time.Second {
				return d, err
			}
		}
		select {
		case <-ctx.Done():
			return d, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// verdict is the error that the end of a job means to a verb, nil for success.
func verdict(d api.JobDetail) error {
	switch d.State {
	case api.JobSucceeded:
		return nil
	case api.JobFailed:
		return fail(exitFailed, fmt.Errorf("%s failed: %s", d.ID, d.Reason), "groom job status %s shows every task, groom job logs %s what they wrote", d.ID, d.ID)
	}
	text := fmt.Sprintf("%s is %s", d.ID, d.State)
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return fail(exitNotRun, errors.New(text), "groom job status %s", d.ID)
}
