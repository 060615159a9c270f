package story

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"groom/api"
	"groom/fsm/table"
	"groom/journal"
)

const (
	job1 = api.JobID("job_202611240915_0001")
	job2 = api.JobID("job_202611240915_0002")
)

var at = time.Date(2026, 11, 24, 9, 15, 0, 0, time.UTC)

// entry is a journal entry that changed the rows with these keys.
func entry(t *testing.T, index uint64, words string, keys ...string) journal.Entry {
	t.Helper()
	e := table.Entry{Now: api.Moment{Wall: at}, Obs: []byte(`{}`), Because: words}
	for _, key := range keys {
		e.Changes = append(e.Changes, table.Change{Table: "tasks", Key: key})
	}
	body, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return journal.Entry{Index: index, Term: 2, Record: journal.Record{Kind: 20, Version: 1, Body: body}, Size: len(body)}
}

func kind(k uint16) string {
	if k == 20 {
		return "task.tested"
	}
	return ""
}

// source is a journal of these entries.
func source(all ...journal.Entry) func(from, to uint64) iter.Seq2[journal.Entry, error] {
	return func(from, to uint64) iter.Seq2[journal.Entry, error] {
		return func(yield func(journal.Entry, error) bool) {
			for _, e := range all {
				if e.Index >= from && e.Index <= to && !yield(e, nil) {
					return
				}
			}
		}
	}
}

func broken(_, _ uint64) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) { yield(journal.Entry{}, errors.New("disk on fire")) }
}

func TestEntry(t *testing.T) {
	e := entry(t, 7, "launch it", string(job1))
	e.Hash[0] = 0xab
	got := Entry("groom", e, kind)
	if got.Index != 7 || got.Term != 2 || got.Kind != "task.tested" || got.Words != "launch it" || !got.At.Equal(at) ||
		got.Hash[:4] != "ab00" || string(got.Body) != string(e.Body) || got.Of != "groom" || got.Size != len(e.Body) {
		t.Errorf("%+v", got)
	}
	if got := Entry("groom", journal.Entry{Own: true}, kind); got.Kind != "raft" || got.Body != nil {
		t.Errorf("raft's own: %+v", got)
	}
	future := journal.Entry{Record: journal.Record{Kind: 99, Body: []byte("\x00 no JSON")}}
	if got := Entry("groom", future, kind); got.Kind != "kind 99" || got.Body != nil || got.Words != "" {
		t.Errorf("of a newer build: %+v", got)
	}
}

