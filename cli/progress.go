package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"groom/api"
	"groom/node"
)

// progress tells people how a run goes: one line that is written over on a terminal, plain lines elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	drawn    bool // a line stands there to be written over
	began    time.Time
	told     time.Time // of the newest plain line about supersteps
	step     int       // newest that was shown
	epoch    int
	words    map[api.TaskID]string
	state    api.JobState
	reason   string
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, began: time.Now(), step: -1, words: map[api.TaskID]string{}}
	if f, ok := w.(*os.File); ok {
		st, err := f.Stat()
		p.terminal = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// line prints a line that stays.
func (p *progress) line(format string, args ...any) {
	p.wipe()
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *progress) wipe() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// Where lines stay, each superstep has its line, unless there are more of them than anybody would read: then the newest
// is told now and then.
const (
	plainAtOnce = 40
	plainEvery  = time.Second
)

// show tells what changed since the last look: failures and decisions as lines that stay, supersteps as progress.
func (p *progress) show(d api.JobDetail) {
	if d.State != p.state || d.Reason != p.reason {
		p.state, p.reason = d.State, d.Reason
		early := d.State == api.JobQueued && time.Since(p.began) < time.Second // the groom is about to register
		if d.Reason != "" && !d.State.Terminal() && !early {
			p.line("%s: %s", d.State, d.Reason)
		}
	}
	for _, t := range d.TaskViews {
		if t.Words == p.words[t.ID] {
			continue
		}
		p.words[t.ID] = t.Words
		if t.Outcome != nil && !t.State.Terminal() && t.State != api.TaskCommitting {
			p.line("task %d: %s", t.Index, t.Words)
		}
	}
	if d.Type == api.BSP || p.terminal {
		p.supersteps(d)
	}
}

func (p *progress) supersteps(d api.JobDetail) {
	if d.Epoch != p.epoch {
		p.epoch, p.step = d.Epoch, -1
	}
	var fresh []api.Superstep
	for _, s := range d.Supersteps {
		if s.Epoch == d.Epoch && s.Step > p.step {
			fresh = append(fresh, s)
		}
	}
	switch {
	case p.terminal:
		text := fmt.Sprintf("%s: %s", d.State, tally(d.JobView))
		if n := len(d.Supersteps); n > 0 {
			text = stepLine(d.Supersteps[n-1])
		}
		fmt.Fprintf(p.w, "\r\x1b[K%s (%s)", text, time.Since(p.began).Round(100*time.Millisecond))
		p.drawn = true
	case len(fresh) == 0:
		return
	case len(fresh) > plainAtOnce && time.Since(p.told) < plainEvery && !d.State.Terminal():
		return
	case len(fresh) > plainAtOnce:
		fresh = fresh[len(fresh)-1:]
		fallthrough
	default:
		for _, s := range fresh {
			fmt.Fprintln(p.w, stepLine(s))
		}
		p.told = time.Now()
	}
	if n := len(fresh); n > 0 {
		p.step = fresh[n-1].Step
	}
}

func stepLine(s api.Superstep) string {
	return fmt.Sprintf("superstep %d: %s, %d messages, %d bytes", s.Step, time.Duration(s.TookNS).Round(10*time.Microsecond), s.Messages, s.Bytes)
}

// end tells how it went, what of it is kept, and the last words of tasks that failed.
func (p *progress) end(n *node.Node, d api.JobDetail) {
	took := d.EndedAt.Sub(d.StartedAt).Round(time.Millisecond)
	p.wipe()
	switch {
	case d.State == api.JobSucceeded && d.Type == api.BSP:
		p.line("succeeded after %d supersteps in %s", d.Step+1, took)
	case d.State == api.JobSucceeded:
		p.line("succeeded in %s", took)
	}
	for _, t := range d.TaskViews {
		switch {
		case t.State == api.TaskFailed:
			p.tail(n, t, "stderr")
		case d.Type == api.Plain && d.State == api.JobSucceeded:
			p.tail(n, t, "stdout")
		}
	}
	if d.Output != "" && d.State == api.JobSucceeded {
		p.line("output: %s", d.Output)
	}
	journals, err := n.Views.Journals(context.Background())
	if err != nil {
		return
	}
	for _, j := range journals {
		p.line("journal of the %s: %d entries in %s", j.Of, j.Entries, j.Dir)
	}
}

// What is shown of a task's output at the end.
const (
	tailBytes = 4096
	tailLines = 10
)

// tail prints the last lines of what a task wrote.
func (p *progress) tail(n *node.Node, t api.TaskView, stream string) {
	chunks, err := n.Views.Logs(context.Background(), t.ID.Attempt(t.Attempt), stream, -tailBytes, false)
	if err != nil {
		return
	}
	var text []byte
	for c, err := range chunks {
		if err != nil {
			break
		}
		text = append(text, c.Data...)
	}
	lines := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	if len(text) == 0 {
		return
	}
	p.line("%s of task %d:", stream, t.Index)
	for _, line := range lines[max(0, len(lines)-tailLines):] {
		p.line("  %s", bytes.ToValidUTF8(line, []byte("?")))
	}
}
