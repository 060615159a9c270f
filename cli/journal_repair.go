package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/fsm"
	"groom/fsm/cluster"
	"groom/journal"
)

// newRepair makes a verb that changes a journal, which no process may hold.
func newRepair(use, short string, args cobra.PositionalArgs, add func(*pflag.FlagSet), run func(cmd *cobra.Command, dir, of string, args []string) error) *cobra.Command {
	return newJournalCommand(use, short, args, add, func(cmd *cobra.Command, t *target, of string, args []string) error {
		if t.addr != "" {
			return fail(exitUsage, errors.New("this changes the files of the journal, which no process may hold"),
				"name the data directory on its host with --data, and leave --addr out")
		}
		data := t.data
		if data == "" {
			data = defaultData()
		}
		if of == "" {
			of = "groom"
		}
		dir := filepath.Join(data, of)
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("find journal: %w", err)
		}
		err := run(cmd, dir, of, args)
		if errors.Is(err, journal.ErrInUse) {
			return fail(exitFailed, err, "end the process that holds it first; its tasks run on, and are adopted by the next start")
		}
		return err
	})
}

func newJournalRebuild(build string) *cobra.Command {
	var yes bool
	add := func(fs *pflag.FlagSet) {
		fs.BoolVar(&yes, "yes", false, "do not ask")
	}
	return newRepair("rebuild", "Make a log that is lost or damaged anew, from its archive, its mirror, and what can be read of it", cobra.NoArgs, add,
		func(cmd *cobra.Command, dir, of string, _ []string) error {
			if h, err := journal.OpenHistory(dir); err == nil {
				damaged := h.Stats().Reason != ""
				living := h.Living()
				for _, err := range h.Entries(0, 0) { // whether each follows on the one before
					damaged = damaged || err != nil
					if damaged || living {
						break
					}
				}
				if err := h.Close(); err != nil {
					return err
				}
				if living {
					return journal.ErrInUse
				}
				if !damaged {
					fmt.Fprintf(cmd.ErrOrStderr(), "groom: the journal of the %s can be read from end to end\n", of)
				}
			} else if errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if !yes && !agreed(cmd, fmt.Sprintf("rebuild the journal of the %s in %s? The old file is kept under another name", of, dir)) {
				return fail(exitFailed, errors.New("nothing was changed"), "add --yes to go on without being asked")
			}
			r, err := journal.Rebuild(dir, build, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), r)
			fmt.Fprintln(cmd.OutOrStdout(), "prove it with groom journal verify --deep, then start the process again")
			return nil
		})
}

func newJournalSkip(build string) *cobra.Command {
	var why string
	add := func(fs *pflag.FlagSet) {
		fs.StringVar(&why, "why", "", "the reason, which the journal keeps together with who you are")
	}
	return newRepair("skip INDEX --why TEXT", "Record that an entry which put the journal into safe mode shall never be applied", cobra.ExactArgs(1), add,
		func(cmd *cobra.Command, dir, of string, args []string) error {
			index, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || index == 0 {
				return usage(cmd, fmt.Errorf("index %q: want a number from 1", args[0]))
			}
			if why == "" {
				return usage(cmd, errors.New("--why is missing: the journal keeps the reason"))
			}
			var m journal.Machine = fsm.NewMachine(fsm.NewState(), nil)
			if of == "master" {
				m = cluster.NewMachine(cluster.NewState(), nil)
			}
			j, err := journal.Open(cmd.Context(), journal.Options{Dir: dir, Machine: m, Build: build, Fatal: func(error) {}})
			if err != nil {
				return err
			}
			who := strconv.Itoa(os.Getuid())
			if u, err := user.Current(); err == nil {
				who = u.Username
			}
			if err := errors.Join(j.Skip(cmd.Context(), index, who, why), j.Close()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "entry %d of the %s is skipped from the next start on; the journal says so for ever\n", index, of)
			return nil
		})
}
