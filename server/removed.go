package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"groom/api"
	"groom/server/home"
)

// removals is the log of what was removed: lines of api.Removal in DATA/removed.jsonl, unsynced and outside the
// journal, since nothing is decided by it. A kill can cost the newest lines, never a directory that should stay.
type removals struct {
	path string
	mu   sync.Mutex
	read bool
	all  []api.Removal
	f    *os.File
}

// removalsKept bounds the lines: the file is cut to the newest ones when it holds twice as many.
const removalsKept = 2000

func newRemovals(h *home.Home) *removals { return &removals{path: h.Path("removed.jsonl")} }

// load reads the file once. A line that a kill left torn is skipped.
func (r *removals) load() {
	if r.read {
		return
	}
	r.read = true
	f, err := os.Open(r.path)
	if err != nil {
		return // nothing was removed yet, or the log is lost: nothing hangs on it
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var one api.Removal
		if json.Unmarshal(lines.Bytes(), &one) == nil {
			r.all = append(r.all, one)
		}
	}
}

func (r *removals) add(one api.Removal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	r.all = append(r.all, one)
	if len(r.all) >= 2*removalsKept {
		return r.cut()
	}
	line, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("encode removal: %w", err)
	}
	if r.f == nil {
		if r.f, err = os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("open log of removals: %w", err)
		}
	}
	if _, err := r.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write removal: %w", err)
	}
	return nil
}

// cut writes the newest lines to a new file.
func (r *removals) cut() error {
	r.all = slices.Clone(r.all[len(r.all)-removalsKept:])
	var text []byte
	for _, kept := range r.all {
		line, err := json.Marshal(kept)
		if err != nil {
			return fmt.Errorf("encode removal: %w", err)
		}
		text = append(append(text, line...), '\n')
	}
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
	return home.WriteFile(r.path, text)
}

func (r *removals) newest() []api.Removal {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	all := slices.Clone(r.all)
	slices.Reverse(all)
	return all
}

// why is the reason for which the directory of an attempt was removed, "" when it was not.
func (r *removals) why(id api.AttemptID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	for _, one := range slices.Backward(r.all) {
		if one.Attempt == id {
			return one.Why
		}
	}
	return ""
}

func (r *removals) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}
