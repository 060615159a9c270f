package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
	"groom/wire"
)

// logOptions says what is shown of a log.
type logOptions struct {
	follow  bool
	stream  string
	attempt int
}

func (o *logOptions) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVarP(&o.follow, "follow", "f", false, "go on until the attempt has ended")
	fs.StringVar(&o.stream, "stream", "", "stdout or stderr alone (default: both, each to its own)")
	fs.IntVar(&o.attempt, "attempt", 0, "serial number of the attempt (default: the newest)")
}

func newJobLogs() *cobra.Command {
	o := new(logOptions)
	return newVerb("logs JOB", "Show what the tasks of a job wrote", cobra.ExactArgs(1), o.AddFlags,
		func(cmd *cobra.Command, c *wire.Client, args []string) error {
			var d api.JobDetail
			if err := c.Get(cmd.Context(), jobPath(args[0]), &d); err != nil {
				return err
			}
			var tasks []api.TaskID
			for _, t := range d.TaskViews {
				if t.Attempt > 0 {
					tasks = append(tasks, t.ID)
				}
			}
			return o.show(cmd, c, tasks)
		})
}

// show prints the logs of tasks, line by line. With more than one task each line begins with the task's index.
func (o *logOptions) show(cmd *cobra.Command, c *wire.Client, tasks []api.TaskID) error {
	streams := []string{"stdout", "stderr"}
	if o.stream != "" && !slices.Contains(streams, o.stream) {
		return usage(cmd, fmt.Errorf("--stream %q: want stdout or stderr", o.stream))
	}
	if o.stream != "" {
		streams = []string{o.stream}
	}
	var all sync.WaitGroup
	var mu sync.Mutex // guards the outputs, and errs
	var errs []error
	for _, task := range tasks {
		for _, stream := range streams {
			w := &lineWriter{mu: &mu, w: cmd.OutOrStdout()}
			if stream == "stderr" {
				w.w = cmd.ErrOrStderr()
			}
			if len(tasks) > 1 {
				w.prefix = fmt.Sprintf("[%d] ", task.Index())
			}
			show := func() {
				if err := o.copy(cmd.Context(), c, task, stream, w); err != nil && cmd.Context().Err() == nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("%s %s: %w", task, stream, err))
					mu.Unlock()
				}
			}
			if o.follow {
				all.Go(show)
			} else {
				show() // task by task
			}
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

func (o *logOptions) copy(ctx context.Context, c *wire.Client, task api.TaskID, stream string, w *lineWriter) error {
	n := o.attempt
	if n == 0 {
		var d api.TaskDetail
		if err := c.Get(ctx, taskPath(string(task)), &d); err != nil {
			return err
		}
		if n = d.Attempt; n == 0 {
			return nil // not started yet
		}
	}
	defer w.close()
	attempt := task.Attempt(n)
	if !o.follow {
		_, _, err := o.read(ctx, c, attempt, stream, 0, w)
		return err
	}
	// An agent that goes away comes back, and the task writes on meanwhile: what is followed goes on where it was.
	var offset int64
	away, wait := time.Time{}, time.Duration(0)
	for {
		at, over, err := o.read(ctx, c, attempt, stream, offset, w)
		if p, ok := errors.AsType[*api.Problem](err); over || ctx.Err() != nil || ok && p.Code != api.CodeUnavailable {
			return err
		}
		if at > offset || away.IsZero() {
			away, wait = time.Now(), 50*time.Millisecond
		}
		offset = at
		if time.Since(away) > agentPatience {
			if err == nil {
				err = io.ErrUnexpectedEOF // its answer ended before the log did
			}
			return fail(exitNoAgent, fmt.Errorf("the agent went away: %w", err), "it may come back: run the same command again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
}

// agentPatience is for how long an agent may be away from one who follows a log.
const agentPatience = 30 * time.Second

// read prints a stream from an offset on, and returns the offset of what comes next, and whether nothing does.
func (o *logOptions) read(ctx context.Context, c *wire.Client, id api.AttemptID, stream string, offset int64, w io.Writer) (int64, bool, error) {
	q := url.Values{"stream": {stream}, "offset": {strconv.FormatInt(offset, 10)}}
	if o.follow {
		q.Set("follow", "1")
	}
	chunks, err := wire.Lines[api.LogChunk](ctx, c, "/attempts/"+string(id)+"/logs?"+q.Encode())
	if err != nil {
		return offset, false, err
	}
	over := false
	for chunk, err := range chunks {
		if err != nil {
			return offset, false, err
		}
		if chunk.Gap > 0 {
			fmt.Fprintf(w, "[%s bytes are not kept]\n", strconv.FormatInt(chunk.Gap, 10))
		}
		if _, err := w.Write(chunk.Data); err != nil {
			return offset, true, err // nobody reads any more
		}
		offset, over = chunk.Offset+int64(len(chunk.Data)), chunk.End
	}
	return offset, over, nil
}

// lineWriter writes whole lines, so that those of several tasks do not mix. Without a prefix there is nothing to mix
// with, and bytes go through as they come.
type lineWriter struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
	rest   []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.prefix == "" {
		return l.w.Write(p)
	}
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) < maxLine {
			return len(p), nil
		}
		if i < 0 {
			i = len(l.rest) - 1
		}
		if _, err := fmt.Fprintf(l.w, "%s%s", l.prefix, l.rest[:i+1]); err != nil {
			return 0, err
		}
		l.rest = l.rest[i+1:]
	}
}

// maxLine is when a line is cut, so that one without an end needs no memory.
const maxLine = 64 << 10

func (l *lineWriter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 {
		fmt.Fprintf(l.w, "%s%s\n", l.prefix, l.rest)
		l.rest = nil
	}
}
