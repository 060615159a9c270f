package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/wire"
)

func newJobAct(verb api.Verb, short string) *cobra.Command {
	return newAct(verb, "JOB", short, jobPath)
}

// newAct makes a verb that changes the job or the task at path. What is so already is no error.
func newAct(verb api.Verb, what, short string, path func(string) string) *cobra.Command {
	var reason string
	var asJSON asJSON
	add := func(fs *pflag.FlagSet) {
		fs.StringVar(&reason, "reason", "", "why, for those who read the journal")
		asJSON.AddFlags(fs)
	}
	return newVerb(fmt.Sprintf("%s %s", verb, what), short, cobra.ExactArgs(1), add,
		func(cmd *cobra.Command, c *wire.Client, args []string) error {
			var reply api.ActReply
			r := api.ActRequest{Version: api.Version, Verb: verb, Reason: reason}
			if err := c.Post(cmd.Context(), path(args[0])+"/"+string(verb), r, &reply); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), reply)
			}
			text := "accepted"
			if reply.Already {
				text = "nothing to do: it is so already"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s\n", verb, args[0], text)
			return err
		})
}
