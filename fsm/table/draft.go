package table

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Draft gathers the changes of one decision. It reads through to the tables and sees its own changes.
type Draft struct {
	changes []Change
	at      map[[2]string]int // position in changes
	values  map[[2]string]any // typed rows, nil for deleted ones
}

// NewDraft starts a decision.
func NewDraft() *Draft {
	return &Draft{at: map[[2]string]int{}, values: map[[2]string]any{}}
}

// Get is the row as the draft has it so far.
func Get[R any](d *Draft, t *Table[R], key string) (R, bool) {
	if v, ok := d.values[[2]string{t.name, key}]; ok {
		if v == nil {
			var zero R
			return zero, false
		}
		return v.(R), true
	}
	return t.Get(key)
}

// Put sets a row.
func Put[R any](d *Draft, t *Table[R], key string, value R) {
	raw, err := Canonical(value)
	if err != nil {
		panic(fmt.Sprintf("encode row %s/%s: %v", t.name, key, err)) // rows are plain structs
	}
	d.change(Change{t.name, key, t.Rev(key), raw}, value)
}

// Canonical is a value as rows and entries have it: compact JSON, with nothing escaped that need not be.
func Canonical(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Delete drops a row, if it is there.
func Delete[R any](d *Draft, t *Table[R], key string) {
	if _, ok := Get(d, t, key); !ok {
		return
	}
	if t.Rev(key) == 0 { // put by this draft: take it back
		id := [2]string{t.name, key}
		i := d.at[id]
		d.changes = append(d.changes[:i], d.changes[i+1:]...)
		delete(d.at, id)
		delete(d.values, id)
		for k, at := range d.at {
			if at > i {
				d.at[k] = at - 1
			}
		}
		return
	}
	d.change(Change{Table: t.name, Key: key, Rev: t.Rev(key)}, nil)
}

func (d *Draft) change(c Change, value any) {
	id := [2]string{c.Table, c.Key}
	d.values[id] = value
	if i, ok := d.at[id]; ok {
		d.changes[i] = c
		return
	}
	d.at[id] = len(d.changes)
	d.changes = append(d.changes, c)
}

// Changes are those made, in the order in which their rows were first touched.
func (d *Draft) Changes() []Change { return d.changes }
