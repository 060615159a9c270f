package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/doctor"
)

type doctorOptions struct {
	agent    agentOptions // its settings, and no other of its flags
	rehearse bool
	asJSON   asJSON
}

func (o *doctorOptions) AddFlags(fs *pflag.FlagSet) {
	agent := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	o.agent.AddFlags(agent)
	agent.VisitAll(func(f *pflag.Flag) {
		if isSetting(f) || f.Name == "config" {
			fs.AddFlag(f)
		}
	})
	fs.BoolVar(&o.rehearse, "rehearse", false, "start this build on a copy of the journals, and tell what it would adopt")
	o.asJSON.AddFlags(fs)
}

func newDoctor(build string) *cobra.Command {
	o := new(doctorOptions)
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check this host, and what a start of groom agent would find on it", Args: cobra.NoArgs,
		Long: `doctor checks the host and the data directory for a groom agent with the same settings, whether one runs or not, and
changes nothing. With --rehearse it opens a copy of the journals with this build: what to do before an upgrade.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, build) },
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func (o *doctorOptions) run(cmd *cobra.Command, build string) error {
	if _, err := settle(cmd); err != nil {
		return err
	}
	report, err := doctor.Examine(cmd.Context(), doctor.Options{
		Data: o.agent.data, LocalDirs: o.agent.localDirs, MaxTasks: o.agent.maxTasks, Build: build, Rehearse: o.rehearse,
	})
	if err != nil {
		return err
	}
	if o.asJSON.on {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		err = printReport(cmd.OutOrStdout(), report)
	}
	if n := report.Failed(); err == nil && n > 0 {
		return fail(exitUnfit, fmt.Errorf("%d of %d checks failed", n, len(report.Checks)), "each of them says what to do; then groom doctor again")
	}
	return err
}

// printReport prints a line a check, and below it what to do.
func printReport(w io.Writer, r doctor.Report) error {
	p := &printer{w: w}
	for _, c := range r.Checks {
		p.f("%-4s  %-11s  %s\n", c.Level, c.Name, c.Words)
		if c.Hint != "" {
			p.f("%-4s  %-11s  hint: %s\n", "", "", c.Hint)
		}
	}
	if r.Rehearsal == nil {
		return p.err
	}
	for _, a := range r.Rehearsal.Attempts {
		p.f("\n%s: %s\n", a.Attempt, a.Finding)
		p.f("  found: %s%s\n", a.Words, pids(a))
		if a.Then != "" {
			p.f("  then:  %s\n", a.Then)
		}
	}
	return p.err
}

func pids(a doctor.Adoption) string {
	switch {
	case a.Finding != api.FoundAlive:
		return ""
	case a.Pid == 0:
		return fmt.Sprintf(" (shim %d, no task yet)", a.ShimPid)
	}
	return fmt.Sprintf(" (task %d, shim %d)", a.Pid, a.ShimPid)
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
