package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/fsm"
	"groom/fsm/cluster"
	"groom/fsm/table"
	"groom/journal"
	"groom/story"
	"groom/wire"
)

func newJournal() *cobra.Command {
	return group("journal", "Read the journal of a groom or a master, living or not",
		newJournalInfo(), newJournalLs(), newJournalShow(), newJournalState())
}

// reader reads journals: of a living process through its pages, and of one that is gone from its data directory.
type reader interface {
	info(ctx context.Context) ([]api.JournalInfo, error)
	// page is the newest limit entries of a journal with an index from from to to, oldest first.
	page(ctx context.Context, of string, from, to uint64, limit int) ([]api.EntryView, error)
	state(ctx context.Context, of string) (json.RawMessage, error)
}

// newJournalVerb makes a verb that reads. It needs no agent where --data names a directory that no process holds.
func newJournalVerb(use, short string, args cobra.PositionalArgs, add func(*pflag.FlagSet), run func(cmd *cobra.Command, r reader, of string, args []string) error) *cobra.Command {
	t := new(target)
	var of string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := settle(cmd); err != nil {
				return err
			}
			if of != "" && of != "groom" && of != "master" {
				return usage(cmd, fmt.Errorf("--of %q: want groom or master", of))
			}
			r, err := t.reader()
			if err != nil {
				return err
			}
			return run(cmd, r, of, args)
		},
	}
	t.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&of, "of", "", "groom or master, where a process has both (ls and info show both, show and state the groom's)")
	if add != nil {
		add(cmd.Flags())
	}
	return cmd
}

func (t *target) reader() (reader, error) {
	if t.data == "" || t.addr != "" {
		return t.living()
	}
	if _, err := os.Stat(t.data); err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	d := &dead{dir: t.data}
	for _, of := range d.journals() {
		h, err := journal.OpenHistory(filepath.Join(t.data, of))
		if errors.Is(err, journal.ErrInUse) {
			return t.living()
		}
		if err == nil {
			living := h.Living()
			h.Close()
			if living {
				return t.living()
			}
		}
	}
	if len(d.journals()) == 0 {
		return nil, fail(exitFailed, fmt.Errorf("%s holds no journal", t.data), "name the data directory of a groom or a master")
	}
	return d, nil
}

func (t *target) living() (reader, error) {
	c, err := t.client()
	return &living{c}, err
}

// living asks the process that holds the journal.
type living struct{ c *wire.Client }

func (l *living) info(ctx context.Context) ([]api.JournalInfo, error) {
	var all []api.JournalInfo
	return all, l.c.Get(ctx, "/journal/info", &all)
}

func (l *living) page(ctx context.Context, of string, from, to uint64, limit int) ([]api.EntryView, error) {
	if limit > 0 {
		return l.ask(ctx, of, from, to, limit)
	}
	var all []api.EntryView
	for from = max(from, 1); ; {
		last := from + pageMost - 1
		if to > 0 {
			last = min(last, to)
		}
		page, err := l.ask(ctx, of, from, last, pageMost)
		all = append(all, page...)
		if err != nil || len(page) < pageMost || last == to {
			return all, err
		}
		from = last + 1
	}
}

// pageMost is what a process tells of its journal at once.
const pageMost = 10_000

func (l *living) ask(ctx context.Context, of string, from, to uint64, limit int) ([]api.EntryView, error) {
	q := url.Values{"of": {of}, "from": {strconv.FormatUint(from, 10)}, "to": {strconv.FormatUint(to, 10)}, "limit": {strconv.Itoa(limit)}}
	var page []api.EntryView
	return page, l.c.Get(ctx, "/journal?"+q.Encode(), &page)
}

func (l *living) state(ctx context.Context, of string) (json.RawMessage, error) {
	var state json.RawMessage
	return state, l.c.Get(ctx, "/state?of="+of, &state)
}

// dead reads the files of a data directory that no process holds, and changes none.
type dead struct{ dir string }

func (d *dead) journals() []string {
	var found []string
	for _, of := range []string{"groom", "master"} {
		if _, err := os.Stat(filepath.Join(d.dir, of)); err == nil {
			found = append(found, of)
		}
	}
	return found
}

// open opens one journal with the machine that replays it.
func (d *dead) open(of string) (string, *journal.History, *table.Machine, error) {
	if of == "" {
		of = d.journals()[0]
	}
	h, err := journal.OpenHistory(filepath.Join(d.dir, of))
	if err != nil {
		return of, nil, nil, fmt.Errorf("open journal of the %s: %w", of, err)
	}
	if of == "master" {
		return of, h, cluster.NewMachine(cluster.NewState(), nil), nil
	}
	return of, h, fsm.NewMachine(fsm.NewState(), nil), nil
}

