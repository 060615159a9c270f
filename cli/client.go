package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/server/home"
	"groom/wire"
)

// target says which agent or master a verb talks to.
type target struct {
	addr, data, tokenFile string
}

// AddFlags adds the flags of every verb that talks to an agent.
func (t *target) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&t.addr, "addr", "", "host:port of the agent's or master's pages (default: that of --data, else 127.0.0.1:40015)")
	fs.StringVar(&t.data, "data", "", "data directory of the agent, where its address and its token are found")
	fs.StringVar(&t.tokenFile, "token-file", "", "file with the agent's token (default: that of --data)")
	markSettings(fs)
}

// client makes the client. A token that cannot be read is left out: reading needs none, and who needs one is told.
func (t *target) client() (*wire.Client, error) {
	addr := t.addr
	if addr == "" && t.data != "" {
		if addr = home.ReadAddrs(t.data)["web"]; addr == "" {
			return nil, fail(exitNoAgent, fmt.Errorf("no agent has run in %s", t.data), "start one with groom agent --data %s, or name another with --addr", t.data)
		}
	}
	if addr == "" {
		addr = fmt.Sprintf("127.0.0.1:%d", api.PortGroomWeb)
	}
	file := t.tokenFile
	switch {
	case file != "":
	case t.data != "":
		file = filepath.Join(t.data, "token")
	default:
		file = filepath.Join(defaultData(), "token")
	}
	token, _ := os.ReadFile(file)
	return &wire.Client{Base: "http://" + addr, Token: strings.TrimSpace(string(token)), HTTP: new(http.Client)}, nil
}

// newVerb makes a command that talks to an agent. add is given the command's flags.
func newVerb(use, short string, args cobra.PositionalArgs, add func(*pflag.FlagSet), run func(*cobra.Command, *wire.Client, []string) error) *cobra.Command {
	t := new(target)
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := settle(cmd); err != nil {
				return err
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			return run(cmd, c, args)
		},
	}
	t.AddFlags(cmd.Flags())
	if add != nil {
		add(cmd.Flags())
	}
	return cmd
}

// group makes a command that only holds others.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(verbs...)
	return cmd
}
