package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"groom/api"
	"groom/node"
)

func newMaster(build string) *cobra.Command {
	var p process
	var addr string
	cmd := &cobra.Command{
		Use: "master", Short: "Run a master for grooms in other processes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			origin, err := settle(cmd)
			if err != nil {
				return err
			}
			if p.printConfig {
				return printConfig(cmd, origin)
			}
			no := p.options(cmd, build)
			no.Master = &node.MasterOptions{Addr: addr}
			n, err := node.Open(cmd.Context(), no)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "master is ready for grooms at %s; pages at %s\n", n.Master.Addr(), n.URL)
			<-cmd.Context().Done()
			return n.Close()
		},
	}
	cmd.Flags().StringVar(&addr, "master-addr", fmt.Sprintf("127.0.0.1:%d", api.PortMaster), "host:port where grooms register")
	p.AddFlags(cmd.Flags(), api.PortMasterWeb)
	return cmd
}
