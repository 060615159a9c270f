// Package story tells journal entries as people and pages read them. It is where the journal, which knows no tables,
// and the tables, which know no journal, are shown as one.
package story

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"groom/api"
	"groom/fsm/table"
	"groom/journal"
)

// Entry tells one entry of the journal named of. kind names kinds, and may return "".
func Entry(of string, e journal.Entry, kind func(uint16) string) api.EntryView {
	v := api.EntryView{
		Of: of, Index: e.Index, Term: e.Term, Kind: kind(e.Kind), Version: e.Version, Size: e.Size,
		Hash: hex.EncodeToString(e.Hash[:]),
	}
	if e.Own {
		v.Kind, v.Words = "raft", "an entry of raft itself"
		return v
	}
	if v.Kind == "" {
		v.Kind = fmt.Sprintf("kind %d", e.Kind)
	}
	if json.Valid(e.Body) {
		v.Body = e.Body
	}
	if d, err := table.DecodeEntry(e.Body); err == nil {
		v.At, v.Words = d.Now.Wall, d.Because
	}
	return v
}

// Page is the newest limit entries with an index from from to to; 0 leaves an end open. They come oldest first.
func Page(entries func(from, to uint64) iter.Seq2[journal.Entry, error], of string, kind func(uint16) string,
	from, to, last uint64, limit int,
) ([]api.EntryView, error) {
	if to == 0 || to > last {
		to = last
	}
	if limit > 0 && to >= uint64(limit) {
		from = max(from, to-uint64(limit)+1)
	}
	page := []api.EntryView{}
	if from > to {
		return page, nil
	}
	for e, err := range entries(from, to) {
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		page = append(page, Entry(of, e, kind))
	}
	return page, nil
}

// Info tells the state of a journal.
func Info(of, dir string, s journal.Stats, digest [32]byte, incarnation uint64) api.JournalInfo {
	return api.JournalInfo{
		Of: of, Dir: dir, First: s.First, Last: s.Last, Entries: s.Total, Bytes: s.FileBytes,
		ChainTip: hex.EncodeToString(s.ChainTip[:]), Digest: hex.EncodeToString(digest[:]), Snapshot: s.Snapshot,
		Health: api.Health(s.Health), Reason: s.Reason, Incarnation: incarnation,
	}
}

// Event tells an entry that was just applied.
func Event(of string, index uint64, kind string, e *table.Entry) api.Event {
	v := api.Event{ID: index, Of: of, Kind: kind, Words: e.Because, At: e.Now.Wall}
	for _, c := range e.Changes {
		job, task := about(c)
		if v.Job == "" {
			v.Job = job
		}
		if v.Task == "" {
			v.Task = task
		}
	}
	return v
}

// about is what a changed row belongs to.
func about(c table.Change) (api.JobID, api.TaskID) {
	switch {
	case strings.HasPrefix(c.Key, "job_"):
		return api.JobID(c.Key), ""
	case strings.HasPrefix(c.Key, "task_"):
		id, _, _ := strings.Cut(c.Key, "/") // a report is named "<task>/<revision>"
		return api.TaskID(id).Job(), api.TaskID(id)
	case strings.HasPrefix(c.Key, "attempt_"):
		task := api.AttemptID(c.Key).Task()
		return task.Job(), task
	}
	return "", ""
}

// Touches says whether an entry changed a row of the job, or of the task when one is named.
func Touches(e *table.Entry, job api.JobID, task api.TaskID) bool {
	for _, c := range e.Changes {
		j, t := about(c)
		if j == job && (task == "" || t == task) {
			return true
		}
	}
	return false
}

// How far back a page reads for the story of a job or a task, and how much of it is shown.
const (
	storyScanned = 20_000
	storyShown   = 200
)

// Of is what the newest entries up to last say of a job, or of one task of it, oldest first.
func Of(entries func(from, to uint64) iter.Seq2[journal.Entry, error], of string, kind func(uint16) string, last uint64,
	job api.JobID, task api.TaskID,
) ([]api.EventView, error) {
	var told []api.EventView
	from := uint64(1)
	if last > storyScanned {
		from = last - storyScanned
	}
	for e, err := range entries(from, last) {
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		if e.Own || !bytes.Contains(e.Body, []byte(strings.TrimPrefix(string(job), "job_"))) {
			continue
		}
		d, err := table.DecodeEntry(e.Body)
		if err != nil || !Touches(d, job, task) {
			continue
		}
		told = append(told, api.EventView{Of: of, Index: e.Index, At: d.Now.Wall, Kind: kind(e.Kind), Words: d.Because})
	}
	return told[max(0, len(told)-storyShown):], nil
}
