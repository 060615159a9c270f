package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/journal"
	"groom/node"
	"groom/notify"
)

// defaultTasks is how many tasks a groom takes at once, after Hama.
const defaultTasks = 3

// process is what agent and master share.
type process struct {
	data, name, webAddr, config string
	insecure, printConfig       bool
	historyAge                  time.Duration
	historySize                 int64 // MiB
}

func (p *process) AddFlags(fs *pflag.FlagSet, webPort int) {
	host, _ := os.Hostname() // an empty name is told apart by its id
	fs.StringVar(&p.data, "data", defaultData(), "data directory: journals, tokens, and where attempts run unless --local-dir says otherwise")
	fs.StringVar(&p.name, "name", host, "name of this process, for people")
	fs.StringVar(&p.webAddr, "web-addr", fmt.Sprintf("127.0.0.1:%d", webPort), "host:port of the pages")
	fs.DurationVar(&p.historyAge, "history-age", 0, "how long journal entries are kept in the archive, such as 2160h; 0 keeps all")
	fs.Int64Var(&p.historySize, "history-size", 0, "MiB that the archive of a journal may take; 0 for any size")
	fs.BoolVar(&p.insecure, "insecure", false, "allow addresses beyond loopback, without TLS: whoever reaches them is trusted")
	markSettings(fs)
	fs.StringVar(&p.config, "config", "", "file with settings, one line a flag")
	fs.BoolVar(&p.printConfig, "print-config", false, "print each setting and where it came from, then end")
}

func (p *process) options(cmd *cobra.Command, build string) node.Options {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	manager, err := notify.Take()
	if err != nil {
		log.Warn("the service manager is not told how it goes", "err", err)
	}
	return node.Options{
		Data: p.data, Name: p.name, Build: build, WebAddr: p.webAddr, Insecure: p.insecure, Manager: manager, Log: log,
		Retain: journal.Retention{Age: p.historyAge, Bytes: p.historySize << 20},
	}
}

type agentOptions struct {
	process
	localDirs, masters             []string
	maxTasks                       int
	workerAddr, reportAddr, tokens string
	fresh, yes, stopTasks          bool
}

func (o *agentOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.localDirs, "local-dir", nil, "directories where attempts run (default: DATA/local)")
	fs.IntVar(&o.maxTasks, "max-tasks", defaultTasks, "tasks at once")
	fs.StringVar(&o.workerAddr, "worker-addr", fmt.Sprintf("127.0.0.1:%d", api.PortWorker), "host:port where masters give directives")
	fs.StringVar(&o.reportAddr, "report-addr", fmt.Sprintf("127.0.0.1:%d", api.PortTaskReport), "host:port where tasks report; they prefer the unix socket")
	fs.StringSliceVar(&o.masters, "masters", nil, "host:port of each master (default: one in this process)")
	fs.StringVar(&o.tokens, "master-token-file", "", "file with the masters' token: DATA/token of a master")
	fs.BoolVar(&o.stopTasks, "stop-tasks", false, "stop the tasks of this groom when it is told to end; otherwise they run on")
	o.process.AddFlags(fs, api.PortGroomWeb)
	fs.BoolVar(&o.fresh, "fresh", false, "start with empty tables: forget every job, kill what still runs")
	fs.BoolVar(&o.yes, "yes", false, "do not ask before --fresh")
}

func newAgent(build string) *cobra.Command {
	o := new(agentOptions)
	cmd := &cobra.Command{
		Use: "agent", Short: "Run a groom, with a master of its own unless told of others", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, build) },
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func (o *agentOptions) run(cmd *cobra.Command, build string) error {
	origin, err := settle(cmd)
	if err != nil {
		return err
	}
	if o.printConfig {
		return printConfig(cmd, origin)
	}
	if o.maxTasks < 1 {
		return usage(cmd, fmt.Errorf("--max-tasks %d: want 1 or more", o.maxTasks))
	}
	no := o.options(cmd, build)
	no.Groom = &node.GroomOptions{
		LocalDirs: o.localDirs, MaxTasks: o.maxTasks, WorkerAddr: o.workerAddr, ReportAddr: o.reportAddr, Masters: o.masters,
	}
	if len(o.masters) == 0 {
		no.Master = new(node.MasterOptions)
	} else if no.Groom.Token, err = o.masterToken(cmd); err != nil {
		return err
	}
	if o.fresh {
		if err := o.clear(cmd); err != nil {
			return err
		}
	}
	n, err := node.Open(cmd.Context(), no)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "groom is ready: %s\n", n.URL)
	<-cmd.Context().Done()
	if o.stopTasks {
		o.stop(cmd, n)
	} else if left := len(n.Groom.Status().Attempts); left > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "groom: %d tasks run on; groom agent --data %s adopts them\n", left, o.data)
	}
	return n.Close()
}

func (o *agentOptions) masterToken(cmd *cobra.Command) (string, error) {
	for _, m := range o.masters {
		if _, _, err := net.SplitHostPort(m); err != nil {
			return "", usage(cmd, fmt.Errorf("--masters %q: %w", m, err))
		}
	}
	if o.tokens == "" {
		return "", fail(exitUsage, errors.New("--masters without --master-token-file: a master admits only who shows its token"),
			"copy DATA/token of the master to this host, and name the copy")
	}
	b, err := os.ReadFile(o.tokens)
	if err != nil {
		return "", fmt.Errorf("read masters' token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// clear empties the data directory, once somebody has said that it may.
func (o *agentOptions) clear(cmd *cobra.Command) error {
	if !o.yes && !agreed(cmd, fmt.Sprintf("forget every job in %s, and kill what still runs?", o.data)) {
		return fail(exitFailed, errors.New("nothing was changed"), "add --yes to go on without being asked")
	}
	return node.Clear(cmd.Context(), o.data, o.localDirs, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
}

// stop asks the master to stop every job, and waits for this groom's processes to end. A second signal cuts it short.
func (o *agentOptions) stop(cmd *cobra.Command, n *node.Node) {
	ctx := context.WithoutCancel(cmd.Context())
	for {
		left := n.Groom.Status().Attempts
		if len(left) == 0 {
			return
		}
		for _, a := range left {
			task := a.ID.Task()
			r := api.ActRequest{
				Version: api.Version, Verb: api.VerbStop, Job: string(task.Job()), Tasks: []int{task.Index()},
				Reason: "the groom ends, and was told to stop its tasks",
			}
			if _, err := n.Actions.Act(ctx, r); err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "groom: stop %s: %v\n", task, err)
			}
		}
		time.Sleep(lookEvery)
	}
}
