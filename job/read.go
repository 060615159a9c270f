package job

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader decodes YAML nodes by the JSON tags of the types that they go to, and remembers where each field stood.
type reader struct {
	file     string
	at       map[string]*yaml.Node // by field: "restart.limit", "artifacts[0].source"
	mistakes []*Mistake
}

func (r *reader) read(n *yaml.Node, into any) { r.value(n, reflect.ValueOf(into).Elem(), "") }

func (r *reader) addAt(n *yaml.Node, field, words string) {
	r.mistakes = append(r.mistakes, &Mistake{File: r.file, Line: n.Line, Column: n.Column, Field: field, Words: words})
}

func (r *reader) want(n *yaml.Node, field, what string) {
	r.addAt(n, field, fmt.Sprintf("want %s, found %s", what, describe(n)))
}

// nearest is where a field stands, or the closest that holds it.
func (r *reader) nearest(field string) *yaml.Node {
	for {
		if n, ok := r.at[field]; ok {
			return n
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
}

func (r *reader) err() error {
	slices.SortStableFunc(r.mistakes, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var errs []error
	for _, m := range r.mistakes {
		errs = append(errs, m)
	}
	return errors.Join(errs...)
}

func (r *reader) value(n *yaml.Node, v reflect.Value, field string) {
	r.at[field] = n
	if n.Kind == yaml.AliasNode {
		r.addAt(n, field, "aliases are not taken here; write the value out")
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			r.want(n, field, `a duration such as "10s"`)
		} else if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			r.addAt(n, field, err.Error())
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		r.mapping(n, v, field)
	case reflect.Map:
		r.texts(n, v, field)
	case reflect.Slice:
		r.list(n, v, field)
	case reflect.String:
		if n.Kind != yaml.ScalarNode {
			r.want(n, field, "a text")
			return
		}
		if n.Tag != "!!str" {
			r.addAt(n, field, fmt.Sprintf("want a text, found %s; put it in quotes if a text is meant", describe(n)))
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Tag != "!!bool" || n.Decode(v.Addr().Interface()) != nil {
			r.want(n, field, "true or false")
		}
	case reflect.Float64:
		if n.Tag != "!!int" && n.Tag != "!!float" || n.Decode(v.Addr().Interface()) != nil {
			r.want(n, field, "a number")
		}
	default:
		if n.Tag != "!!int" || n.Decode(v.Addr().Interface()) != nil {
			r.want(n, field, "a whole number")
		}
	}
}

func (r *reader) mapping(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.MappingNode {
		what := "fields"
		if field == "" {
			what = "a job: name, type, tasks, command and so on"
		}
		r.want(n, field, what)
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = i
		names = append(names, name)
	}
	r.pairs(n, field, func(key, value *yaml.Node) {
		i, ok := fields[key.Value]
		if !ok {
			r.addAt(key, field, fmt.Sprintf("unknown field %q; %s", key.Value, suggest(key.Value, names)))
			return
		}
		r.value(value, v.Field(i), join(field, key.Value))
	})
}

// texts reads a map of texts.
func (r *reader) texts(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.MappingNode {
		r.want(n, field, "names with their values")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	r.pairs(n, field, func(key, value *yaml.Node) {
		text := reflect.New(v.Type().Elem()).Elem()
		r.value(value, text, join(field, key.Value))
		v.SetMapIndex(reflect.ValueOf(key.Value), text)
	})
}

// pairs yields each key and value, and tells of keys that stand there twice.
func (r *reader) pairs(n *yaml.Node, field string, yield func(key, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
			r.want(key, field, "a name")
			continue
		}
		if line, ok := seen[key.Value]; ok {
			r.addAt(key, field, fmt.Sprintf("%q stands on line %d already", key.Value, line))
			continue
		}
		seen[key.Value] = key.Line
		yield(key, n.Content[i+1])
	}
}

func (r *reader) list(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.SequenceNode {
		r.want(n, field, "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		r.value(item, v.Index(i), fmt.Sprintf("%s[%d]", field, i))
	}
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!str":
		return strconv.Quote(n.Value)
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return n.Value
}

// suggest names the field that was most likely meant, or all of them.
func suggest(got string, names []string) string {
	best, distance := "", 3
	for _, name := range names {
		if d := edits(got, name); d < distance {
			best, distance = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known are " + strings.Join(names, ", ")
}

// edits is the number of letters to add, drop or change to turn a into b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// syntax is an error of the YAML library, whose lines have no column.
func syntax(file string, err error) error {
	m := &Mistake{File: file, Line: 1, Column: 1, Words: strings.TrimPrefix(err.Error(), "yaml: ")}
	if parts := yamlLine.FindStringSubmatch(err.Error()); parts != nil {
		m.Line, _ = strconv.Atoi(parts[1])
		m.Words = parts[2]
	}
	return m
}
