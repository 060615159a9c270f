package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits is what an attempt may use; zero is without a limit.
type Limits struct {
	Memory int64   // bytes, swap included
	CPU    float64 // processors
	Pids   int64   // processes and threads
}

// Group is the control group of one attempt: a directory in each hierarchy that takes part.
type Group struct {
	Unified string   // in the v2 hierarchy, "" without
	Others  []string // in v1 hierarchies, for their limits
	OOM     string   // the file that counts the kills for want of memory, "" when nobody counts them
	Born    bool     // the task is born in the v2 group; otherwise it moves there before its program is executed
}

// Parent makes the groups of one groom's attempts.
type Parent struct {
	Facilities
	name string // of the directory above the attempts' groups
}

// New looks at the host for the groom with this id. Without an id no group is ever made.
func New(id string) *Parent {
	if id == "" {
		return &Parent{Facilities: nothing("this groom has no id to name them by")}
	}
	return &Parent{Facilities: Look(), name: "groom-" + id}
}

// Make makes the group of an attempt with its limits, and says per limit asked for what is not enforced. Whatever
// fails, the attempt can run without it.
//
// It is the same group when it is made again. Killed halfway, it leaves directories that no process is in: the attempt
// was never started, and Leftovers has them removed.
func (p *Parent) Make(attempt string, want Limits) (Group, []string) {
	var g Group
	var unenforced []string
	if p.Unified != "" {
		dir, err := p.mkdir(p.Unified, attempt)
		if err == nil {
			g.Unified = dir
		} else {
			unenforced = append(unenforced, "control group: "+err.Error())
		}
	}
	made := map[string]string{p.Unified: g.Unified}
	limit := func(name, asked string, set func(dir string, version int) error) {
		c := p.controller(name)
		why := c.Why
		if c.Version != 0 {
			dir, err := made[c.Dir], error(nil)
			if dir == "" {
				if dir, err = p.mkdir(c.Dir, attempt); err == nil {
					made[c.Dir], g.Others = dir, append(g.Others, dir)
				}
			}
			if err == nil {
				err = set(dir, c.Version)
			}
			if err == nil {
				return
			}
			why = err.Error()
		}
		unenforced = append(unenforced, name+" limit of "+asked+": "+why)
	}
	if want.Memory > 0 {
		limit(Memory, strconv.FormatInt(want.Memory, 10)+" bytes", func(dir string, version int) error {
			return limitMemory(dir, version, want.Memory)
		})
	}
	if want.CPU > 0 {
		limit(CPU, strconv.FormatFloat(want.CPU, 'g', -1, 64)+" processors", func(dir string, version int) error {
			return limitCPU(dir, version, want.CPU)
		})
	}
	if want.Pids > 0 {
		limit(Pids, strconv.FormatInt(want.Pids, 10)+" processes", func(dir string, _ int) error {
			return put(dir, "pids.max", strconv.FormatInt(want.Pids, 10))
		})
	}
	// What forks a task may need more threads for a moment than the task itself is allowed.
	g.Born = g.Unified != "" && p.Born && (want.Pids == 0 || p.controller(Pids).Version != 2)
	g.OOM = p.counter(made)
	return g, unenforced
}

// counter is where the kernel counts the processes of the group that it killed for want of memory.
func (p *Parent) counter(made map[string]string) string {
	c := p.controller(Memory)
	dir := made[c.Dir]
	if c.Version == 0 || dir == "" {
		return ""
	}
	return filepath.Join(dir, map[int]string{1: "memory.oom_control", 2: "memory.events"}[c.Version])
}

// mkdirTries is how often the groom's group is made again that went with the last attempt of another.
const mkdirTries = 10

