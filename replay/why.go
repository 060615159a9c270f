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

// Why tells why a job, a task or an attempt is as it is: every decision about it in these journals, in the order of
// time, with the one that settled it and what was believed then. A row is named as TABLE/KEY.
func Why(pasts []*Past, object string) (api.Story, error) {
	s := api.Story{Object: object, Steps: []api.StoryStep{}}
	for _, p := range pasts {
		t := teller{p: p, object: object, rows: applied{map[Row]held{}}, last: map[Row]json.RawMessage{}}
		for e, err := range p.chosen(Filter{}) {
			if err != nil {
				return s, err
			}
			t.entry(e)
		}
		if answer := t.answer(); answer != "" {
			s.Answer = strings.TrimPrefix(s.Answer+"; "+answer, "; ")
		}
		s.Steps = append(s.Steps, t.steps...)
	}
	if len(s.Steps) == 0 {
		return s, fmt.Errorf("%s: %w", object, ErrNothing)
	}
	// Within one journal the order is that of its entries, whatever the clock did meanwhile.
	slices.SortStableFunc(s.Steps, func(a, b api.StoryStep) int {
		if a.Of == b.Of {
			return cmp.Compare(a.Index, b.Index)
		}
		return a.At.Compare(b.At)
	})
	return s, nil
}

// teller tells one journal's part of a story.
type teller struct {
	p      *Past
	object string
	rows   applied
	last   map[Row]json.RawMessage // also of rows that left
	steps  []api.StoryStep
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
	step := api.StoryStep{EntryView: v}
	for _, c := range changes {
		if !belongs(c.Table, c.Key, t.object) && !belongs(c.Table, c.Key, taskOf(t.object)) {
			continue
		}
		step.Changes = append(step.Changes, c)
		if c.After != nil {
			t.last[Row{c.Table, c.Key}] = c.After
		}
		if decisive(t.p.Of, c, t.object) {
			step.Decisive, step.Believed = true, believed
		}
	}
	t.steps = append(t.steps, step)
}

// believed are the rows of the object, and of its task and its job, as they stand.
func (t *teller) believed() []api.RowView {
	var all []api.RowView
	for r, h := range t.rows.rows {
		if belongs(r.Table, r.Key, t.object) || r.Key == taskOf(t.object) || r.Key == jobOf(t.object) {
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

// decisive says whether a change settles the fate of the object: an order to end its process, its end, the state in
// which it stays.
func decisive(of string, c api.RowChange, object string) bool {
	if c.Key != object {
		return false
	}
	for _, f := range c.Fields {
		switch {
		case of == "groom" && c.Table == "attempts" && (f.Field == "order.by" || f.Field == "end.outcome.kind" && f.After != string(api.Exited)):
			return true
		case f.Field == "state" && settled(f.After):
			return true
		}
	}
	return false
}

func settled(state string) bool {
	switch state {
	case string(api.TaskFailed), string(api.TaskKilled), string(api.TaskStopped), string(api.TaskBackoff), string(api.TaskSucceeded):
		return true
	}
	return false
}

// answer is what the rows of the object say in the end.
func (t *teller) answer() string {
	groom := t.p.Of == "groom"
	var a fsm.Attempt
	var task fsm.Task
	var job cluster.Job
	switch raw := t.last[Row{"attempts", t.object}]; {
	case groom && raw != nil && json.Unmarshal(raw, &a) == nil:
		return attempt(a)
	}
	switch raw := t.last[Row{"tasks", t.object}]; {
	case groom && raw != nil && json.Unmarshal(raw, &task) == nil:
		return fmt.Sprintf("it is %s with %d counted failures: %s", task.State, task.Failures, task.Words)
	}
	switch raw := t.last[Row{"jobs", t.object}]; {
	case !groom && raw != nil && json.Unmarshal(raw, &job) == nil:
		return strings.TrimSuffix(fmt.Sprintf("it is %s: %s", job.State, job.Reason), ": ")
	}
	return ""
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
