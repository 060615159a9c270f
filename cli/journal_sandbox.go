package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/replay"
	"groom/server/home"
)

func newJournalBisect() *cobra.Command {
	var check string
	var from, to uint64
	var asJSON asJSON
	add := func(fs *pflag.FlagSet) {
		asJSON.AddFlags(fs)
		fs.StringVar(&check, "check", "", `a question about the tables, in jq, such as '.tasks | any(.failures > 1)'`)
		fs.Uint64Var(&from, "from", 0, "first index (default: the oldest that is kept)")
		fs.Uint64Var(&to, "to", 0, "last index (default: the newest)")
	}
	cmd := newFilesVerb("bisect --check EXPR", "Find the first entry after which a question is true, and stays true", cobra.NoArgs, add,
		func(cmd *cobra.Command, d *files, of string, _ []string) error {
			if check == "" {
				return usage(cmd, errors.New("--check is missing"))
			}
			question, err := replay.ParseCheck(check)
			if err != nil {
				return usage(cmd, err)
			}
			if to > 0 && from > to {
				return usage(cmd, fmt.Errorf("--from %d lies behind --to %d", from, to))
			}
			_, err = asked(d, of, func(p *replay.Past) (none struct{}, err error) {
				index, already, err := p.Bisect(cmd.Context(), question, from, to)
				if err != nil {
					return none, err
				}
				at := ""
				if to > 0 {
					at = fmt.Sprintf(" --at %d", to)
				}
				if index == 0 {
					return none, fail(exitFailed, errors.New("it is not true at the end"),
						"groom journal state --of %s%s shows the tables that it was asked of", p.Of, at)
				}
				v, err := p.Show(index)
				if err != nil {
					return none, err
				}
				out := cmd.OutOrStdout()
				if asJSON.on {
					return none, printJSON(out, struct {
						api.EntryView
						Already bool `json:"already"`
					}{v, already})
				}
				if already {
					fmt.Fprintf(out, "it was true already after entry %d, where this looked first\n", index)
				} else {
					fmt.Fprintf(out, "true since entry %d\n", index)
				}
				if err := printEntry(out, v); err != nil {
					return none, err
				}
				_, err = fmt.Fprintf(out, "to look at it: groom journal show %d --of %s\n", index, p.Of)
				return none, err
			})
			return err
		})
	cmd.Long = `Find the first entry after which a question about the tables is true.

The question is in jq, about the JSON that groom journal state prints, and counts as true unless its first answer is
false, null or none. The search goes by halves: it takes for granted that what is true once stays true up to --to. Of
a question that is true, false and true again it finds one of the entries that made it true.

  groom journal bisect --check '.tasks | any(.failures > 1)'
  groom journal bisect --check '.jobs | length >= 10' --of master`
	return cmd
}

func newJournalFork() *cobra.Command {
	at := "0"
	add := func(fs *pflag.FlagSet) {
		fs.StringVar(&at, "at", at, "after this entry, or at this time (default: now)")
	}
	return newFilesVerb("fork --at INDEX|TIME DIR", "Copy the history up to a moment into a new directory, on which nothing can run", cobra.ExactArgs(1), add,
		func(cmd *cobra.Command, d *files, of string, args []string) error {
			dir := args[0]
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				return fail(exitFailed, fmt.Errorf("fork to %s: %w", dir, fs.ErrExist), "name a directory that is not there yet")
			}
			_, err := asked(d, of, func(p *replay.Past) (none struct{}, err error) {
				index, err := p.Index(at)
				if err != nil {
					return none, err
				}
				if index == 0 {
					index = p.History().Stats().Last
				}
				if err := fork(p, d.dir, index, dir); err != nil {
					return none, err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s holds the journal of the %s up to entry %d; look at it with --data %s\n", dir, p.Of, index, strconv.Quote(dir))
				return none, nil
			})
			return err
		})
}

// fork makes a directory with a journal up to an entry, and the mark that nothing may run on it. It is made under another
// name beside the one that it gets, mark first: a kill before the rename leaves that one, which no start would take, and
// nothing under dir.
func fork(p *replay.Past, data string, index uint64, dir string) error {
	data, err := filepath.Abs(data)
	if err != nil {
		return fmt.Errorf("find data directory: %w", err)
	}
	dir = filepath.Clean(dir)
	made, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return fmt.Errorf("make directory of the fork: %w", err)
	}
	mark := fmt.Sprintf("a fork of %s after entry %d\n", filepath.Join(data, p.Of), index)
	err = home.WriteFile(filepath.Join(made, home.SandboxName), []byte(mark))
	if err == nil {
		err = p.History().Fork(index, filepath.Join(made, p.Of))
	}
	if err == nil {
		err = os.Rename(made, dir) // refused where something has come up meanwhile
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(made))
	}
	return home.SyncDir(filepath.Dir(dir))
}
