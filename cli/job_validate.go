package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"groom/job"
)

func newJobValidate() *cobra.Command {
	var print bool
	cmd := &cobra.Command{
		Use: "validate JOB.yaml", Short: "Check a job file, without an agent", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := job.Load(args[0])
			if err != nil {
				return err
			}
			if print {
				return printJSON(cmd.OutOrStdout(), spec)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is a good job file\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&print, "print", false, "print the job as JSON, with every default filled in")
	return cmd
}