// mkdir makes the group of an attempt below the groom's, which goes with the last one in it and may go right now.
func (p *Parent) mkdir(base, attempt string) (string, error) {
	above := filepath.Join(base, p.name)
	dir := filepath.Join(above, attempt)
	var err error
	for range mkdirTries {
		if err = os.Mkdir(above, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make group: %w", err)
		}
		for _, name := range controllers {
			// What cannot be handed on shows when a limit is set.
			if c := p.controller(name); c.Version == 2 && c.Dir == base {
				handOn(base, name)
				handOn(above, name)
			}
		}
		if err = os.Mkdir(dir, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return "", fmt.Errorf("make group: %w", err)
}

func handOn(dir, name string) {
	if !contains(dir, "cgroup.subtree_control", name) {
		_ = put(dir, "cgroup.subtree_control", "+"+name)
	}
}

func limitMemory(dir string, version int, bytes int64) error {
	n := strconv.FormatInt(bytes, 10)
	if version == 2 {
		return errors.Join(put(dir, "memory.max", n), absent(put(dir, "memory.swap.max", "0")))
	}
	return errors.Join(put(dir, "memory.limit_in_bytes", n), absent(put(dir, "memory.memsw.limit_in_bytes", n)))
}

// absent forgives a file that is not there: kernels without swap accounting have none for it.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// The processor time of a group is given out in periods; the kernel takes no quota below a millisecond.
const (
	cpuPeriod = 100_000 // µs
	cpuLeast  = 1000    // µs
)

func limitCPU(dir string, version int, processors float64) error {
	quota := strconv.FormatInt(max(int64(processors*cpuPeriod), cpuLeast), 10)
	if version == 2 {
		return put(dir, "cpu.max", quota+" "+strconv.Itoa(cpuPeriod))
	}
	return errors.Join(put(dir, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)), put(dir, "cpu.cfs_quota_us", quota))
}

// put writes a file of a group. These files are the kernel's: one that is missing is not made.
func put(dir, name, text string) error {
	fd, err := unix.Open(filepath.Join(dir, name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(text))
		_ = unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("write %s to %s: %w", text, name, err)
	}
	return nil
}

// Of is the group that Make made for an attempt, as far as it is still there. It is for attempts whose record of it is
// gone.
func (p *Parent) Of(attempt string) Group {
	var g Group
	for i, dir := range p.tops() {
		dir = filepath.Join(dir, attempt)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if i == 0 && p.Unified != "" {
			g.Unified = dir
		} else {
			g.Others = append(g.Others, dir)
		}
	}
	return g
}

// Leftovers lists the attempts that have a group.
func (p *Parent) Leftovers() []string {
	var names []string
	seen := map[string]bool{}
	for _, top := range p.tops() {
		entries, err := os.ReadDir(top)
		if err != nil {
			continue // none was ever made
		}
		for _, e := range entries {
			if e.IsDir() && !seen[e.Name()] {
				seen[e.Name()] = true
				names = append(names, e.Name())
			}
		}
	}
	return names
}

// Path is the directory of this groom's groups in the unified hierarchy.
func (p *Parent) Path() string { return filepath.Join(p.Unified, p.name) }

// tops is the groom's own directory in each hierarchy, the unified one first.
func (p *Parent) tops() []string {
	var dirs []string
	if p.name == "" {
		return nil
	}
	if p.Unified != "" {
		dirs = append(dirs, filepath.Join(p.Unified, p.name))
	}
	for _, c := range p.Controllers {
		if c.Version == 1 {
			dirs = append(dirs, filepath.Join(c.Dir, p.name))
		}
	}
	return dirs
}

// Trusted says whether a directory is of the form that Make gives to the group of an attempt: records are read from
// files, and what they say is killed.
func Trusted(dir, attempt string) bool {
	var s unix.Statfs_t
	if filepath.Base(dir) != attempt || !strings.HasPrefix(filepath.Base(filepath.Dir(dir)), "groom-") || filepath.Clean(dir) != dir {
		return false
	}
	if unix.Statfs(filepath.Dir(filepath.Dir(dir)), &s) != nil {
		return false
	}
	return s.Type == unix.CGROUP2_SUPER_MAGIC || s.Type == unix.CGROUP_SUPER_MAGIC
}
