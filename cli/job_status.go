package cli

import (
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"groom/api"
	"groom/wire"
)

func jobPath(name string) string { return "/jobs/" + url.PathEscape(name) }

func newJobStatus() *cobra.Command {
	var asJSON asJSON
	return newVerb("status JOB", "Show a job and its tasks", cobra.ExactArgs(1), asJSON.AddFlags,
		func(cmd *cobra.Command, c *wire.Client, args []string) error {
			var d api.JobDetail
			if err := c.Get(cmd.Context(), jobPath(args[0]), &d); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), d)
			}
			return printJob(cmd.OutOrStdout(), d)
		})
}

func printJob(w io.Writer, d api.JobDetail) error {
	fmt.Fprintf(w, "%s  %s  %s\n", d.ID, d.Name, d.State)
	if d.Reason != "" {
		fmt.Fprintf(w, "reason: %s\n", d.Reason)
	}
	if d.Type == api.BSP {
		fmt.Fprintf(w, "epoch %d, superstep %s\n", d.Epoch, stepOrNone(d.Step))
	}
	fmt.Fprintf(w, "submitted %s, took %s\n\n", when(d.SubmittedAt), took(d.StartedAt, d.EndedAt))
	t := newListing(w, "TASK", "STATE", "GROOM", "ATTEMPT", "FAILURES", "PID", "WHAT HAPPENED LAST")
	for _, task := range d.TaskViews {
		t.row(task.ID, task.State, task.Groom, task.Attempt, fmt.Sprintf("%d of %d", task.Failures, task.Limit), pid(task.Pid), task.Words)
	}
	return t.flush()
}

func stepOrNone(n int) string {
	if n < 0 {
		return "none yet"
	}
	return fmt.Sprint(n)
}

func pid(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
