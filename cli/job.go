package cli

import "github.com/spf13/cobra"

func newJob() *cobra.Command {
	return group("job", "Hand in jobs, look at them, end them",
		newJobSubmit(), newJobList(), newJobStatus(), newJobWait(), newJobLogs(),
		newJobAct("stop", "End the processes of a job; it may be resumed"),
		newJobAct("resume", "Start a stopped job again"),
		newJobAct("restart", "End the processes of a job and start others, with a fresh budget"),
		newJobAct("kill", "End a job for good"),
		newJobValidate(),
	)
}
