package cli

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"time"

	"groom/api"
	"groom/replay"
	"groom/wire"
)

// distant asks the process that holds the journal, on whatever host, through its pages.
type distant struct{ c *wire.Client }

func (d *distant) info(ctx context.Context) ([]api.JournalInfo, error) {
	var all []api.JournalInfo
	return all, d.c.Get(ctx, "/journal/info?kinds=1", &all)
}

// journals are what there is, without the count of each kind, for which a process reads the whole history.
func (d *distant) journals(ctx context.Context) ([]api.JournalInfo, error) {
	var all []api.JournalInfo
	return all, d.c.Get(ctx, "/journal/info", &all)
}

// pageMost is what a process tells of its journal at once.
const pageMost = 10_000

func (d *distant) entries(ctx context.Context, of string, f replay.Filter, limit int) iter.Seq2[api.EntryView, error] {
	return func(yield func(api.EntryView, error) bool) {
		last, err := d.last(ctx, of, f)
		for from := max(f.From, 1); err == nil && from <= last; from += pageMost {
			if limit > 0 {
				f.To, from = last, last // one page, the newest
			} else {
				f.From, f.To = from, min(last, from+pageMost-1)
			}
			var page []api.EntryView
			if page, err = d.page(ctx, of, f, limit); err != nil {
				break
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(api.EntryView{}, err)
		}
	}
}

// last is the newest entry that f can choose.
func (d *distant) last(ctx context.Context, of string, f replay.Filter) (uint64, error) {
	all, err := d.journals(ctx)
	if err != nil {
		return 0, err
	}
	for _, j := range all {
		if (of == "" || j.Of == of) && (f.To == 0 || f.To > j.Last) {
			return j.Last, nil
		}
	}
	return f.To, nil
}

func (d *distant) page(ctx context.Context, of string, f replay.Filter, limit int) ([]api.EntryView, error) {
	q := url.Values{"kind": f.Kinds}
	set := func(name, value string) {
		if value != "" && value != "0" {
			q.Set(name, value)
		}
	}
	set("of", of)
	set("from", strconv.FormatUint(f.From, 10))
	set("to", strconv.FormatUint(f.To, 10))
	set("object", f.Object)
	set("limit", strconv.Itoa(min(max(limit, 0), pageMost)))
	for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			set(name, t.Format(time.RFC3339Nano))
		}
	}
	if limit == 0 {
		q.Set("limit", strconv.Itoa(pageMost))
	}
	var page []api.EntryView
	return page, d.c.Get(ctx, "/journal?"+q.Encode(), &page)
}

func (d *distant) show(ctx context.Context, of string, index uint64) (v api.EntryView, err error) {
	return v, d.c.Get(ctx, "/journal/"+strconv.FormatUint(index, 10)+"?of="+of, &v)
}

func (d *distant) state(ctx context.Context, of, at string) (state json.RawMessage, err error) {
	q := url.Values{"of": {of}}
	if at != "0" {
		q.Set("at", at)
	}
	return state, d.c.Get(ctx, "/state?"+q.Encode(), &state)
}

func (d *distant) diff(ctx context.Context, of, a, b string) (diff api.Diff, err error) {
	return diff, d.c.Get(ctx, "/diff?"+url.Values{"of": {of}, "a": {a}, "b": {b}}.Encode(), &diff)
}

func (d *distant) why(ctx context.Context, of, object string) (s api.Story, err error) {
	return s, d.c.Get(ctx, "/why/"+url.PathEscape(object)+"?of="+of, &s)
}
