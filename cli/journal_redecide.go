package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/replay"
)

func newJournalRedecide() *cobra.Command {
	var asJSON asJSON
	var build string
	var from, to uint64
	add := func(fs *pflag.FlagSet) {
		asJSON.AddFlags(fs)
		fs.StringVar(&build, "build", "", "have this other groom decide, and not the one that runs")
		fs.Uint64Var(&from, "from", 0, "first index (default: the oldest that is kept)")
		fs.Uint64Var(&to, "to", 0, "last index (default: the newest)")
	}
	return newFilesVerb("redecide", "List each recorded decision that a build would make otherwise; status 3 when there is one", cobra.NoArgs, add,
		func(cmd *cobra.Command, d *files, of string, _ []string) error {
			if build != "" {
				return otherBuild(cmd, build, d.dir, of, asJSON.on, from, to)
			}
			out := cmd.OutOrStdout()
			enc := json.NewEncoder(out)
			enc.SetEscapeHTML(false)
			var all []replay.Redecided
			err := d.each(of, func(p *replay.Past) error {
				r, err := p.Redecide(from, to, func(v replay.Divergence) error {
					if asJSON.on {
						return enc.Encode(v)
					}
					if v.Reworded {
						return nil // counted
					}
					fmt.Fprintf(out, "%s #%d  %s  %s\n  recorded  %s\n", v.Of, v.Index, when(v.At), v.Kind, v.Recorded)
					if v.Refused != "" {
						fmt.Fprintf(out, "  refused   %s\n", v.Refused)
					} else {
						fmt.Fprintf(out, "  now       %s\n", v.Now)
					}
					return printChanges(out, v.Rows)
				})
				all = append(all, r)
				return err
			})
			if err != nil {
				return err
			}
			differs := false
			for _, r := range all {
				differs = differs || r.Differs()
				if asJSON.on {
					err = errors.Join(err, enc.Encode(r))
					continue
				}
				fmt.Fprintf(out, "journal of the %s, entries %d to %d: %d decisions are the same, %d only worded otherwise, %d changed, %d refused; %d entries are none\n",
					r.Of, r.From, r.To, r.Same, r.Reworded, r.Changed, r.Refused, r.Skipped)
			}
			if err == nil && differs {
				return fail(exitDiffers, errors.New("this build would have decided otherwise"), "groom journal show INDEX --of groom|master shows what was recorded")
			}
			return err
		})
}

// otherBuild has another build read the history by itself: its tables, its decisions, its words.
func otherBuild(cmd *cobra.Command, build, data, of string, asJSON bool, from, to uint64) error {
	args := []string{"journal", "redecide", "--data", data, "--from", strconv.FormatUint(from, 10), "--to", strconv.FormatUint(to, 10)}
	if of != "" {
		args = append(args, "--of", of)
	}
	if asJSON {
		args = append(args, "--json")
	}
	const hint = "--build names the file of another groom, such as ./groom.new"
	help, err := exec.CommandContext(cmd.Context(), build, "journal", "redecide", "--help").CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		return fail(exitFailed, fmt.Errorf("run the other build: %w", err), hint)
	}
	if !bytes.Contains(help, []byte("groom journal redecide")) {
		return fail(exitFailed, fmt.Errorf("%s is no groom, or is older than groom journal redecide", build), hint)
	}
	other := exec.CommandContext(cmd.Context(), build, args...)
	other.Stdout, other.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	err = other.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return fail(exit.ExitCode(), errors.New(""), "") // it has told why
	}
	if err != nil {
		return fail(exitFailed, fmt.Errorf("run the other build: %w", err), hint)
	}
	return nil
}
