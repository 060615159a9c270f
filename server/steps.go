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

// stepFiles keeps the supersteps of each job whose root is here in a capped file, unsynced and outside the journal, so
// that the pages look the same live and afterwards. A kill can cost the last few lines, never a result.
type stepFiles struct {
	home *home.Home
	mu   sync.Mutex
	open map[api.JobID]*stepFile
}

type stepFile struct {
	f      *os.File
	lines  int
	recent []api.Superstep // the newest, so that looking at a run does not slow it down
}

// The file is cut to its newest half when it has maxSteps lines.
const maxSteps = 10_000

func newStepFiles(h *home.Home) *stepFiles {
	return &stepFiles{home: h, open: map[api.JobID]*stepFile{}}
}

func (s *stepFiles) path(id api.JobID) string { return s.home.Path("steps", string(id)+".jsonl") }

// add appends one superstep.
func (s *stepFiles) add(id api.JobID, step api.Superstep) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := s.open[id]
	if file == nil || file.lines >= maxSteps {
		var err error
		if file, err = s.reopen(id); err != nil {
			return err
		}
	}
	line, err := json.Marshal(step)
	if err != nil {
		return fmt.Errorf("encode superstep: %w", err)
	}
	if _, err := file.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write superstep: %w", err)
	}
	file.lines++
	file.remember(step)
	return nil
}

// remember keeps the newest steps, each once.
func (f *stepFile) remember(step api.Superstep) {
	if n := len(f.recent); n > 0 && f.recent[n-1].Epoch == step.Epoch && f.recent[n-1].Step == step.Step {
		return
	}
	if len(f.recent) == 2*stepsShown {
		f.recent = append(f.recent[:0:0], f.recent[stepsShown:]...)
	}
	f.recent = append(f.recent, step)
}

// reopen opens the file for appending, cut to its newest half when it is full.
func (s *stepFiles) reopen(id api.JobID) (*stepFile, error) {
	if old := s.open[id]; old != nil {
		old.f.Close()
		delete(s.open, id)
	}
	steps, err := s.read(id)
	if err != nil {
		return nil, err
	}
	if len(steps) >= maxSteps {
		steps = steps[len(steps)-maxSteps/2:]
		var text []byte
		for _, step := range steps {
			line, err := json.Marshal(step)
			if err != nil {
				return nil, fmt.Errorf("encode superstep: %w", err)
			}
			text = append(append(text, line...), '\n')
		}
		if err := home.WriteFile(s.path(id), text); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(s.path(id), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open supersteps: %w", err)
	}
	s.open[id] = &stepFile{f: f, lines: len(steps), recent: slices.Clone(steps[max(0, len(steps)-stepsShown):])}
	return s.open[id], nil
}

// newest is the last n supersteps of a job, oldest first.
func (s *stepFiles) newest(id api.JobID, n int) ([]api.Superstep, error) {
	s.mu.Lock()
	if file := s.open[id]; file != nil && (n <= stepsShown || len(file.recent) == file.lines) {
		defer s.mu.Unlock()
		return slices.Clone(file.recent[max(0, len(file.recent)-n):]), nil
	}
	s.mu.Unlock() // a file that is only read needs no lock: lines are appended whole, or cut by a rename
	steps, err := s.read(id)
	return steps[max(0, len(steps)-n):], err
}

// read skips a line that a kill left torn, and a superstep that was released again after one.
func (s *stepFiles) read(id api.JobID) ([]api.Superstep, error) {
	f, err := os.Open(s.path(id))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open supersteps: %w", err)
	}
	defer f.Close()
	var steps []api.Superstep
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var step api.Superstep
		if json.Unmarshal(lines.Bytes(), &step) != nil {
			continue
		}
		if n := len(steps); n > 0 && steps[n-1].Epoch == step.Epoch && steps[n-1].Step == step.Step {
			continue
		}
		steps = append(steps, step)
	}
	if err := lines.Err(); err != nil {
		return steps, fmt.Errorf("read supersteps: %w", err)
	}
	return steps, nil
}

// end closes the file of a job whose barriers are closed; what it holds stays until the job is forgotten.
func (s *stepFiles) end(id api.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if file := s.open[id]; file != nil {
		file.f.Close()
		delete(s.open, id)
	}
}

func (s *stepFiles) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, file := range s.open {
		file.f.Close()
		delete(s.open, id)
	}
	return nil
}
