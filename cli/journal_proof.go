package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/journal"
	"groom/replay"
)

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
		held := "no process holds it"
		if j.Living {
			held = "a process holds it"
		}
		fmt.Fprintf(w, "journal of the %s in %s (%s)\n", j.Of, j.Dir, held)
		fmt.Fprintf(w, "  entries   %d to %d, %d of them change tables\n", j.First, j.Last, j.Entries)
		fmt.Fprintf(w, "  size      %d KiB of log, %d KiB of archive: %s and %s, up to entry %d\n", j.Bytes>>10, j.ArchiveBytes>>10,
			count(j.Segments, "segment"), count(j.Anchors, "anchor"), j.Sealed)
		if j.Snapshot > 0 {
			fmt.Fprintf(w, "  snapshot  after entry %d\n", j.Snapshot)
		} else {
			fmt.Fprintln(w, "  snapshot  none yet: one is taken each 8,192 entries")
		}
		fmt.Fprintf(w, "  health    %s %s\n", j.Health, j.Reason)
		fmt.Fprintf(w, "  chain     %s\n  digest    %s\n", j.ChainTip, j.Digest)
		if err := printKinds(w, j.Kinds); err != nil {
			return err
		}
	}
	return nil
}

func printKinds(w io.Writer, kinds []api.KindCount) error {
	if len(kinds) == 0 {
		return nil
	}
	t := newListing(w, "  KIND", "ENTRIES", "BYTES", "FIRST", "LAST")
	for _, k := range kinds {
		t.row("  "+k.Kind, k.Entries, k.Bytes, when(k.First), when(k.Last))
	}
	return t.flush()
}

func newJournalStat() *cobra.Command {
	var f filter
	return newFilesVerb("stat", "Count entries and bytes by kind, of all or of those that are chosen", cobra.NoArgs, f.AddFlags,
		func(cmd *cobra.Command, d *files, of string, _ []string) error {
			chosen, err := f.get(cmd, d)
			if err != nil {
				return err
			}
			all := map[string][]api.KindCount{}
			err = d.each(of, func(p *replay.Past) (err error) {
				all[p.Of], err = p.Count(chosen)
				return err
			})
			if err != nil {
				return err
			}
			if f.on {
				return printJSON(cmd.OutOrStdout(), all)
			}
			for _, of := range replay.Journals {
				if kinds, ok := all[of]; ok {
					fmt.Fprintf(cmd.OutOrStdout(), "journal of the %s\n", of)
					if err := printKinds(cmd.OutOrStdout(), kinds); err != nil {
						return err
					}
				}
			}
			return nil
		})
}

// proof is what journal verify --json prints of each journal.
type proof struct {
	Of           string    `json:"of"`
	OK           bool      `json:"ok"`
	First        uint64    `json:"first"`
	Last         uint64    `json:"last"`
	Entries      uint64    `json:"entries"` // read; those that log and archive both hold count twice
	ReplayedFrom uint64    `json:"replayed_from"`
	Segments     int       `json:"segments"`
	Anchors      int       `json:"anchors"`
	Snapshots    int       `json:"snapshots"`
	Checkpoints  int       `json:"checkpoints"`
	Findings     []finding `json:"findings"`
	Notes        []string  `json:"notes,omitempty"`
	Seconds      float64   `json:"seconds"`
}

type finding struct {
	Index uint64 `json:"index,omitempty"`
	File  string `json:"file"`
	What  string `json:"what"`
}

