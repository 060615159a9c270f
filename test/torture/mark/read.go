package mark

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Execution is what a mark tells afterwards.
type Execution struct {
	Task, Attempt, Kind string
	Pid                 int
	Start, Beat         int64 // 0 when it was killed before it wrote them
	Ended               bool
	End                 int64
	Code                int
	Saw                 []string // names of the marks that were alive when it began
	Path                string
}

// Last is the newest moment at which the execution is known to have lived.
func (e Execution) Last() int64 { return max(e.Start, e.Beat, e.End) }

// ReadAll reads every mark below dir.
func ReadAll(dir string) ([]Execution, error) {
	var all []Execution
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() {
			return nil
		}
		e, err := read(path)
		if err == nil {
			all = append(all, e)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	return all, nil
}

// Parse takes the name of a mark apart.
func Parse(name string) (attempt, kind string, pid int, ok bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 {
		return "", "", 0, false
	}
	pid, err := strconv.Atoi(parts[2])
	return parts[0], parts[1], pid, err == nil
}

func read(path string) (Execution, error) {
	e := Execution{Task: filepath.Base(filepath.Dir(path)), Path: path}
	var ok bool
	if e.Attempt, e.Kind, e.Pid, ok = Parse(filepath.Base(path)); !ok {
		return e, fmt.Errorf("%s is no mark", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	lines := strings.Split(string(b), "\n")
	e.Beat, _ = strconv.ParseInt(lines[0], 10, 64)
	for _, line := range lines[1:] {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "start":
			e.Start, _ = strconv.ParseInt(rest, 10, 64)
		case "saw":
			e.Saw = append(e.Saw, rest)
		case "end":
			n, err := fmt.Sscanf(rest, "%d %d", &e.End, &e.Code)
			e.Ended = n == 2 && err == nil
		}
	}
	return e, nil
}
