// Package story tells journal entries as people and pages read them. It is where the journal, which knows no tables,
// and the tables, which know no journal, are shown as one.
package story

import (
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
	if journal.KindName(e.Kind) != "" { // the journal's own
		v.At, v.Words = e.At, journal.Words(e.Record)
	} else if d, err := table.DecodeEntry(e.Body); err == nil {
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
		LogFirst: s.LogFirst, Sealed: s.Sealed, Segments: s.Segments, Anchors: s.Anchors, ArchiveBytes: s.ArchiveBytes,
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
