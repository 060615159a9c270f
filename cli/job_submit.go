package cli

import (
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/job"
	"groom/wire"
)

func newJobSubmit() *cobra.Command {
	var asJSON asJSON
	var request string
	add := func(fs *pflag.FlagSet) {
		asJSON.AddFlags(fs)
		fs.StringVar(&request, "request", "", "id of this submission: handed in again with the same id, it is the same job")
	}
	return newVerb("submit JOB.yaml", "Hand in a job", cobra.ExactArgs(1), add,
		func(cmd *cobra.Command, c *wire.Client, args []string) error {
			spec, err := job.Load(args[0])
			if err != nil {
				return err
			}
			if request == "" {
				request = rand.Text()
			}
			var s api.Submission
			r := api.SubmitRequest{Version: api.Version, Request: request, Spec: spec}
			if err := c.Post(cmd.Context(), "/jobs", r, &s); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), s.Job)
			return err
		})
}
