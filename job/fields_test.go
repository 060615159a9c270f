package job

import (
	"reflect"
	"strings"
)

// fields lists the fields of a spec as a job file writes them: "restart.limit", "artifacts[].source".
func fields(spec any) []string {
	var all []string
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			switch f := t.Field(i).Type; {
			case f.Kind() == reflect.Struct:
				walk(f, prefix+name+".")
			case f.Kind() == reflect.Slice && f.Elem().Kind() == reflect.Struct:
				walk(f.Elem(), prefix+name+"[].")
			default:
				all = append(all, prefix+name)
			}
		}
	}
	walk(reflect.TypeOf(spec), "")
	return all
}
