package api

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// JobID, TaskID and AttemptID are written as Hama writes them:
//
//	job_202611240915_0001
//	task_202611240915_0001_000002
//	attempt_202611240915_0001_000002_1
//
// The minute is that of the submission, the number after it serial within the cluster; then the task's index within
// its job, counted from 0; then the serial number of the attempt, counted from 1. That number is not the budget.
type (
	JobID     string
	TaskID    string
	AttemptID string
)

// ErrBadID is returned when a text is not an identifier of the kind asked for.
var ErrBadID = errors.New("bad identifier")

// NewJobID names the job with serial number seq that was submitted at the given moment.
func NewJobID(at time.Time, seq uint64) JobID {
	return JobID(fmt.Sprintf("job_%s_%04d", at.UTC().Format("200601021504"), seq))
}

// Task names the job's task with this index.
func (j JobID) Task(index int) TaskID {
	return TaskID(fmt.Sprintf("task_%s_%06d", strings.TrimPrefix(string(j), "job_"), index))
}

// Attempt names the task's attempt with serial number n.
func (t TaskID) Attempt(n int) AttemptID {
	return AttemptID(fmt.Sprintf("attempt_%s_%d", strings.TrimPrefix(string(t), "task_"), n))
}

// Job is the job that the task belongs to, or "" when the identifier is malformed.
func (t TaskID) Job() JobID {
	job, _, err := t.split()
	if err != nil {
		return ""
	}
	return job
}

// Index is the task's index within its job, or -1 when the identifier is malformed.
func (t TaskID) Index() int {
	_, index, err := t.split()
	if err != nil {
		return -1
	}
	return index
}

func (t TaskID) split() (JobID, int, error) {
	parts := strings.Split(string(t), "_")
	if len(parts) != 4 || parts[0] != "task" || !digits(parts[1:]) {
		return "", 0, fmt.Errorf("task %q: %w", string(t), ErrBadID)
	}
	index, err := strconv.Atoi(parts[3])
	if err != nil {
		return "", 0, fmt.Errorf("task %q: %w", string(t), ErrBadID)
	}
	return JobID("job_" + parts[1] + "_" + parts[2]), index, nil
}

// Task is the task that the attempt was made for, or "" when the identifier is malformed.
func (a AttemptID) Task() TaskID {
	s := strings.TrimPrefix(string(a), "attempt_")
	i := strings.LastIndexByte(s, '_')
	if i < 0 || len(s) == len(a) {
		return ""
	}
	return TaskID("task_" + s[:i])
}

// N is the attempt's serial number, or 0 when the identifier is malformed.
func (a AttemptID) N() int {
	n, err := strconv.Atoi(string(a)[strings.LastIndexByte(string(a), '_')+1:])
	if err != nil {
		return 0
	}
	return n
}

// ParseAttemptID checks that s names an attempt.
func ParseAttemptID(s string) (AttemptID, error) {
	a := AttemptID(s)
	if a.N() < 1 || a.Task().Index() < 0 || a != a.Task().Attempt(a.N()) {
		return "", fmt.Errorf("attempt %q: %w", s, ErrBadID)
	}
	return a, nil
}

// ParseTaskID checks that s names a task.
func ParseTaskID(s string) (TaskID, error) {
	if _, _, err := TaskID(s).split(); err != nil {
		return "", err
	}
	return TaskID(s), nil
}

// ParseJobID checks that s names a job.
func ParseJobID(s string) (JobID, error) {
	parts := strings.Split(s, "_")
	if len(parts) != 3 || parts[0] != "job" || !digits(parts[1:]) {
		return "", fmt.Errorf("job %q: %w", s, ErrBadID)
	}
	return JobID(s), nil
}

func digits(parts []string) bool {
	for _, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}
