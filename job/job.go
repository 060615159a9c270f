// Package job reads job files: strict YAML, with every mistake told by line and column. See docs/job.md.
package job

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"groom/api"
)

// MaxSize bounds a job file and the canonical spec, in bytes.
const MaxSize = 1 << 20

// Mistake is one thing that is wrong with a job file.
type Mistake struct {
	File         string
	Line, Column int // from 1; 0 when the spec did not come from a file
	Field        string
	Words        string
}

func (m *Mistake) Error() string {
	if m.Line == 0 {
		return fmt.Sprintf("%s: %s", m.Field, m.Words)
	}
	if m.Field == "" {
		return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Words)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", m.File, m.Line, m.Column, m.Field, m.Words)
}

// Load reads a job file. Relative paths in it are relative to its directory; checksums that it leaves out are computed.
// The error joins every Mistake, in the order of the lines.
func Load(path string) (api.JobSpec, error) {
	f, err := os.Open(path)
	if err != nil {
		return api.JobSpec{}, fmt.Errorf("open job file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return api.JobSpec{}, fmt.Errorf("read job file: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return api.JobSpec{}, fmt.Errorf("find job file: %w", err)
	}
	return Parse(path, data, dir)
}

// Parse reads the text of a job file; name is what errors call it, dir what relative paths are relative to.
func Parse(name string, data []byte, dir string) (api.JobSpec, error) {
	var spec api.JobSpec
	if len(data) > MaxSize {
		return spec, &Mistake{File: name, Line: 1, Column: 1, Words: fmt.Sprintf("is over %d bytes", MaxSize)}
	}
	var doc, more yaml.Node
	text := yaml.NewDecoder(bytes.NewReader(data))
	if err := text.Decode(&doc); errors.Is(err, io.EOF) {
		return spec, &Mistake{File: name, Line: 1, Column: 1, Words: "is empty; want at least name, type, tasks and command"}
	} else if err != nil {
		return spec, syntax(name, err)
	}
	if err := text.Decode(&more); err == nil {
		return spec, &Mistake{File: name, Line: more.Line, Column: more.Column, Words: "a second document begins here; a file holds one job"}
	} else if !errors.Is(err, io.EOF) {
		return spec, syntax(name, err)
	}
	r := &reader{file: name, at: map[string]*yaml.Node{"": doc.Content[0]}}
	// Defaults stand first, so that what the file says is what counts, zeros included. Those that depend on what it
	// says come after it.
	Defaults(&spec)
	r.read(doc.Content[0], &spec)
	if len(r.mistakes) == 0 {
		resolve(&spec, dir)
		Complete(&spec)
		r.sum(&spec)
		if n, ok := r.at["probe"]; ok && !spec.Probe.On() {
			r.addAt(n, "probe", "want exec, http or tcp, found none")
		}
		for _, f := range check(&spec) {
			r.addAt(r.nearest(f.field), f.field, f.words)
		}
	}
	return spec, r.err()
}

// resolve makes paths absolute.
func resolve(spec *api.JobSpec, dir string) {
	abs := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	if len(spec.Command) > 0 && strings.Contains(spec.Command[0], "/") {
		spec.Command[0] = abs(spec.Command[0])
	}
	spec.Output, spec.SharedDir = abs(spec.Output), abs(spec.SharedDir)
	for i := range spec.Artifacts {
		spec.Artifacts[i].Source = abs(spec.Artifacts[i].Source)
	}
}

// sum computes the checksums that the file leaves out.
func (r *reader) sum(spec *api.JobSpec) {
	for i := range spec.Artifacts {
		a := &spec.Artifacts[i]
		if a.SHA256 != "" || a.Source == "" {
			continue
		}
		hash, err := sumFile(a.Source)
		if err != nil {
			field := fmt.Sprintf("artifacts[%d].source", i)
			r.addAt(r.nearest(field), field, err.Error())
			a.SHA256 = strings.Repeat("0", 64) // told already
			continue
		}
		a.SHA256 = hash
	}
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Hash is the SHA-256 of the canonical JSON of a spec, and that JSON.
func Hash(spec api.JobSpec) (hash string, canonical []byte, err error) {
	canonical, err = json.Marshal(spec)
	if err != nil {
		return "", nil, fmt.Errorf("encode spec: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), canonical, nil
}

// Validate checks a spec that came over the wire, by the rules of a job file. The error joins every Mistake.
func Validate(spec api.JobSpec) error {
	var errs []error
	for _, f := range check(&spec) {
		errs = append(errs, &Mistake{Field: f.field, Words: f.words})
	}
	if _, canonical, err := Hash(spec); err != nil {
		errs = append(errs, err)
	} else if len(canonical) > MaxSize {
		errs = append(errs, &Mistake{Field: "job", Words: fmt.Sprintf("is over %d bytes", MaxSize)})
	}
	return errors.Join(errs...)
}

// Mask is the spec with the values of secrets hidden: of variables and settings whose names look like one.
func Mask(spec api.JobSpec) api.JobSpec {
	spec.Env, spec.Config = mask(spec.Env), mask(spec.Config)
	return spec
}

var secretive = []string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL", "AUTH"}

func mask(values map[string]string) map[string]string {
	if values == nil {
		return nil
	}
	shown := make(map[string]string, len(values))
	for name, value := range values {
		upper := strings.ToUpper(name)
		if slices.ContainsFunc(secretive, func(s string) bool { return strings.Contains(upper, s) }) {
			value = "(hidden)"
		}
		shown[name] = value
	}
	return shown
}
