package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/replay"
)

// filter is the flags that choose entries.
type filter struct {
	asJSON
	from, to           uint64
	kinds              []string
	job, task, attempt string
	since, until       string
}

func (f *filter) AddFlags(fs *pflag.FlagSet) {
	f.asJSON.AddFlags(fs)
	fs.Uint64Var(&f.from, "from", 0, "first index")
	fs.Uint64Var(&f.to, "to", 0, "last index (default: the newest)")
	fs.StringSliceVar(&f.kinds, "kind", nil, "only entries of these kinds, such as attempt.ended")
	fs.StringVar(&f.job, "job", "", "only what changed this job, its tasks or their attempts")
	fs.StringVar(&f.task, "task", "", "only what changed this task or its attempts")
	fs.StringVar(&f.attempt, "attempt", "", "only what changed this attempt")
	fs.StringVar(&f.since, "since", "", "only entries stored at this time or later: 2026-01-31T15:04:05Z, or 90s for that long ago")
	fs.StringVar(&f.until, "until", "", "only entries stored at this time or before")
}

func (f *filter) get(cmd *cobra.Command, r reader) (replay.Filter, error) {
	chosen := replay.Filter{From: f.from, To: f.to, Kinds: f.kinds, Object: replay.Object(f.job, f.task, f.attempt)}
	if d, ok := r.(*files); ok && chosen.Object != "" {
		var err error
		if chosen.Object, err = d.resolve(chosen.Object); err != nil {
			return chosen, err
		}
	}
	for _, given := range []struct {
		flag, text string
		t          *time.Time
	}{{"since", f.since, &chosen.Since}, {"until", f.until, &chosen.Until}} {
		if given.text == "" {
			continue
		}
		t, err := replay.Time(given.text)
		if err != nil {
			return chosen, usage(cmd, fmt.Errorf("--%s: %w", given.flag, err))
		}
		*given.t = t
	}
	if f.to != 0 && f.from > f.to {
		return chosen, usage(cmd, fmt.Errorf("--from %d is after --to %d", f.from, f.to))
	}
	return chosen, nil
}

func newJournalLs() *cobra.Command {
	var f filter
	limit := 1000
	add := func(fs *pflag.FlagSet) {
		f.AddFlags(fs)
		fs.IntVar(&limit, "limit", limit, "print the newest so many of each; 0 prints all, as they are read")
	}
	return newJournalVerb("ls", "List entries, oldest first", cobra.NoArgs, add,
		func(cmd *cobra.Command, r reader, of string, _ []string) error {
			if limit < 0 {
				return usage(cmd, fmt.Errorf("--limit %d: want a number from 0", limit))
			}
			chosen, err := f.get(cmd, r)
			if err != nil {
				return err
			}
			all := []string{of}
			if of == "" {
				if all, err = ofs(cmd, r); err != nil {
					return err
				}
			}
			for i, of := range all {
				if i > 0 && !f.on {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				// The first lines are seen at once, and the rest of a long list is not written line by line.
				b, n := bufio.NewWriter(cmd.OutOrStdout()), 0
				p := newEntryPrinter(b, of, f.on)
				for v, err := range r.entries(cmd.Context(), of, chosen, limit) {
					if err != nil {
						return errors.Join(b.Flush(), err)
					}
					if err := p.print(v); err != nil {
						return err
					}
					if n++; n < 100 {
						if err := b.Flush(); err != nil {
							return err
						}
					}
				}
				if err := b.Flush(); err != nil {
					return err
				}
			}
			return nil
		})
}

// ofs names the journals that there are.
func ofs(cmd *cobra.Command, r reader) ([]string, error) {
	if f, ok := r.(*files); ok {
		return f.journals(), nil
	}
	infos, err := r.(*distant).journals(cmd.Context()) // of readers there are these two
	var all []string
	for _, j := range infos {
		all = append(all, j.Of)
	}
	return all, err
}

// entryPrinter lists entries as they come: as lines of JSON, or as a table below the name of their journal. Columns are
// of a fixed width where they can be, so that a long list need not be read whole before its first line is printed.
type entryPrinter struct {
	w    io.Writer
	json *json.Encoder
}

const entryLine = "%8v  %-19v  %-19v  %6v  %v\n"

func newEntryPrinter(w io.Writer, of string, asJSON bool) *entryPrinter {
	p := &entryPrinter{w: w}
	if asJSON {
		p.json = json.NewEncoder(w)
		p.json.SetEscapeHTML(false)
		return p
	}
	fmt.Fprintf(w, "journal of the %s\n", of)
	fmt.Fprintf(w, entryLine, "INDEX", "AT", "KIND", "BYTES", "WHAT WAS DECIDED")
	return p
}

func (p *entryPrinter) print(v api.EntryView) error {
	if p.json != nil {
		return p.json.Encode(v)
	}
	at := when(v.At)
	if at == "" {
		at = "-"
	}
	_, err := fmt.Fprintf(p.w, entryLine, v.Index, at, v.Kind, v.Size, v.Words)
	return err
}

func newJournalShow() *cobra.Command {
	var asJSON asJSON
	return newJournalVerb("show INDEX", "Show one entry: what was observed, what was decided, the rows it changed", cobra.ExactArgs(1), asJSON.AddFlags,
		func(cmd *cobra.Command, r reader, of string, args []string) error {
			index, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || index == 0 {
				return usage(cmd, fmt.Errorf("index %q: want a number from 1", args[0]))
			}
			v, err := r.show(cmd.Context(), of, index)
			if err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), v)
			}
			return printEntry(cmd.OutOrStdout(), v)
		})
}

// printEntry shows an entry as people read it.
func printEntry(w io.Writer, v api.EntryView) error {
	fmt.Fprintf(w, "entry %d of the %s\n", v.Index, v.Of)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "  %s\t%s\n", name, value)
		}
	}
	row("at", when(v.At))
	row("kind", fmt.Sprintf("%s, version %d, %d bytes", v.Kind, v.Version, v.Size))
	row("chain", v.Hash)
	row("observed", string(v.Observed))
	row("decided", v.Words)
	row("refused", v.Refused)
	if len(v.Changes) == 0 && len(v.Body) > 0 && v.Observed == nil {
		row("body", string(v.Body))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printChanges(w, v.Changes)
}

// printChanges tells changed rows field by field.
func printChanges(w io.Writer, rows []api.RowChange) error {
	for _, c := range rows {
		what := "changed"
		switch {
		case c.Before == nil && c.After == nil:
			what = "left"
		case c.Before == nil:
			what = "came"
		case c.After == nil:
			what = "left"
		}
		fmt.Fprintf(w, "%s/%s %s\n", c.Table, c.Key, what)
		for _, f := range c.Fields {
			if what == "left" {
				break
			}
			fmt.Fprintf(w, "  %s: %s\n", f.Field, arrow(f))
		}
	}
	return nil
}

// arrow tells a field before and after.
func arrow(f api.FieldChange) string {
	switch {
	case f.Before == "":
		return short(f.After)
	case f.After == "":
		return short(f.Before) + " → nothing"
	}
	return short(f.Before) + " → " + short(f.After)
}

// short cuts a long value; show --json has it whole.
func short(text string) string {
	const most = 160
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