func TestPage(t *testing.T) {
	var all []journal.Entry
	for i := range uint64(10) {
		all = append(all, entry(t, i+1, "x"))
	}
	for _, c := range []struct {
		name           string
		from, to       uint64
		limit          int
		first, last, n uint64
	}{
		{"all", 0, 0, 0, 1, 10, 10},
		{"the newest", 0, 0, 3, 8, 10, 3},
		{"those before", 0, 7, 3, 5, 7, 3},
		{"the first ones", 0, 2, 3, 1, 2, 2},
		{"a range", 4, 6, 100, 4, 6, 3},
		{"a range longer than the page", 2, 9, 3, 7, 9, 3},
		{"beyond the end", 0, 100, 2, 9, 10, 2},
		{"nothing", 8, 3, 10, 0, 0, 0},
		{"after the end", 11, 0, 10, 0, 0, 0},
	} {
		page, err := Page(source(all...), "groom", kind, c.from, c.to, 10, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		if page == nil || uint64(len(page)) != c.n {
			t.Errorf("%s: %d entries (nil %v), want %d", c.name, len(page), page == nil, c.n)
			continue
		}
		if c.n > 0 && (page[0].Index != c.first || page[c.n-1].Index != c.last) {
			t.Errorf("%s: %d to %d, want %d to %d", c.name, page[0].Index, page[c.n-1].Index, c.first, c.last)
		}
	}
	if _, err := Page(broken, "groom", kind, 0, 0, 10, 3); err == nil {
		t.Error("a journal that cannot be read has a page")
	}
}

// A row says what it belongs to by its key alone.
func TestAbout(t *testing.T) {
	task := job1.Task(2)
	for key, want := range map[string]struct {
		job  api.JobID
		task api.TaskID
	}{
		string(job1):            {job1, ""},
		string(task):            {job1, task},
		string(task) + "/7":     {job1, task},
		string(task.Attempt(3)): {job1, task},
		"self":                  {},
		"/data/local":           {},
		"directive-1":           {},
		"task_of_nobody":        {"", "task_of_nobody"},
		"attempt_of_nobody":     {"", "task_of"},
	} {
		if job, got := about(table.Change{Key: key}); job != want.job || got != want.task {
			t.Errorf("%s: %q %q, want %q %q", key, job, got, want.job, want.task)
		}
	}
}

func TestEvent(t *testing.T) {
	e := &table.Entry{Now: api.Moment{Wall: at}, Because: "it ended", Changes: []table.Change{
		{Key: string(job1)}, {Key: string(job1.Task(0).Attempt(1))}, {Key: string(job1.Task(1))},
	}}
	want := api.Event{ID: 7, Of: "groom", Kind: "attempt.ended", Job: job1, Task: job1.Task(0), Words: "it ended", At: at}
	if diff := cmp.Diff(want, Event("groom", 7, "attempt.ended", e)); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

// The story of a job is what changed one of its rows, and that of a task what changed its own.
func TestOf(t *testing.T) {
	all := []journal.Entry{
		{Index: 1, Own: true},
		entry(t, 2, "both accepted", string(job1), string(job1.Task(0)), string(job1.Task(1))),
		entry(t, 3, "another job", string(job2), string(job2.Task(0))),
		entry(t, 4, "task 1 ended", string(job1.Task(1).Attempt(1))),
		entry(t, 5, "speaks of "+string(job1)),
		{Index: 6, Record: journal.Record{Kind: 99, Body: []byte("0202611240915_0001")}},
		entry(t, 7, "a report of task 0", string(job1.Task(0))+"/3"),
	}
	told := func(job api.JobID, task api.TaskID) []string {
		events, err := NewTeller(source(all...), "groom", kind).Of(7, job, task)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, e := range events {
			words = append(words, fmt.Sprint(e.Index, " ", e.Words))
		}
		return words
	}
	if diff := cmp.Diff([]string{"2 both accepted", "4 task 1 ended", "7 a report of task 0"}, told(job1, "")); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"2 both accepted", "4 task 1 ended"}, told(job1, job1.Task(1))); diff != "" {
		t.Errorf("task (-want +got):\n%s", diff)
	}
	if got := told("", ""); got != nil {
		t.Errorf("the story of no job: %v", got)
	}
	if _, err := NewTeller(broken, "groom", kind).Of(7, job1, ""); err == nil {
		t.Error("a journal that cannot be read has a story")
	}
}

