package replay

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"groom/api"
	"groom/fsm/table"
	"groom/journal"
	"groom/story"
)

// Filter chooses entries. Its zero value chooses all.
type Filter struct {
	From, To     uint64   // indexes; 0 leaves an end open
	Kinds        []string // such as attempt.ended
	Object       string   // a job, task or attempt, or TABLE/KEY: entries that changed a row of it
	Since, Until time.Time
	Bodiless     bool // leave the bodies out
}

// Object is what --job, --task and --attempt choose: the narrowest that is given.
func Object(job, task, attempt string) string {
	for _, id := range []string{attempt, task, job} {
		if id != "" {
			return id
		}
	}
	return ""
}

// Entries yields the entries that a filter chooses, oldest first, as they are read.
func (p *Past) Entries(f Filter) iter.Seq2[api.EntryView, error] {
	return func(yield func(api.EntryView, error) bool) {
		for e, err := range p.chosen(f) {
			if err != nil {
				yield(api.EntryView{}, err)
				return
			}
			v := story.Entry(p.Of, e, p.KindName)
			if f.Bodiless {
				v.Body = nil
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Newest are the newest limit entries that a filter chooses, oldest first.
func (p *Past) Newest(f Filter, limit int) ([]api.EntryView, error) {
	last := p.h.Stats().Last
	if f.To != 0 {
		last = min(last, f.To)
	}
	page := []api.EntryView{}
	// It reads backwards in stretches, each longer than the one before, until there are enough.
	for end, stretch := last, uint64(limit); end > 0 && len(page) < limit; stretch *= 2 {
		g := f
		g.To, g.From = end, max(f.From, p.h.Stats().First, end-min(end, stretch)+1)
		if g.From > g.To {
			break
		}
		var older []api.EntryView
		for v, err := range p.Entries(g) {
			if err != nil {
				return nil, err
			}
			if older = append(older, v); len(older) == 2*limit {
				older = slices.Clone(older[limit:])
			}
		}
		page = append(older, page...)
		end = g.From - 1
	}
	return page[max(0, len(page)-limit):], nil
}

// chosen yields the raw entries that a filter chooses.
func (p *Past) chosen(f Filter) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		from := max(f.From, p.h.Stats().First)
		if !f.Since.IsZero() {
			index, err := p.h.IndexAt(f.Since.Add(-time.Nanosecond))
			if err != nil {
				yield(journal.Entry{}, err)
				return
			}
			from = max(from, index+1)
		}
		if last := p.h.Stats().Last; from > last || f.To != 0 && from > f.To {
			return
		}
		for e, err := range p.h.Entries(from, f.To) {
			if err != nil {
				yield(e, fmt.Errorf("read journal: %w", err))
				return
			}
			if !f.Until.IsZero() && e.At.After(f.Until) {
				return
			}
			if p.chooses(f, e) && !yield(e, nil) {
				return
			}
		}
	}
}

func (p *Past) chooses(f Filter, e journal.Entry) bool {
	if len(f.Kinds) > 0 {
		name := p.KindName(e.Kind)
		if e.Own {
			name = "raft"
		}
		if !slices.Contains(f.Kinds, name) {
			return false
		}
	}
	return f.Object == "" || Touches(e, f.Object)
}

// Touches says whether an entry decided about an object: a job, task or attempt and what belongs to it, or TABLE/KEY.
func Touches(e journal.Entry, object string) bool {
	if e.Own || !mentions(e.Body, object) {
		return false
	}
	d, err := table.DecodeEntry(e.Body)
	return err == nil && slices.ContainsFunc(d.Changes, func(c table.Change) bool { return belongs(c.Table, c.Key, object) })
}

// mentions is a quick look: the number that a job's, its tasks' and its attempts' names share.
func mentions(body []byte, object string) bool {
	word := object
	switch {
	case strings.HasPrefix(object, "job_"):
		word = strings.TrimPrefix(object, "job_")
	case strings.HasPrefix(object, "task_"):
		word = strings.TrimPrefix(object, "task_")
	case strings.HasPrefix(object, "attempt_"):
	default:
		_, word, _ = strings.Cut(object, "/")
	}
	return bytes.Contains(body, []byte(word))
}

// belongs says whether a row is of an object: itself, or something below it.
func belongs(tbl, key, object string) bool {
	if tbl+"/"+key == object || key == object || strings.HasPrefix(key, object+"/") {
		return true
	}
	task := key
	if strings.HasPrefix(key, "attempt_") {
		task = string(api.AttemptID(key).Task())
	} else {
		task, _, _ = strings.Cut(key, "/") // a report is named TASK/REVISION
	}
	if task == object {
		return true
	}
	return strings.HasPrefix(task, "task_") && string(api.TaskID(task).Job()) == object
}
