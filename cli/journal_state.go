package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/replay"
)

func newJournalState() *cobra.Command {
	at := "0"
	add := func(fs *pflag.FlagSet) {
		fs.StringVar(&at, "at", at, "after this entry, or at this time: an index, 2026-01-31T15:04:05Z, or 90s for that long ago (default: now)")
	}
	return newJournalVerb("state", "Print every table as JSON, as it stood at any moment", cobra.NoArgs, add,
		func(cmd *cobra.Command, r reader, of string, _ []string) error {
			state, err := r.state(cmd.Context(), of, at)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), state)
		})
}

func newJournalDiff() *cobra.Command {
	var asJSON asJSON
	return newJournalVerb("diff A B", "Tell what changed between two moments, each an index or a time", cobra.ExactArgs(2), asJSON.AddFlags,
		func(cmd *cobra.Command, r reader, of string, args []string) error {
			d, err := r.diff(cmd.Context(), of, args[0], args[1])
			if err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), d)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "journal of the %s, from after entry %d to after entry %d: %s\n", d.Of, d.A, d.B, count(len(d.Rows), "row"))
			return printChanges(cmd.OutOrStdout(), d.Rows)
		})
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func newJournalBlame() *cobra.Command {
	var asJSON asJSON
	return newFilesVerb("blame OBJECT", "List the entries that touched a job, a task, an attempt or a row (TABLE/KEY), and what each changed",
		cobra.ExactArgs(1), asJSON.AddFlags,
		func(cmd *cobra.Command, d *files, of string, args []string) error {
			s, err := d.story(of, args[0], replay.Blame)
			if err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), s.Steps)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: touched by %d entries\n", s.Object, len(s.Steps))
			for _, step := range s.Steps {
				printStep(cmd.OutOrStdout(), step, every)
			}
			return nil
		})
}

// printStep tells an entry of a story: what was decided, and the fields that it changed, as far as they are told.
func printStep(w io.Writer, step api.StoryStep, told func(field string) bool) {
	fmt.Fprintf(w, "\n%s #%d  %s  %s\n  %s\n", step.Of, step.Index, when(step.At), step.Kind, step.Words)
	if step.Refused != "" {
		fmt.Fprintf(w, "  refused: %s\n", step.Refused)
	}
	for _, c := range step.Changes {
		var all []string
		for _, f := range c.Fields {
			if told(f.Field) {
				all = append(all, f.Field+" "+arrow(f))
			}
		}
		if c.After == nil {
			all = []string{"the row left"}
		}
		if len(all) > 0 {
			fmt.Fprintf(w, "  %s/%s: %s\n", c.Table, c.Key, strings.Join(all, ", "))
		}
	}
}

func every(string) bool { return true }

// telling are the fields that say something to who asks why. Blame, show and state have them all.
func telling(field string) bool {
	switch first, _, _ := strings.Cut(field, "."); first {
	case "state", "attempt", "failures", "uncounted", "counted", "final", "moved", "reason", "cause", "failure", "epoch", "pid", "done",
		"unenforced", "period", "resume", "stop_due":
		return true
	}
	return slices.Contains([]string{
		"order.by", "order.signal", "order.why", "order.grace", "order.at.wall", "next_try.wall", "started.wall",
		"end.outcome.kind", "end.outcome.code", "end.outcome.signal", "end.outcome.by", "end.unproven",
		"outcome.kind", "outcome.code", "outcome.signal", "restart.limit", "limit",
	}, field)
}

func newJournalWhy() *cobra.Command {
	var asJSON asJSON
	return newJournalVerb("why ATTEMPT|TASK|JOB", "Tell why an attempt, a task or a job (or NAME, NAME/INDEX, NAME/INDEX/N) is as it is",
		cobra.ExactArgs(1), asJSON.AddFlags,
		func(cmd *cobra.Command, r reader, of string, args []string) error {
			s, err := r.why(cmd.Context(), of, args[0])
			if err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), s)
			}
			printWhy(cmd.OutOrStdout(), s)
			return nil
		})
}

func printWhy(w io.Writer, s api.Story) {
	fmt.Fprintf(w, "%s: %s\n", s.Object, s.Answer)
	for _, step := range s.Steps {
		printStep(w, step, telling)
		if !step.Settled {
			continue
		}
		fmt.Fprintf(w, "  settled here\n    observed  %s\n", short(string(step.Observed)))
		for _, r := range step.Believed {
			var all []string
			for _, f := range replay.Fields(nil, r.Row) {
				if telling(f.Field) {
					all = append(all, f.Field+" "+arrow(f))
				}
			}
			fmt.Fprintf(w, "    believed  %s/%s: %s\n", r.Table, r.Key, strings.Join(all, ", "))
		}
	}
	fmt.Fprintln(w)
	for _, task := range failed(s) {
		fmt.Fprintf(w, "why its task failed: groom journal why %s\n", task)
	}
	for _, step := range s.Steps {
		if step.Settled {
			fmt.Fprintf(w, "all that the %[1]s believed when it decided that: groom journal state --of %[1]s --at %[2]d\n", step.Of, step.Index-1)
		}
	}
}

// failed are the tasks of which the story of a job says that they failed.
func failed(s api.Story) []string {
	var tasks []string
	for _, step := range s.Steps {
		for _, c := range step.Changes {
			for _, f := range c.Fields {
				if c.Table == "tasks" && c.Key != s.Object && f.Field == "state" && f.After == string(api.TaskFailed) && !slices.Contains(tasks, c.Key) {
					tasks = append(tasks, c.Key)
				}
			}
		}
	}
	return tasks
}
