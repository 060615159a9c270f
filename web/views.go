// Package web shows a groom, a master or both: pages for people, the same as JSON for programs, one stream of events.
// It reads the views that it is handed and asks for changes through Actions; it knows neither tables nor journal.
package web

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"groom/api"
)

// Views is all that the pages read. An error that a person should see is an *api.Problem.
type Views interface {
	Overview(ctx context.Context) (api.Overview, error)
	Jobs(ctx context.Context) ([]api.JobView, error)                      // newest first
	Job(ctx context.Context, name string) (api.JobDetail, error)          // by id, or by a name that is unique
	Task(ctx context.Context, id string) (api.TaskDetail, error)          // by id
	Nodes(ctx context.Context) ([]api.NodeView, error)                    // empty without a master
	Removals(ctx context.Context) ([]api.Removal, error)                  // newest first
	Recoveries(ctx context.Context) ([]api.RecoveryReport, error)         // newest first
	Journals(ctx context.Context) ([]api.JournalInfo, error)              // of the groom, of the master, or both
	Journal(ctx context.Context, q JournalQuery) ([]api.EntryView, error) // oldest first
	Kinds(ctx context.Context, of string) ([]api.KindCount, error)        // of all entries, the largest first
	State(ctx context.Context, of string) (json.RawMessage, error)
	// Show is one entry of a journal with each row that it changed, before and after.
	Show(ctx context.Context, of string, index uint64) (api.EntryView, error)
	// Diff is what lies between two moments of a journal, each an index or a time.
	Diff(ctx context.Context, of, a, b string) (api.Diff, error)
	// Why is the story of a job, a task or an attempt, of one journal or of all.
	Why(ctx context.Context, of, object string) (api.Story, error)
	// At is all of this as the tables of a journal stood after an entry, named by its index or by a time.
	At(ctx context.Context, of, moment string) (Views, api.Instant, error)
	// Logs reads a stream ("stdout" or "stderr") of an attempt from a byte offset on (a negative one counts from the
	// end), and follows it until the attempt has ended when asked to.
	Logs(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error)
	// Events is every event after the given journal index of a journal ("groom" or "master"), and then each new one.
	// The channel is closed when ctx ends, or when the listener fell behind.
	Events(ctx context.Context, of string, after uint64) <-chan api.Event
}

// JournalQuery asks for a page of a journal: the newest Limit entries with an index from From to To; 0 leaves an end
// open. Of is "groom", "master", or "" for the only one, or else the groom's.
type JournalQuery struct {
	Of       string
	From, To uint64
	Limit    int
	// What is not empty chooses entries: of these kinds, about this object, stored in this time.
	Kinds        []string
	Object       string
	Since, Until time.Time
}

// Actions is all that the pages can change.
type Actions interface {
	Submit(ctx context.Context, r api.SubmitRequest) (api.Submission, error)
	Act(ctx context.Context, r api.ActRequest) (api.ActReply, error)
}
