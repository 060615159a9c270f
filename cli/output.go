package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// listing prints rows in columns.
type listing struct{ w *tabwriter.Writer }

func newListing(w io.Writer, head ...string) *listing {
	t := &listing{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.line(head)
	return t
}

func (t *listing) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	t.line(texts)
}

func (t *listing) line(cells []string) { fmt.Fprintln(t.w, strings.Join(cells, "\t")) } // flush tells the error

func (t *listing) flush() error { return t.w.Flush() }

// asJSON is the flag of every listing.
type asJSON struct{ on bool }

func (j *asJSON) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&j.on, "json", false, "print JSON; fields may be added, so ignore those that you do not know")
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// when tells a time as people read it.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// agreed asks a person. No answer is no.
func agreed(cmd *cobra.Command, question string) bool {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	a := strings.ToLower(strings.TrimSpace(answer))
	return a == "y" || a == "yes"
}

// took tells how long something lasted, or has lasted so far.
func took(from, to time.Time) string {
	if from.IsZero() {
		return ""
	}
	if to.IsZero() {
		to = time.Now()
	}
	return to.Sub(from).Round(10 * time.Millisecond).String()
}