func (d *dead) info(context.Context) ([]api.JournalInfo, error) {
	var all []api.JournalInfo
	for _, of := range d.journals() {
		_, h, m, err := d.open(of)
		if err != nil {
			return all, err
		}
		err = h.Replay(m, 0)
		stats := h.Stats()
		if err != nil {
			stats.Health, stats.Reason = string(api.HealthSafeMode), err.Error()
		}
		all = append(all, story.Info(of, filepath.Join(d.dir, of), stats, m.Digest(), 0))
		h.Close()
	}
	return all, nil
}

func (d *dead) page(_ context.Context, of string, from, to uint64, limit int) ([]api.EntryView, error) {
	of, h, m, err := d.open(of)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return story.Page(h.Entries, of, m.KindName, from, to, h.Stats().Last, limit)
}

func (d *dead) state(_ context.Context, of string) (json.RawMessage, error) {
	_, h, m, err := d.open(of)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.Replay(m, 0); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return m.StateJSON(), nil
}

func newJournalInfo() *cobra.Command {
	var asJSON asJSON
	return newJournalVerb("info", "Tell the range, size and state of the journals", cobra.NoArgs, asJSON.AddFlags,
		func(cmd *cobra.Command, r reader, of string, _ []string) error {
			all, err := r.info(cmd.Context())
			if err != nil {
				return err
			}
			shown := []api.JournalInfo{}
			for _, j := range all {
				if of == "" || j.Of == of {
					shown = append(shown, j)
				}
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), shown)
			}
			return printInfo(cmd.OutOrStdout(), shown)
		})
}

func printInfo(w io.Writer, all []api.JournalInfo) error {
	for i, j := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "journal of the %s in %s\n", j.Of, j.Dir)
		fmt.Fprintf(w, "  entries   %d to %d, %d of them change tables\n", j.First, j.Last, j.Entries)
		fmt.Fprintf(w, "  size      %d KiB, newest snapshot at %d\n", j.Bytes>>10, j.Snapshot)
		fmt.Fprintf(w, "  health    %s %s\n", j.Health, j.Reason)
		fmt.Fprintf(w, "  chain     %s\n  digest    %s\n", j.ChainTip, j.Digest)
	}
	return nil
}

func newJournalLs() *cobra.Command {
	var asJSON asJSON
	var from, to uint64
	var limit int
	add := func(fs *pflag.FlagSet) {
		asJSON.AddFlags(fs)
		fs.Uint64Var(&from, "from", 0, "first index")
		fs.Uint64Var(&to, "to", 0, "last index (default: the newest)")
		fs.IntVar(&limit, "limit", 1000, "print the newest so many of each; 0 prints all")
	}
	return newJournalVerb("ls", "List entries, oldest first", cobra.NoArgs, add,
		func(cmd *cobra.Command, r reader, of string, _ []string) error {
			if limit < 0 {
				return usage(cmd, fmt.Errorf("--limit %d: want a number from 0", limit))
			}
			all := []string{of}
			if of == "" {
				infos, err := r.info(cmd.Context())
				if err != nil {
					return err
				}
				all = nil
				for _, j := range infos {
					all = append(all, j.Of)
				}
			}
			for i, of := range all {
				page, err := r.page(cmd.Context(), of, from, to, limit)
				if err != nil {
					return err
				}
				if i > 0 && !asJSON.on {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				if err := printEntries(cmd.OutOrStdout(), of, page, asJSON.on); err != nil {
					return err
				}
			}
			return nil
		})
}

// printEntries lists entries: as lines of JSON, or as a table below the name of their journal.
func printEntries(w io.Writer, of string, page []api.EntryView, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, e := range page {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Fprintf(w, "journal of the %s\n", of)
	t := newListing(w, "INDEX", "AT", "KIND", "BYTES", "WHAT WAS DECIDED")
	for _, e := range page {
		t.row(e.Index, when(e.At), e.Kind, e.Size, e.Words)
	}
	return t.flush()
}

func newJournalShow() *cobra.Command {
	return newJournalVerb("show INDEX", "Show one entry: what was observed, what was decided, the rows it changed", cobra.ExactArgs(1), nil,
		func(cmd *cobra.Command, r reader, of string, args []string) error {
			index, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || index == 0 {
				return usage(cmd, fmt.Errorf("index %q: want a number from 1", args[0]))
			}
			page, err := r.page(cmd.Context(), of, index, index, 1)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				return fail(exitFailed, fmt.Errorf("the journal has no entry %d", index), "groom journal info tells its range")
			}
			return printJSON(cmd.OutOrStdout(), page[0])
		})
}

func newJournalState() *cobra.Command {
	return newJournalVerb("state", "Print every table as JSON, as the journal makes them", cobra.NoArgs, nil,
		func(cmd *cobra.Command, r reader, of string, _ []string) error {
			state, err := r.state(cmd.Context(), of)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), state)
		})
}
