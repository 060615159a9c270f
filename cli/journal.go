package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/replay"
)

func newJournal(build string) *cobra.Command {
	return group("journal", "Read, prove and replay the journal of a groom or a master, living or not",
		newJournalInfo(), newJournalLs(), newJournalShow(), newJournalTail(), newJournalState(), newJournalDiff(),
		newJournalBlame(), newJournalWhy(), newJournalVerify(), newJournalStat(), newJournalExport(),
		newJournalRedecide(), newJournalBisect(), newJournalFork(), newJournalRebuild(build), newJournalSkip(build))
}

// reader answers questions about journals: from the files of a data directory, whether a process holds it or not, or
// from a process elsewhere through its pages. of is "groom", "master", or "" for the first that there is.
type reader interface {
	info(ctx context.Context) ([]api.JournalInfo, error)
	// entries are those that f chooses, oldest first, or the newest limit of them when that is above 0.
	entries(ctx context.Context, of string, f replay.Filter, limit int) iter.Seq2[api.EntryView, error]
	show(ctx context.Context, of string, index uint64) (api.EntryView, error)
	state(ctx context.Context, of, at string) (json.RawMessage, error)
	diff(ctx context.Context, of, a, b string) (api.Diff, error)
	why(ctx context.Context, of, object string) (api.Story, error)
}

// newJournalVerb makes a verb that any reader can answer.
func newJournalVerb(use, short string, args cobra.PositionalArgs, add func(*pflag.FlagSet), run func(cmd *cobra.Command, r reader, of string, args []string) error) *cobra.Command {
	return newJournalCommand(use, short, args, add, func(cmd *cobra.Command, t *target, of string, args []string) error {
		r, err := t.reader()
		if err != nil {
			return err
		}
		return run(cmd, r, of, args)
	})
}

// newFilesVerb makes a verb that reads so much that it wants the files themselves.
func newFilesVerb(use, short string, args cobra.PositionalArgs, add func(*pflag.FlagSet), run func(cmd *cobra.Command, f *files, of string, args []string) error) *cobra.Command {
	return newJournalCommand(use, short, args, add, func(cmd *cobra.Command, t *target, of string, args []string) error {
		r, err := t.reader()
		if err != nil {
			return err
		}
		f, ok := r.(*files)
		if !ok {
			return fail(exitUsage, errors.New("this reads the files of the journal, and not a process elsewhere"),
				"name the data directory on its host with --data, and leave --addr out")
		}
		return run(cmd, f, of, args)
	})
}

func newJournalCommand(use, short string, args cobra.PositionalArgs, add func(*pflag.FlagSet), run func(cmd *cobra.Command, t *target, of string, args []string) error) *cobra.Command {
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
			err := run(cmd, t, of, args)
			switch {
			case errors.Is(err, replay.ErrRange):
				return fail(exitFailed, err, "groom journal info tells the range")
			case errors.Is(err, replay.ErrNothing):
				return fail(exitFailed, err, "groom journal ls shows what there is; a job has an id and a name, a task is NAME/INDEX, an attempt NAME/INDEX/N")
			case errors.Is(err, replay.ErrMoment):
				return usage(cmd, err)
			}
			return err
		},
	}
	t.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&of, "of", "", "groom or master, where a process has both (default: both where that makes sense, else the groom's)")
	if add != nil {
		add(cmd.Flags())
	}
	return cmd
}

// reader takes the files where they can be had, since they answer alike whether a process holds them or not.
func (t *target) reader() (reader, error) {
	data := t.data
	if t.addr == "" && data == "" {
		data = defaultData()
	}
	f := &files{dir: data, target: t}
	if t.addr == "" && len(f.journals()) > 0 {
		return f, nil
	}
	if t.addr == "" && t.data != "" {
		if _, err := os.Stat(data); err != nil {
			return nil, fmt.Errorf("find data directory: %w", err)
		}
		return nil, fail(exitFailed, fmt.Errorf("%s holds no journal", data), "name the data directory of a groom or a master")
	}
	c, err := t.client()
	return &distant{c}, err
}

// files reads the journals of a data directory, and changes none.
type files struct {
	dir    string
	target *target
}

func (d *files) journals() []string {
	var found []string
	for _, of := range replay.Journals {
		// A log that is gone, while something remains of its journal, is told when it is opened.
		if _, err := os.Stat(filepath.Join(d.dir, of)); err == nil {
			found = append(found, of)
		}
	}
	return found
}

