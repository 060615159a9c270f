package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"groom/api"
	"groom/fault"
	"groom/fsm"
	"groom/server/home"
	"groom/supervisor"
)

// The output directory of a BSP job holds, beside its parts:
//
//	.groom               the ids of the job and of the cluster that own it
//	.parts/<attempt>/    what one attempt wrote; moved out, file by file, when the job commits
//
// Parts stand on the file system of the output, so that a move is a rename. A kill between two renames leaves the
// rest to the next start, since the task stays committing until all are done; a file that was moved is not there to
// be moved again.
const (
	ownerName = ".groom"
	partsName = ".parts"
)

// checkOutput says whether a job may write its result there: into a directory that is empty, or not there yet, or its
// own, or left by a job that ended without a result. Nothing is changed.
func (g *Groom) checkOutput(dir string, job api.JobID) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read output directory: %w", err)
	}
	// Marks under way, of tasks that are staged at the same moment, are nobody's result.
	results := slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ownerName) || e.Name() == partsName
	})
	owner, err := os.ReadFile(filepath.Join(dir, ownerName))
	if errors.Is(err, os.ErrNotExist) {
		if len(results) == 0 {
			return nil
		}
		return fmt.Errorf("output directory %s is not empty; name another, or empty it", dir)
	}
	if err != nil {
		return fmt.Errorf("read owner of output: %w", err)
	}
	if string(owner) == g.ownerOf(job) {
		return nil
	}
	name, _, _ := strings.Cut(string(owner), " ")
	other := api.JobID(name)
	if len(results) > 0 {
		return fmt.Errorf("output directory %s holds the result of %s; name another, or remove it", dir, other)
	}
	held, err := claimed(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for owner of output: %w", err)
	}
	if held {
		return fmt.Errorf("output directory %s is being written to by %s; name another", dir, other)
	}
	return nil
}

// ownerOf is what marks the output of a job: ids of jobs repeat from cluster to cluster.
func (g *Groom) ownerOf(job api.JobID) string { return fmt.Sprintf("%s %s\n", job, g.Me().Cluster) }

// outputDir is where an attempt of a BSP job writes to.
func outputDir(a fsm.Attempt, spec *api.JobSpec) string {
	if spec.Output == "" {
		return filepath.Join(attemptDir(a), "work", "output")
	}
	return filepath.Join(spec.Output, partsName, string(a.ID))
}

// stageOutput makes the directory that an attempt of a BSP job writes to.
func (g *Groom) stageOutput(a fsm.Attempt, job fsm.Job, spec *api.JobSpec) error {
	if job.Type != api.BSP {
		return nil
	}
	if spec.Output != "" {
		if err := g.claim(spec.Output, job.ID); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(outputDir(a, spec), 0o755); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	if spec.User == "" && spec.Group == "" {
		return nil
	}
	id, err := supervisor.Lookup(spec.User, spec.Group)
	if err != nil {
		return err
	}
	if err := os.Lchown(outputDir(a, spec), id.UID, id.GID); err != nil {
		return fmt.Errorf("hand over output directory: %w", err)
	}
	return nil
}

// busy is the jobs whose outputs are being moved.
type busy struct {
	mu   sync.Mutex
	jobs map[api.JobID]bool
}

func (b *busy) start(id api.JobID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.jobs[id] {
		return false
	}
	b.jobs[id] = true
	return true
}

func (b *busy) end(id api.JobID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs, id)
}

// commitOutput moves the outputs of a job's tasks into place in the background, once at a time for each job, and
// records when it is done.
func (g *Groom) commitOutput(ctx context.Context, id api.JobID, tasks []int) {
	if !g.commits.start(id) {
		return
	}
	g.running.Go(func() {
		defer g.kick()
		defer g.commits.end(id)
		if err := g.moveOutput(id, tasks); err != nil {
			g.log.Warn("move output into place; trying again", "job", id, "err", err)
			select { // a full disk, most likely: the task stays committing
			case <-ctx.Done():
			case <-time.After(retryEvery):
			}
			return
		}
		fault.Point("server.before-committed")
		g.insist(ctx, fsm.Committed{Job: id, Tasks: tasks})
	})
}

func (g *Groom) moveOutput(id api.JobID, tasks []int) error {
	_, spec, err := g.specOf(id)
	if err != nil || spec.Output == "" {
		return err
	}
	for _, i := range tasks {
		var a fsm.Attempt
		g.machine.View(func() {
			t, _ := g.state.Tasks.Get(string(id.Task(i)))
			a, _ = g.state.Newest(t)
		})
		if err := moveParts(spec.Output, a.ID); err != nil {
			return err
		}
	}
	return g.dropOldParts(spec.Output, id)
}

func moveParts(output string, a api.AttemptID) error {
	from := filepath.Join(output, partsName, string(a))
	entries, err := os.ReadDir(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil // moved before a kill
	}
	if err != nil {
		return fmt.Errorf("read parts: %w", err)
	}
	for _, e := range entries {
		fault.Point("server.before-move")
		if err := syncFile(filepath.Join(from, e.Name())); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(output, e.Name())); err != nil {
			return fmt.Errorf("move part: %w", err)
		}
	}
	if err := home.SyncDir(output); err != nil {
		return err
	}
	if err := os.Remove(from); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove staging: %w", err)
	}
	return nil
}

// syncFile makes a part durable before its name appears in the output.
func syncFile(path string) error {
	// Neither a pipe nor a link that a task left there may hold the commit up.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open part: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() && !st.IsDir() {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync part: %w", err)
	}
	return nil
}

// dropOldParts removes what this groom's attempts of ended epochs left in the staging directory. Those of other grooms
// are theirs to remove; the last one removes the directory.
func (g *Groom) dropOldParts(output string, id api.JobID) error {
	var old []api.AttemptID
	g.machine.View(func() {
		for _, a := range g.state.Attempts.All() {
			if a.ID.Task().Job() == id {
				old = append(old, a.ID)
			}
		}
	})
	root, err := os.OpenRoot(output)
	if err != nil {
		return fmt.Errorf("open output: %w", err)
	}
	defer root.Close()
	for _, a := range old {
		if err := root.RemoveAll(filepath.Join(partsName, string(a))); err != nil {
			return fmt.Errorf("remove old parts: %w", err)
		}
	}
	_ = root.Remove(partsName) // not empty while another groom's parts are there
	return nil
}