func newJournalVerify() *cobra.Command {
	var asJSON asJSON
	var deep bool
	add := func(fs *pflag.FlagSet) {
		asJSON.AddFlags(fs)
		fs.BoolVar(&deep, "deep", false, "replay from the oldest anchor kept, not only from the oldest snapshot")
	}
	return newFilesVerb("verify", "Prove the journal: chain, digests, archive, and that snapshots hold what the replay gives", cobra.NoArgs, add,
		func(cmd *cobra.Command, d *files, of string, _ []string) error {
			proofs := []proof{}
			err := d.each(of, func(p *replay.Past) error {
				r, err := p.Verify(deep, nil)
				proofs = append(proofs, proofOf(p.Of, r))
				return err
			})
			if err != nil {
				return err
			}
			if asJSON.on {
				err = printJSON(cmd.OutOrStdout(), proofs)
			} else {
				err = printProofs(cmd.OutOrStdout(), proofs)
			}
			for _, p := range proofs {
				if !p.OK && err == nil {
					err = fail(exitFailed, fmt.Errorf("the journal of the %s is not as it was written", p.Of),
						"keep a copy of the directory; docs/journal.md tells what each finding means and what can be done")
				}
			}
			return err
		})
}

func proofOf(of string, r journal.Report) proof {
	p := proof{
		Of: of, OK: len(r.Findings) == 0, First: r.First, Last: r.Last, Entries: r.Entries, ReplayedFrom: r.ReplayedFrom,
		Segments: r.Segments, Anchors: r.Anchors, Snapshots: r.Snapshots, Checkpoints: r.Checkpoints, Notes: r.Notes,
		Findings: []finding{}, Seconds: r.Took.Round(time.Millisecond).Seconds(),
	}
	for _, f := range r.Findings {
		p.Findings = append(p.Findings, finding{f.Index, f.File, f.What})
	}
	return p
}

func printProofs(w io.Writer, proofs []proof) error {
	for _, p := range proofs {
		word := "proven"
		if !p.OK {
			word = "NOT PROVEN"
		}
		fmt.Fprintf(w, "journal of the %s: %s in %.3f s\n", p.Of, word, p.Seconds)
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintf(t, "  chain\tentries %d to %d\n", p.First, p.Last)
		fmt.Fprintf(t, "  replay\tfrom after entry %d, %s\n", p.ReplayedFrom, count(p.Checkpoints, "recorded digest"))
		fmt.Fprintf(t, "  files\t%s, %s, %s\n", count(p.Segments, "segment"), count(p.Anchors, "anchor"), count(p.Snapshots, "snapshot"))
		for _, n := range p.Notes {
			fmt.Fprintf(t, "  note\t%s\n", n)
		}
		for _, f := range p.Findings {
			at := ""
			if f.Index > 0 {
				at = fmt.Sprintf("entry %d: ", f.Index)
			}
			fmt.Fprintf(t, "  found\t%s%s (%s)\n", at, f.What, f.File)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func newJournalExport() *cobra.Command {
	var f filter
	var out string
	add := func(fs *pflag.FlagSet) {
		f.AddFlags(fs)
		fs.StringVarP(&out, "output", "o", "", "write to this file, which must not be there yet (default: standard output)")
	}
	return newFilesVerb("export", "Write entries as lines of JSON, with all that they hold", cobra.NoArgs, add,
		func(cmd *cobra.Command, d *files, of string, _ []string) error {
			chosen, err := f.get(cmd, d)
			if err != nil {
				return err
			}
			write := func(w io.Writer) error {
				b := bufio.NewWriterSize(w, 1<<16)
				enc := json.NewEncoder(b)
				enc.SetEscapeHTML(false)
				err := d.each(of, func(p *replay.Past) error {
					for v, err := range p.Entries(chosen) {
						if err != nil {
							return err
						}
						if err := enc.Encode(v); err != nil {
							return err
						}
					}
					return nil
				})
				return errors.Join(err, b.Flush())
			}
			if out == "" {
				return write(cmd.OutOrStdout())
			}
			return writeNew(out, write)
		})
}

// writeNew writes a file that is whole and synced under its name, or not there: a kill leaves it under another name.
func writeNew(path string, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return fail(exitFailed, fmt.Errorf("write %s: %w", path, os.ErrExist), "name a file that is not there yet")
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = errors.Join(write(tmp), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), path) // unlike a rename it takes no file's place
	}
	return errors.Join(err, os.Remove(tmp.Name()))
}
