package cli

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/replay"
)

// tailWait is how often a journal that is followed is looked at.
const tailWait = 300 * time.Millisecond

func newJournalTail() *cobra.Command {
	var f filter
	var follow bool
	lines := 10
	add := func(fs *pflag.FlagSet) {
		f.AddFlags(fs)
		fs.BoolVarP(&follow, "follow", "f", false, "go on with each entry that is added, until interrupted")
		fs.IntVarP(&lines, "lines", "n", lines, "begin with the newest so many")
	}
	return newJournalVerb("tail", "Print the newest entries of one journal, and follow it", cobra.NoArgs, add,
		func(cmd *cobra.Command, r reader, of string, _ []string) error {
			chosen, err := f.get(cmd, r)
			if err != nil {
				return err
			}
			if all, err := ofs(cmd, r); err != nil {
				return err
			} else if of == "" {
				of = all[0]
			}
			ctx := cmd.Context()
			p := newEntryPrinter(cmd.OutOrStdout(), of, f.on)
			limit := max(lines, 1)
			size := int64(-1)
			for next := uint64(0); ; {
				last := next
				if d, ok := r.(*files); !ok || d.grew(of, &size) {
					if last, err = newest(cmd, r, of); err != nil {
						return err
					}
				} else {
					last--
				}
				if next == 0 || last >= next {
					page := chosen
					page.From, page.To = max(chosen.From, next), last
					for v, err := range r.entries(ctx, of, page, limit) {
						if err != nil {
							return err
						}
						if lines == 0 && next == 0 {
							continue
						}
						if err := p.print(v); err != nil {
							return err
						}
					}
					next, limit = last+1, 0
				}
				if !follow || chosen.To != 0 && last >= chosen.To {
					return nil
				}
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(tailWait):
				}
			}
		})
}

// grew says whether there is more of a journal than last time, without reading it.
func (d *files) grew(of string, size *int64) bool {
	now := int64(0)
	paths, _ := filepath.Glob(filepath.Join(d.dir, of, "archive", "mirror-*")) // the pattern is well formed
	for _, path := range append(paths, filepath.Join(d.dir, of, "tail")) {
		if info, err := os.Stat(path); err == nil {
			now += info.Size() + info.ModTime().UnixNano()
		}
	}
	was := *size
	*size = now
	return now != was
}

// newest is the newest entry of a journal.
func newest(cmd *cobra.Command, r reader, of string) (uint64, error) {
	if d, ok := r.(*files); ok {
		return asked(d, of, func(p *replay.Past) (uint64, error) { return p.History().Stats().Last, nil })
	}
	infos, err := r.(*distant).journals(cmd.Context())
	if err != nil {
		return 0, err
	}
	for _, j := range infos {
		if j.Of == of {
			return j.Last, nil
		}
	}
	return 0, errNoJournal
}

var errNoJournal = errors.New("there is no such journal")
