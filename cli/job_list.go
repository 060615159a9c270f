package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"groom/api"
	"groom/wire"
)

func newJobList() *cobra.Command {
	var asJSON asJSON
	return newVerb("list", "List the jobs, newest first", cobra.NoArgs, asJSON.AddFlags,
		func(cmd *cobra.Command, c *wire.Client, _ []string) error {
			jobs := []api.JobView{}
			if err := c.Get(cmd.Context(), "/jobs", &jobs); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), jobs)
			}
			t := newListing(cmd.OutOrStdout(), "JOB", "NAME", "TYPE", "STATE", "TASKS", "STEP", "SUBMITTED", "TOOK", "REASON")
			for _, j := range jobs {
				t.row(j.ID, j.Name, j.Type, j.State, tally(j), step(j.Step), when(j.SubmittedAt), took(j.StartedAt, j.EndedAt), j.Reason)
			}
			return t.flush()
		})
}

// tally is the number of tasks by state.
func tally(j api.JobView) string {
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(j.ByState)) {
		if n := j.ByState[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), fmt.Sprint(j.Tasks))
}

func step(n int) string {
	if n < 0 {
		return ""
	}
	return fmt.Sprint(n)
}
