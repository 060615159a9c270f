package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"groom/api"
	"groom/fsm"
	"groom/fsm/cluster"
	"groom/fsm/table"
	"groom/journal"
	"groom/story"
)

// Why tells why a job, a task or an attempt is as it is: the decisions about it in these journals, in the order of time,
// and the one that settled it, with what was believed then. A row is named as TABLE/KEY. Of a job with many tasks it
// tells what concerns the job and what went wrong; Blame leaves nothing out.
func Why(pasts []*Past, object string) (api.Story, error) {
	s, tellers, err := stories(pasts, object)
	if err != nil {
		return s, err
	}
	for _, t := range tellers {
		answer, settled := t.answer()
		if answer == "" || s.Answer != "" {
			continue
		}
		s.Answer = answer
		for i := range s.Steps {
			if step := &s.Steps[i]; step.Of == t.p.Of && step.Index == settled {
				step.Settled, step.Believed = true, t.beliefs[settled]
			}
		}
	}
	s.Steps = slices.DeleteFunc(s.Steps, func(step api.StoryStep) bool { return !step.Settled && !tells(step, object) })
	for i := range s.Steps {
		s.Steps[i].Changes = slices.DeleteFunc(s.Steps[i].Changes, delivery)
	}
	return s, nil
}

// Blame is every entry that touched an object, and what it changed of it.
func Blame(pasts []*Past, object string) (api.Story, error) {
	s, _, err := stories(pasts, object)
	return s, err
}

func stories(pasts []*Past, object string) (api.Story, []*teller, error) {
	s := api.Story{Object: object, Steps: []api.StoryStep{}}
	var tellers []*teller
	for _, p := range pasts {
		ours := func(r Row) bool { return belongs(r.Table, r.Key, jobOf(object)) }
		t := &teller{p: p, object: object, rows: applied{map[Row]held{}, ours}, last: map[Row]json.RawMessage{}, beliefs: map[uint64][]api.RowView{}}
		for e, err := range p.chosen(Filter{}) {
			if err != nil {
				return s, nil, err
			}
			t.entry(e)
		}
		tellers = append(tellers, t)
		s.Steps = append(s.Steps, t.steps...)
	}
	if len(s.Steps) == 0 {
		return s, nil, fmt.Errorf("%s: %w", object, ErrNothing)
	}
	// Within one journal the order is that of its entries, whatever the clock did meanwhile.
	slices.SortStableFunc(s.Steps, func(a, b api.StoryStep) int {
		if a.Of == b.Of {
			return cmp.Compare(a.Index, b.Index)
		}
		return a.At.Compare(b.At)
	})
	return s, tellers, nil
}

// teller tells one journal's part of a story.
type teller struct {
	p       *Past
	object  string
	rows    applied
	last    map[Row]json.RawMessage // also of rows that left
	steps   []api.StoryStep
	fateful []uint64 // entries that decided the fate of the object itself
	beliefs map[uint64][]api.RowView
}

// entry adds an entry to the story, if it is of it. The rows of the whole job are followed, since they are what a
// decision about one of its tasks goes by.
func (t *teller) entry(e journal.Entry) {
	if e.Own || !mentions(e.Body, jobOf(t.object)) {
		return
	}
	believed := t.believed()
	d, changes, refused := t.rows.next(e)
	if d == nil || !slices.ContainsFunc(d.Changes, func(c table.Change) bool { return belongs(c.Table, c.Key, t.object) }) {
		return
	}
	v := story.Entry(t.p.Of, e, t.p.KindName)
	v.Body, v.Observed, v.Refused = nil, d.Obs, refused
	for _, c := range changes {
		if !belongs(c.Table, c.Key, t.object) && c.Key != taskOf(t.object) {
			continue
		}
		v.Changes = append(v.Changes, c)
		if c.After != nil {
			t.last[Row{c.Table, c.Key}] = c.After
		}
		if fateful(c, t.object) {
			t.fateful = append(t.fateful, e.Index)
			t.beliefs[e.Index] = believed
		}
	}
	t.steps = append(t.steps, api.StoryStep{EntryView: v})
}

