package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"groom/api"
)

func overview(ctx context.Context, v Views, _ *http.Request) (any, error) {
	return v.Overview(ctx)
}

func jobs(ctx context.Context, v Views, _ *http.Request) (any, error) {
	all, err := v.Jobs(ctx)
	if all == nil {
		all = []api.JobView{}
	}
	return all, err
}

// jobPage is a job with the chart of its supersteps.
type jobPage struct {
	api.JobDetail
	Chart *chart
}

func (p jobPage) twin() any { return p.JobDetail }

func job(ctx context.Context, v Views, r *http.Request) (any, error) {
	d, err := v.Job(ctx, mux.Vars(r)["job"])
	return jobPage{d, newChart(d.Supersteps)}, err
}

func task(ctx context.Context, v Views, r *http.Request) (any, error) {
	return v.Task(ctx, mux.Vars(r)["task"])
}

func nodes(ctx context.Context, v Views, _ *http.Request) (any, error) {
	all, err := v.Nodes(ctx)
	if all == nil {
		all = []api.NodeView{}
	}
	return all, err
}

func recoveries(ctx context.Context, v Views, _ *http.Request) (any, error) {
	all, err := v.Recoveries(ctx)
	if all == nil {
		all = []api.RecoveryReport{}
	}
	return all, err
}

func removals(ctx context.Context, v Views, _ *http.Request) (any, error) {
	all, err := v.Removals(ctx)
	if all == nil {
		all = []api.Removal{}
	}
	return all, err
}

// journals tells of each; with kinds=1 it counts their entries, which takes a while the first time.
func journals(ctx context.Context, v Views, r *http.Request) (any, error) {
	all, err := v.Journals(ctx)
	if all == nil {
		all = []api.JournalInfo{}
	}
	if r.URL.Query().Get("kinds") == "1" {
		for i := range all {
			if all[i].Kinds, err = v.Kinds(ctx, all[i].Of); err != nil {
				return nil, err
			}
		}
	}
	return all, err
}

// The entries of one page of a journal, unless told, and at most.
const (
	entriesShown = 200
	entriesMost  = 10_000
)

// journalData is a page of a journal with what leads to the pages beside it.
type journalData struct {
	Of       string
	Journals []api.JournalInfo
	Entries  []api.EntryView
	Older    uint64 // last index of the older page, 0 when there is none
	Newer    uint64
	Limit    int

	Kind, Object, Since, Until string // what the entries were chosen by
}

// Newest is the newest entry that is shown.
func (d journalData) Newest() uint64 {
	if len(d.Entries) == 0 {
		return 0
	}
	return d.Entries[len(d.Entries)-1].Index
}

// More is the query that keeps the choice, for the links to the pages beside.
func (d journalData) More() string {
	q := url.Values{"of": {d.Of}, "limit": {strconv.Itoa(d.Limit)}}
	for name, value := range map[string]string{"kind": d.Kind, "object": d.Object, "since": d.Since, "until": d.Until} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q.Encode()
}

func (d journalData) twin() any { return d.Entries }

// number is a query parameter, 0 when it is not there. 0 for most means no bound.
func number(r *http.Request, name string, most uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, api.Problemf(api.CodeInvalid, "%s=%q: want a number", name, text)
	}
	if most > 0 && n > most {
		return 0, api.Problemf(api.CodeInvalid, "%s=%s: want at most %d", name, text, most)
	}
	return n, nil
}

func journalPage(ctx context.Context, v Views, r *http.Request) (any, error) {
	from, err := number(r, "from", 0)
	if err != nil {
		return nil, err
	}
	to, err := number(r, "to", 0)
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit", entriesMost)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = entriesShown
	}
	q := r.URL.Query()
	d := journalData{Of: q.Get("of"), Limit: int(limit), Kind: strings.Join(q["kind"], " "), Object: q.Get("object"), Since: q.Get("since"), Until: q.Get("until")}
	chosen := JournalQuery{Of: d.Of, From: from, To: to, Limit: int(limit), Kinds: strings.Fields(d.Kind), Object: d.Object}
	if chosen.Since, err = moment(r, "since"); err != nil {
		return nil, err
	}
	if chosen.Until, err = moment(r, "until"); err != nil {
		return nil, err
	}
	if d.Entries, err = v.Journal(ctx, chosen); err != nil {
		return nil, err
	}
	if d.Entries == nil {
		d.Entries = []api.EntryView{}
	}
	if d.Journals, err = v.Journals(ctx); err != nil {
		return nil, err
	}
	if len(d.Entries) > 0 {
		first, last := d.Entries[0], d.Entries[len(d.Entries)-1]
		d.Of = first.Of
		for _, j := range d.Journals {
			if j.Of == d.Of && first.Index > j.First {
				d.Older = first.Index - 1
			}
			if j.Of == d.Of && last.Index < j.Last {
				d.Newer = j.Last // what is chosen may lie anywhere between
				if d.Kind+d.Object+d.Since+d.Until == "" {
					d.Newer = min(last.Index+limit, j.Last)
				}
			}
		}
	}
	return d, nil
}

// entryPage is one entry with its body laid out for reading.
type entryPage struct {
	api.EntryView
	Text string
	Last uint64
}

func (p entryPage) twin() any { return p.EntryView }

func entry(ctx context.Context, v Views, r *http.Request) (any, error) {
	index, err := strconv.ParseUint(mux.Vars(r)["index"], 10, 64)
	if err != nil {
		return nil, api.Problemf(api.CodeInvalid, "index: %v", err)
	}
	found, err := v.Show(ctx, r.URL.Query().Get("of"), index)
	if err != nil {
		return nil, err
	}
	p := entryPage{EntryView: found, Text: indent(found.Body)}
	all, err := v.Journals(ctx)
	for _, j := range all {
		if j.Of == p.Of {
			p.Last = j.Last
		}
	}
	return p, err
}

// indent lays JSON out; what is no JSON stays as it is.
func indent(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

// statePage is the tables of a journal.
type statePage struct {
	raw      json.RawMessage
	Of       string
	Journals []api.JournalInfo
	Tables   map[string]map[string]json.RawMessage
}

func (p statePage) twin() any { return p.raw }

func state(ctx context.Context, v Views, r *http.Request) (any, error) {
	p := statePage{Of: r.URL.Query().Get("of")}
	var err error
	if p.raw, err = v.State(ctx, p.Of); err != nil {
		return nil, err
	}
	if !forPeople(r) {
		return p, nil
	}
	if err := json.Unmarshal(p.raw, &p.Tables); err != nil {
		return nil, api.Problemf(api.CodeInternal, "read tables: %v", err)
	}
	p.Journals, err = v.Journals(ctx)
	if p.Of == "" && len(p.Journals) > 0 {
		p.Of = p.Journals[0].Of
	}
	return p, err
}
