package web

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"go.yaml.in/yaml/v3"
)

type route struct {
	path, name string
	methods    []string
}

// routesOf is every address that the router knows.
func routesOf(t *testing.T, s *Site) []route {
	t.Helper()
	var all []route
	pattern := regexp.MustCompile(`\{(\w+):[^}]*\}`)
	err := s.router.Walk(func(r *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := r.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := r.GetMethods()
		all = append(all, route{pattern.ReplaceAllString(path, "{$1}"), r.GetName(), methods})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The description and the router list the same addresses and methods, and what a path holds is described.
func TestOpenAPI(t *testing.T) {
	srv, s := serve(t, newWorld())
	resp, body := ask(t, "GET", srv.URL+"/api/openapi.yaml", "")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/yaml" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	var doc struct {
		OpenAPI string `yaml:"openapi"`
		Paths   map[string]map[string]struct {
			Summary    string              `yaml:"summary"`
			Parameters []map[string]any    `yaml:"parameters"`
			Security   []map[string][]any  `yaml:"security"`
			Responses  map[string]struct{} `yaml:"responses"`
		} `yaml:"paths"`
		Components struct {
			Parameters map[string]struct{ Name, In string } `yaml:"parameters"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	described, served := map[string]bool{}, map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			described[strings.ToUpper(method)+" "+path] = true
			if op.Summary == "" || len(op.Responses) == 0 {
				t.Errorf("%s %s is not described", method, path)
			}
			if changes := method == "post" && path != "/login" && path != "/logout"; changes != (len(op.Security) > 0) {
				t.Errorf("%s %s: the token is told wrongly", method, path)
			}
			given := map[string]bool{}
			for _, p := range op.Parameters {
				name, _ := p["name"].(string)
				if ref, ok := p["$ref"].(string); ok {
					c, ok := doc.Components.Parameters[ref[strings.LastIndexByte(ref, '/')+1:]]
					if !ok {
						t.Errorf("%s %s: %s is nowhere", method, path, ref)
					}
					name = c.Name
				}
				given[name] = true
			}
			for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !given[m[1]] {
					t.Errorf("%s %s: parameter %s is not described", method, path, m[1])
				}
			}
		}
	}
	for _, r := range routesOf(t, s) {
		for _, m := range r.methods {
			if m != "HEAD" { // goes without saying where GET is
				served[m+" "+r.path] = true
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(served)), slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("routes (-served +described):\n%s", diff)
	}
}