// believed are the rows of the object itself, of its task and of its job, as they stand.
func (t *teller) believed() []api.RowView {
	var all []api.RowView
	for r, h := range t.rows.rows {
		if r.Table != "outbox" && (r.Key == t.object || r.Table+"/"+r.Key == t.object || r.Key == taskOf(t.object) || r.Key == jobOf(t.object)) {
			all = append(all, api.RowView{Table: r.Table, Key: r.Key, Row: h.raw})
		}
	}
	slices.SortFunc(all, func(a, b api.RowView) int { return strings.Compare(a.Table+"/"+a.Key, b.Table+"/"+b.Key) })
	return all
}

func taskOf(object string) string {
	if strings.HasPrefix(object, "attempt_") {
		return string(api.AttemptID(object).Task())
	}
	return object
}

func jobOf(object string) string {
	if task := taskOf(object); strings.HasPrefix(task, "task_") {
		return string(api.TaskID(task).Job())
	}
	return object
}

// fateful says whether a change decides the fate of the object: an order to end its process, its end, its state.
func fateful(c api.RowChange, object string) bool {
	return c.Key == object && slices.ContainsFunc(c.Fields, func(f api.FieldChange) bool {
		return f.After != "" && (f.Field == "order.by" || f.Field == "end.outcome.kind" || f.Field == "state" && c.Table != "attempts")
	})
}

// tells says whether a step belongs into the story of why: not the delivery of reports, and of a job not what its tasks
// do as they should.
func tells(step api.StoryStep, object string) bool {
	return slices.ContainsFunc(step.Changes, func(c api.RowChange) bool {
		switch {
		case delivery(c):
			return false
		case !strings.HasPrefix(object, "job_") || c.Key == object:
			return true
		}
		return slices.ContainsFunc(c.Fields, func(f api.FieldChange) bool {
			return f.Field == "counted" && f.After == "true" || f.Field == "order.by" && f.After != ""
		})
	})
}

// delivery says whether a change only has to do with a report on its way.
func delivery(c api.RowChange) bool { return c.Table == "outbox" }

// answer is what the rows of the object say in the end, and the entry that settled it: of an attempt the first that
// decided its fate, of a task or a job the last.
func (t *teller) answer() (words string, settled uint64) {
	groom := t.p.Of == "groom"
	if n := len(t.fateful); n > 0 {
		settled = t.fateful[n-1]
	}
	var a fsm.Attempt
	if raw := t.last[Row{"attempts", t.object}]; groom && raw != nil && json.Unmarshal(raw, &a) == nil {
		if len(t.fateful) > 0 {
			settled = t.fateful[0]
		}
		return attempt(a), settled
	}
	var task fsm.Task
	if raw := t.last[Row{"tasks", t.object}]; groom && raw != nil && json.Unmarshal(raw, &task) == nil {
		return fmt.Sprintf("it is %s, %d counted failures: %s", task.State, task.Failures, task.Words), settled
	}
	var job cluster.Job
	if raw := t.last[Row{"jobs", t.object}]; !groom && raw != nil && json.Unmarshal(raw, &job) == nil {
		return strings.TrimSuffix(fmt.Sprintf("it is %s: %s", job.State, job.Reason), ": "), settled
	}
	return "", 0
}

func attempt(a fsm.Attempt) string {
	if a.End == nil {
		if a.Order != nil {
			return fmt.Sprintf("it is to end by %s, asked for by %s: %s", a.Order.Signal, a.Order.By, a.Order.Why)
		}
		return fmt.Sprintf("it is %s", a.State)
	}
	words := fmt.Sprintf("it ended: %s", a.End.Outcome)
	if a.Order != nil && a.Order.Why != "" {
		words += fmt.Sprintf(", since it was to end by %s: %s", a.Order.By, a.Order.Why)
	}
	if a.Failure != "" {
		words += fmt.Sprintf("; it told: %s", a.Failure)
	}
	if a.Counted {
		words += "; it counts against the limit"
	}
	return words
}
