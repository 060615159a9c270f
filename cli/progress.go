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
	step     int
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

// plainEvery is how often supersteps are told where lines stay.
const plainEvery = time.Second

// show tells what changed since the last look: failures and decisions as lines that stay, supersteps as progress.
func (p *progress) show(d api.JobDetail) {
	if d.State != p.state || d.Reason != p.reason {
		p.state, p.reason = d.State, d.Reason
		if d.Reason != "" && !d.State.Terminal() {
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
	if d.Step > p.step || p.terminal {
		p.supersteps(d)
	}
}

func (p *progress) supersteps(d api.JobDetail) {
	since := time.Since(p.began).Round(100 * time.Millisecond)
	text := fmt.Sprintf("%s: %s", d.State, tally(d.JobView))
	if d.Step >= 0 {
		text = fmt.Sprintf("superstep %d", d.Step)
		if n := len(d.Supersteps); n > 0 {
			last := d.Supersteps[n-1]
			text += fmt.Sprintf(", %s, %d messages", time.Duration(last.TookNS).Round(10*time.Microsecond), last.Messages)
		}
	}
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s (%s)", text, since)
		p.drawn = true
	} else if time.Since(p.told) >= plainEvery {
		fmt.Fprintf(p.w, "%s (%s)\n", text, since)
		p.told = time.Now()
	}
	p.step = d.Step
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
	default:
		p.line("%s: %s", d.State, d.Reason)
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
