package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"

	"groom/api"
)

// entry is a journal entry as `groom journal ls --json` tells it. The harness reads it with types of its own: it does
// not ask the tables of the product what they hold.
type entry struct {
	Index uint64 `json:"index"`
	Kind  string `json:"kind"`
	Body  body   `json:"body"`
}

type body struct {
	Now     api.Moment      `json:"now"`
	Obs     json.RawMessage `json:"obs"`
	Changes []change        `json:"changes"`
}

type change struct {
	Table string          `json:"t"`
	Key   string          `json:"k"`
	Rev   uint64          `json:"rev"`
	Row   json.RawMessage `json:"row"`
}

type attemptRow struct {
	State    string     `json:"state"`
	Intended api.Moment `json:"intended"`
	End      *struct {
		Outcome  api.Outcome `json:"outcome"`
		Unproven bool        `json:"unproven"`
		Words    string      `json:"words"`
	} `json:"end"`
	Counted bool `json:"counted"`
}

type taskRow struct {
	State    api.TaskState `json:"state"`
	Failures int           `json:"failures"`
	Moved    bool          `json:"moved"`
}

type jobRow struct {
	Request string       `json:"request"`
	State   api.JobState `json:"state"`
	Type    api.JobType  `json:"type"`
	Restart api.Restart  `json:"restart"`
}

// attempt is what the groom's journal tells of one.
type attempt struct {
	row      attemptRow
	index    uint64
	intended int64 // boot clock of the entry that first named it
	ended    int64 // of the entry with its end, 0 without
	ends     int   // entries that gave it an end, or changed it
}

// order is a directive that the groom took.
type order struct {
	index uint64
	kind  api.DirectiveKind
}

// history is both journals, with what the changes of their entries add up to.
type history struct {
	groom, master []entry
	attempts      map[string]*attempt
	tasks         map[string][]taskRow // every state that each went through
	jobs          map[string][]jobRow  // of the master
	limits        map[string]int       // of failures, by job, as the groom has it
	orders        map[string][]order   // of a whole job, as the groom took them
	adopted       int
	stale         int
}

func readHistory(reaper *reaper, bin, data string) (*history, error) {
	h := &history{attempts: map[string]*attempt{}, tasks: map[string][]taskRow{}, jobs: map[string][]jobRow{}, limits: map[string]int{}, orders: map[string][]order{}}
	var err error
	if h.groom, err = h.read(reaper, bin, data, "groom", h.ofGroom); err != nil {
		return h, err
	}
	h.master, err = h.read(reaper, bin, data, "master", h.ofMaster)
	return h, err
}

// read applies what is not stale: a decision made for rows that had changed meanwhile changes nothing.
func (h *history) read(reaper *reaper, bin, data, of string, apply func(entry, change) error) ([]entry, error) {
	out, err := reaper.run(filepath.Join(bin, "groom"), "journal", "ls", "--of", of, "--limit", "0", "--json", "--data", data)
	if err != nil {
		return nil, fmt.Errorf("read journal of the %s: %w", of, err)
	}
	var all []entry
	revs := map[string]uint64{}
	for line := range bytes.Lines(out) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return all, fmt.Errorf("read journal of the %s: %w: %s", of, err, line)
		}
		all = append(all, e)
		if !fresh(e, revs) {
			h.stale++
			continue
		}
		for _, c := range e.Body.Changes {
			key := c.Table + "/" + c.Key
			if revs[key]++; c.Row == nil {
				delete(revs, key)
			}
			if err := apply(e, c); err != nil {
				return all, fmt.Errorf("entry %d of the %s: %w", e.Index, of, err)
			}
		}
		switch e.Kind {
		case "groom.recovered":
			h.count(e)
		case "directive.accepted":
			h.take(e)
		}
	}
	return all, nil
}

func fresh(e entry, revs map[string]uint64) bool {
	for _, c := range e.Body.Changes {
		if revs[c.Table+"/"+c.Key] != c.Rev {
			return false
		}
	}
	return true
}

func (h *history) count(e entry) {
	var o struct{ Report api.RecoveryReport }
	if json.Unmarshal(e.Body.Obs, &o) != nil {
		return
	}
	for _, row := range o.Report.Found {
		if row.Finding == api.FoundAlive {
			h.adopted++
		}
	}
}

func (h *history) take(e entry) {
	var o struct{ Directive api.Directive }
	if json.Unmarshal(e.Body.Obs, &o) == nil && len(o.Directive.Tasks) == 0 {
		job := string(o.Directive.Job)
		h.orders[job] = append(h.orders[job], order{e.Index, o.Directive.Kind})
	}
}

func (h *history) ofGroom(e entry, c change) error {
	if c.Row == nil {
		return nil // forgotten
	}
	switch c.Table {
	case "attempts":
		a := h.attempts[c.Key]
		if a == nil {
			a = &attempt{index: e.Index, intended: int64(e.Body.Now.Boot)}
			h.attempts[c.Key] = a
		}
		old := a.row.End
		a.row = attemptRow{}
		if err := json.Unmarshal(c.Row, &a.row); err != nil {
			return err
		}
		if (old == nil) != (a.row.End == nil) || old != nil && *old != *a.row.End {
			a.ends++
			a.ended = int64(e.Body.Now.Boot)
		}
	case "tasks":
		var t taskRow
		if err := json.Unmarshal(c.Row, &t); err != nil {
			return err
		}
		h.tasks[c.Key] = append(h.tasks[c.Key], t)
	case "jobs":
		var j jobRow
		if err := json.Unmarshal(c.Row, &j); err != nil {
			return err
		}
		h.limits[c.Key] = j.Restart.Limit
	}
	return nil
}

func (h *history) ofMaster(_ entry, c change) error {
	if c.Table != "jobs" || c.Row == nil {
		return nil
	}
	var j jobRow
	if err := json.Unmarshal(c.Row, &j); err != nil {
		return err
	}
	h.jobs[c.Key] = append(h.jobs[c.Key], j)
	return nil
}

// at is the entry with an index.
func at(entries []entry, index uint64) (entry, bool) {
	for _, e := range entries {
		if e.Index == index {
			return e, true
		}
	}
	return entry{}, false
}
