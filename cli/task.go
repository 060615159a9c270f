package cli

import (
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"groom/api"
	"groom/wire"
)

func newTask() *cobra.Command {
	act := func(verb api.Verb, short string) *cobra.Command { return newAct(verb, "TASK", short, taskPath) }
	return group("task", "Look at one task, or end it",
		newTaskStatus(), newTaskLogs(),
		act(api.VerbStop, "End the process of a task; it may be resumed (of a bsp job: the job)"),
		act(api.VerbResume, "Start a stopped task again (of a bsp job: the job)"),
		act(api.VerbRestart, "End the process of a task and start another, with a fresh budget (of a bsp job: the job)"),
		act(api.VerbKill, "End a task for good (of a bsp job: the job)"),
	)
}

func taskPath(id string) string { return "/tasks/" + url.PathEscape(id) }

func newTaskStatus() *cobra.Command {
	var asJSON asJSON
	return newVerb("status TASK", "Show a task and all its attempts", cobra.ExactArgs(1), asJSON.AddFlags,
		func(cmd *cobra.Command, c *wire.Client, args []string) error {
			var d api.TaskDetail
			if err := c.Get(cmd.Context(), taskPath(args[0]), &d); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), d)
			}
			return printTask(cmd.OutOrStdout(), d)
		})
}

func printTask(w io.Writer, d api.TaskDetail) error {
	fmt.Fprintf(w, "%s  %s  on %s\n%s\n\n", d.ID, d.State, d.Groom, d.Words)
	t := newListing(w, "ATTEMPT", "STATE", "PID", "STARTED", "TOOK", "COUNTED", "HOW IT ENDED")
	for _, a := range d.Attempts {
		counted := ""
		if a.Counted {
			counted = "yes"
		}
		for _, words := range a.Unenforced {
			defer fmt.Fprintf(w, "attempt %d, not enforced: %s\n", a.N, words)
		}
		t.row(a.N, a.State, pid(a.Pid), when(a.StartedAt), took(a.StartedAt, a.EndedAt), counted, a.Words)
	}
	return t.flush()
}

func newTaskLogs() *cobra.Command {
	o := new(logOptions)
	return newVerb("logs TASK", "Show what a task wrote", cobra.ExactArgs(1), o.AddFlags,
		func(cmd *cobra.Command, c *wire.Client, args []string) error {
			id, err := api.ParseTaskID(args[0])
			if err != nil {
				return fail(exitUsage, err, "groom job status JOB lists the tasks of a job")
			}
			return o.show(cmd, c, []api.TaskID{id})
		})
}