// A long story is told from its newest part.
func TestOfALongHistory(t *testing.T) {
	from := uint64(0)
	entries := func(first, last uint64) iter.Seq2[journal.Entry, error] {
		from = first
		return func(yield func(journal.Entry, error) bool) {
			for i := last - storyShown - 50; i <= last; i++ {
				if !yield(entry(t, i, "x", string(job1)), nil) {
					return
				}
			}
		}
	}
	events, err := NewTeller(entries, "groom", kind).Of(100_000, job1, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != storyShown || events[storyShown-1].Index != 100_000 || from < 100_000-storyScanned {
		t.Errorf("%d events, read from %d", len(events), from)
	}
}

func TestInfo(t *testing.T) {
	got := Info("groom", "/data/groom", journal.Stats{First: 1, Last: 9, Total: 7, FileBytes: 100, Health: "ok"}, [32]byte{1}, 3)
	if got.Entries != 7 || got.Last != 9 || got.Health != api.HealthOK || got.Digest[:2] != "01" || got.Incarnation != 3 {
		t.Errorf("%+v", got)
	}
}

// A listener gets what it missed, as far as it is kept, then what is new, in order.
func TestFeed(t *testing.T) {
	f := NewFeed()
	for i := range uint64(5) {
		f.Publish(api.Event{ID: i + 1})
	}
	ctx, cancel := context.WithCancel(t.Context())
	missed, fresh := f.Listen(ctx, 3), f.Listen(ctx, 0)
	f.Publish(api.Event{ID: 6})
	for _, want := range []uint64{4, 5, 6} {
		if e := <-missed; e.ID != want {
			t.Errorf("event %d, want %d", e.ID, want)
		}
	}
	if e := <-fresh; e.ID != 6 {
		t.Errorf("event %d, want the new one alone", e.ID)
	}
	cancel()
	if _, open := <-missed; open {
		t.Error("an event after the end")
	}
	f.Publish(api.Event{ID: 7}) // to nobody, and to no closed channel
}

// A listener that falls behind loses its channel, and comes back for what it has not seen.
func TestFeedDoesNotWait(t *testing.T) {
	f := NewFeed()
	slow := f.Listen(t.Context(), 0)
	const n = 2 * (feedRecent + feedBehind)
	for i := range uint64(n) {
		f.Publish(api.Event{ID: i + 1})
	}
	last := uint64(0)
	for e := range slow {
		if e.ID != last+1 {
			t.Fatalf("event %d after %d", e.ID, last)
		}
		last = e.ID
	}
	if last == 0 || last == n {
		t.Fatalf("it got %d of %d events", last, n)
	}
	if e := <-f.Listen(t.Context(), n-10); e.ID != n-9 {
		t.Errorf("it came back to event %d, want %d", e.ID, n-9)
	}
}

// Asked again, it reads only what came since, and forgets the stories of jobs that nobody asks for.
func TestTellerRemembers(t *testing.T) {
	var from []uint64
	entries := func(a, b uint64) iter.Seq2[journal.Entry, error] {
		from = append(from, a)
		return func(yield func(journal.Entry, error) bool) {
			for i := a; i <= b; i++ {
				if !yield(entry(t, i, fmt.Sprint("entry ", i), string(job1), string(job1.Task(int(i%2)))), nil) {
					return
				}
			}
		}
	}
	teller := NewTeller(entries, "groom", kind)
	for _, last := range []uint64{3, 3, 5} {
		got, err := teller.Of(last, job1, "")
		if err != nil || len(got) != int(last) || got[last-1].Words != fmt.Sprint("entry ", last) {
			t.Fatalf("up to %d: %v, %v", last, got, err)
		}
	}
	if got, _ := teller.Of(5, job1, job1.Task(1)); len(got) != 3 {
		t.Errorf("of task 1: %v", got)
	}
	if diff := cmp.Diff([]uint64{1, 4}, from); diff != "" {
		t.Errorf("read from (-want +got):\n%s", diff)
	}
	for i := range storiesKept {
		if _, err := teller.Of(5, api.NewJobID(time.Unix(0, 0), uint64(i+10)), ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(teller.stories) != storiesKept || teller.stories[job1] != nil {
		t.Errorf("%d stories kept", len(teller.stories))
	}
}

// The journal's own entries are told as well: above all what a person has overridden, who it was, and what was lost.
func TestWordsOfTheJournalsOwnEntries(t *testing.T) {
	for _, c := range []struct {
		kind        uint16
		body, words string
	}{
		{1, `{"at":4096,"digest":"00","records":4000}`, "digest of the tables after entry 4096, 4000 records"},
		{2, `{"index":7,"hash":"00","who":"ann","why":"no build knows it","said":"kind 99"}`, "entry 7 is never applied, as ann decided: no build knows it"},
		{3, `{"last":17,"lost":[18,48],"from_log":17,"aside":"raft.db.damaged-1"}`, "the journal was rebuilt up to entry 17; entries 18 to 48 are lost: the tables are those of entry 17; the old file is kept as raft.db.damaged-1"},
	} {
		v := Entry("groom", journal.Entry{Index: 9, Record: journal.Record{Kind: c.kind, Version: 1, Body: []byte(c.body)}, At: at}, journal.KindName)
		if v.Words != c.words || !v.At.Equal(at) {
			t.Errorf("kind %d: %q at %v", c.kind, v.Words, v.At)
		}
	}
}