// open opens one journal.
func (d *files) open(of string) (*replay.Past, error) {
	if of == "" {
		of = d.journals()[0]
	}
	p, err := replay.Open(d.dir, of)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fail(exitFailed, err, "only the user of the agent may read its files; ask its pages with --addr HOST:PORT")
	}
	return p, err
}

// each calls f for each journal, or the one named of.
func (d *files) each(of string, f func(*replay.Past) error) error {
	all := d.journals()
	if of != "" {
		all = []string{of}
	}
	for _, of := range all {
		p, err := d.open(of)
		if err != nil {
			return err
		}
		if err := errors.Join(f(p), p.Close()); err != nil {
			return err
		}
	}
	return nil
}

// asked opens one journal, asks it, and closes it.
func asked[T any](d *files, of string, ask func(*replay.Past) (T, error)) (answer T, err error) {
	p, err := d.open(of)
	if err != nil {
		return answer, err
	}
	defer p.Close()
	return ask(p)
}

func (d *files) info(ctx context.Context) ([]api.JournalInfo, error) {
	all := []api.JournalInfo{}
	err := d.each("", func(p *replay.Past) error {
		i, err := p.Info(filepath.Join(d.dir, p.Of))
		all = append(all, i)
		return err
	})
	if err != nil || !all[0].Living {
		return all, err
	}
	// How a living process is, it knows best.
	c, err := d.target.client()
	if err != nil {
		return all, nil //nolint:nilerr // the files have answered
	}
	told, err := (&distant{c}).info(ctx)
	for _, t := range told {
		for i := range all {
			if err == nil && all[i].Of == t.Of {
				all[i].Health, all[i].Reason, all[i].Incarnation = t.Health, t.Reason, t.Incarnation
			}
		}
	}
	return all, nil
}

func (d *files) entries(_ context.Context, of string, f replay.Filter, limit int) iter.Seq2[api.EntryView, error] {
	return func(yield func(api.EntryView, error) bool) {
		_, err := asked(d, of, func(p *replay.Past) (none struct{}, err error) {
			if limit == 0 {
				for v, err := range p.Entries(f) {
					if err != nil {
						return none, err
					}
					if !yield(v, nil) {
						return none, nil
					}
				}
				return none, nil
			}
			page, err := p.Newest(f, limit)
			for _, v := range page {
				if !yield(v, nil) {
					return none, nil
				}
			}
			return none, err
		})
		if err != nil {
			yield(api.EntryView{}, err)
		}
	}
}

func (d *files) show(_ context.Context, of string, index uint64) (api.EntryView, error) {
	return asked(d, of, func(p *replay.Past) (api.EntryView, error) { return p.Show(index) })
}

func (d *files) state(_ context.Context, of, at string) (json.RawMessage, error) {
	return asked(d, of, func(p *replay.Past) (json.RawMessage, error) {
		index, err := p.Index(at)
		if err != nil {
			return nil, err
		}
		return p.StateAt(index)
	})
}

func (d *files) diff(_ context.Context, of, a, b string) (api.Diff, error) {
	return asked(d, of, func(p *replay.Past) (diff api.Diff, err error) {
		diff.Of = p.Of
		if diff.A, err = p.Index(a); err != nil {
			return diff, err
		}
		if diff.B, err = p.Index(b); err != nil {
			return diff, err
		}
		diff.Rows, err = p.Diff(diff.A, diff.B)
		return diff, err
	})
}

func (d *files) why(_ context.Context, of, object string) (api.Story, error) {
	return d.story(of, object, replay.Why)
}

// story asks the journals together.
func (d *files) story(of, object string, tell func([]*replay.Past, string) (api.Story, error)) (api.Story, error) {
	return together(d, of, func(pasts []*replay.Past) (api.Story, error) {
		object, err := replay.Resolve(pasts, object)
		if err != nil {
			return api.Story{}, err
		}
		return tell(pasts, object)
	})
}

func (d *files) resolve(object string) (string, error) {
	return together(d, "", func(pasts []*replay.Past) (string, error) { return replay.Resolve(pasts, object) })
}

// together opens all journals, or the one named of, asks them, and closes them.
func together[T any](d *files, of string, ask func([]*replay.Past) (T, error)) (answer T, err error) {
	var pasts []*replay.Past
	defer func() {
		for _, p := range pasts {
			p.Close()
		}
	}()
	for _, name := range d.journals() {
		if of != "" && of != name {
			continue
		}
		p, err := d.open(name)
		if err != nil {
			return answer, err
		}
		pasts = append(pasts, p)
	}
	return ask(pasts)
}
