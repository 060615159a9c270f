package story

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"groom/api"
	"groom/fsm/table"
	"groom/journal"
)

// How far back the story of a job is read, and how much of it is kept and shown.
const (
	storyScanned = 20_000 // entries
	storyKept    = 1000
	storyShown   = 200
	storiesKept  = 32 // jobs
)

// Teller tells what a journal says of a job, or of one of its tasks. It remembers what it told: asked again, as a page
// does each time something happens, it reads only the entries since.
type Teller struct {
	entries func(from, to uint64) iter.Seq2[journal.Entry, error]
	of      string
	kind    func(uint16) string

	mu      sync.Mutex
	asked   uint64 // counts questions, so that the story asked for longest ago is forgotten
	stories map[api.JobID]*jobStory
}

type jobStory struct {
	upTo   uint64 // the newest entry that was read
	asked  uint64
	events []jobEvent // oldest first
}

type jobEvent struct {
	view  api.EventView
	tasks []api.TaskID
}

// NewTeller makes a teller of the journal named of. kind names kinds, and may return "".
func NewTeller(entries func(from, to uint64) iter.Seq2[journal.Entry, error], of string, kind func(uint16) string) *Teller {
	return &Teller{entries: entries, of: of, kind: kind, stories: map[api.JobID]*jobStory{}}
}

// Of is what the newest entries up to last say of a job, or of one task of it, oldest first.
func (t *Teller) Of(last uint64, job api.JobID, task api.TaskID) ([]api.EventView, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stories[job]
	if s == nil {
		s = new(jobStory)
		if last > storyScanned {
			s.upTo = last - storyScanned
		}
		t.stories[job] = s
	}
	t.asked++
	s.asked = t.asked
	t.forget()
	if err := t.read(s, last, job); err != nil {
		return nil, err
	}
	var shown []api.EventView
	for _, e := range s.events {
		if task == "" || slices.Contains(e.tasks, task) {
			shown = append(shown, e.view)
		}
	}
	return shown[max(0, len(shown)-storyShown):], nil
}

// read adds what the entries up to last say.
func (t *Teller) read(s *jobStory, last uint64, job api.JobID) error {
	if s.upTo >= last {
		return nil
	}
	name := []byte(strings.TrimPrefix(string(job), "job_"))
	for e, err := range t.entries(s.upTo+1, last) {
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		s.upTo = e.Index
		if e.Own || !bytes.Contains(e.Body, name) {
			continue
		}
		d, err := table.DecodeEntry(e.Body)
		if err != nil {
			continue // not of the tables
		}
		tasks, touched := touches(d, job)
		if !touched {
			continue
		}
		view := api.EventView{Of: t.of, Index: e.Index, At: d.Now.Wall, Kind: t.kind(e.Kind), Words: d.Because}
		s.events = append(s.events, jobEvent{view, tasks})
		if len(s.events) == 2*storyKept {
			s.events = append(s.events[:0:0], s.events[storyKept:]...)
		}
	}
	return nil
}

// forget drops the story that was asked for longest ago, when there are too many.
func (t *Teller) forget() {
	if len(t.stories) <= storiesKept {
		return
	}
	var oldest api.JobID
	for job, s := range t.stories {
		if oldest == "" || s.asked < t.stories[oldest].asked {
			oldest = job
		}
	}
	delete(t.stories, oldest)
}

// touches says whether an entry changed a row of the job, and of which of its tasks.
func touches(e *table.Entry, job api.JobID) (tasks []api.TaskID, touched bool) {
	for _, c := range e.Changes {
		j, t := about(c)
		if j != job {
			continue
		}
		touched = true
		if t != "" && !slices.Contains(tasks, t) {
			tasks = append(tasks, t)
		}
	}
	return tasks, touched
}
