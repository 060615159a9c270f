// Package cgroup gives each attempt a control group of its own: to kill everything in it at once, to prove that
// nothing is left, and to bound its memory, processor time and number of processes.
//
// Killing and proving need the unified hierarchy (v2), wherever it is mounted. Limits are set by whichever version has
// the controller. What a host does not offer is told in words, and the attempt runs without it.
package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Controllers that limits are set with.
const (
	Memory = "memory"
	CPU    = "cpu"
	Pids   = "pids"
)

var controllers = []string{Memory, CPU, Pids}

// leaf is the group for the groom itself below the one that was delegated to it: a group that gives controllers to
// others may hold no process of its own.
const leaf = "agent"

// Facilities is what the host offers. It is found by reading alone.
type Facilities struct {
	Unified     string       `json:"unified,omitempty"` // the v2 group below which groups are made, "" without one
	Why         string       `json:"why,omitempty"`     // there is none
	Born        bool         `json:"born"`              // processes can be born inside (CLONE_INTO_CGROUP)
	Kill        bool         `json:"kill"`              // cgroup.kill; without it a group is frozen and killed one by one
	Controllers []Controller `json:"controllers"`       // of memory, cpu and pids
}

// Controller says by what a limit is enforced.
type Controller struct {
	Name    string `json:"name"`
	Version int    `json:"version,omitempty"` // 1 or 2, 0 where it cannot be used
	Dir     string `json:"dir,omitempty"`     // the group below which groups are made
	Why     string `json:"why,omitempty"`     // it cannot be used
}

func (f Facilities) controller(name string) Controller {
	for _, c := range f.Controllers {
		if c.Name == name {
			return c
		}
	}
	return Controller{Name: name}
}

// Words tells in plain words what the host does and does not offer.
func (f Facilities) Words() []string {
	var words []string
	switch {
	case f.Unified == "":
		words = append(words, "no control groups to kill and prove with: "+f.Why+
			"; what is left of an attempt that lost its shim is found by its token")
	case f.Kill:
		words = append(words, "attempts are killed, and proven dead, through control groups below "+f.Unified)
	default:
		words = append(words, "attempts are frozen and killed one by one in control groups below "+f.Unified+
			", since the kernel has no cgroup.kill")
	}
	if f.Unified != "" && !f.Born {
		words = append(words, "tasks move into their control group before they execute, since they cannot be born there")
	}
	for _, c := range f.Controllers {
		if c.Version == 0 {
			words = append(words, "limits of "+c.Name+" are not enforced: "+c.Why)
			continue
		}
		words = append(words, fmt.Sprintf("limits of %s are enforced by cgroup v%d below %s", c.Name, c.Version, c.Dir))
	}
	return words
}

// Look finds out what the host offers to this process.
func Look() Facilities {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nothing("mounts cannot be read: " + err.Error())
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nothing("control groups are not in this kernel: " + err.Error())
	}
	f := look(mounts, self)
	if f.Unified != "" {
		// The call exists when it finds fault with its arguments. Sandboxes that hide it answer otherwise.
		_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
		f.Born = errno == unix.EINVAL && atLeast(5, 7)
		f.Kill = atLeast(5, 14)
	}
	return f
}

// atLeast compares with the version of the kernel.
func atLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}

func nothing(why string) Facilities {
	f := Facilities{Why: why}
	for _, name := range controllers {
		f.Controllers = append(f.Controllers, Controller{Name: name, Why: why})
	}
	return f
}

func look(mounts, self []byte) Facilities {
	points, own := parseMounts(mounts), parseSelf(self)
	var f Facilities
	var candidates []string
	if m, ok := points[""]; ok {
		candidates, f.Why = unified(m, own[""])
	} else {
		f.Why = "the unified hierarchy is not mounted"
	}
	// The group of one's own first. Root may make groups at the top as well, where limits can be set although a
	// shell's group cannot give any.
	best := -1
	for _, dir := range candidates {
		if n := usable(dir); n > best {
			best, f.Unified = n, dir
		}
	}
	if f.Unified != "" {
		f.Why = ""
	}
	for _, name := range controllers {
		f.Controllers = append(f.Controllers, find(name, f.Unified, f.Why, points, own))
	}
	return f
}

// unified lists the v2 groups that groups may be made in.
func unified(m mount, own string) (dirs []string, why string) {
	var first error
	for _, dir := range []string{agentless(m.dir(own)), m.point} {
		if slices.Contains(dirs, dir) {
			continue
		}
		err := writable(dir)
		if err == nil {
			dirs = append(dirs, dir)
		} else if first == nil {
			first = err
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Sprintf("not delegated to this user: %v", first)
	}
	return dirs, ""
}

// agentless is the delegated group, also for a groom that was started in the leaf below it.
func agentless(dir string) string {
	if filepath.Base(dir) == leaf {
		return filepath.Dir(dir)
	}
	return dir
}

func writable(dir string) error {
	for _, path := range []string{dir, filepath.Join(dir, "cgroup.procs")} {
		if err := unix.Access(path, unix.W_OK); err != nil {
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
	}
	return nil
}

// usable counts the controllers that a v2 group can hand on.
func usable(dir string) int {
	n := 0
	for _, name := range controllers {
		if contains(dir, "cgroup.controllers", name) && handsOn(dir, name) == "" {
			n++
		}
	}
	return n
}

// handsOn says why a group cannot give a controller to the groups below it, "" when it can.
func handsOn(dir, name string) string {
	if contains(dir, "cgroup.subtree_control", name) || !has(dir, "cgroup.type") { // the latter: the top of all
		return ""
	}
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err.Error()
	}
	if len(bytes.TrimSpace(procs)) > 0 {
		return "processes run in " + dir + " itself, so that it cannot hand the controller on" +
			" (for systemd: Delegate=yes and DelegateSubgroup=" + leaf + ")"
	}
	return ""
}

func find(name, v2, whyNot string, points map[string]mount, own map[string]string) Controller {
	c := Controller{Name: name}
	if m, ok := points[name]; ok {
		dir := m.dir(own[name])
		if err := writable(dir); err != nil {
			c.Why = fmt.Sprintf("cgroup v1 is not delegated to this user: %v", err)
			return c
		}
		c.Version, c.Dir = 1, dir
		return c
	}
	switch {
	case v2 == "":
		c.Why = whyNot
	case !contains(v2, "cgroup.controllers", name):
		c.Why = "no hierarchy has the controller for " + v2
	default:
		if c.Why = handsOn(v2, name); c.Why == "" {
			c.Version, c.Dir = 2, v2
		}
	}
	return c
}

// mount is a hierarchy: where it is mounted, and which of its groups is seen there.
type mount struct{ point, root string }

// dir is the directory of a group. One that lies outside of what is mounted is taken for the top of it.
func (m mount) dir(group string) string {
	rel, err := filepath.Rel(m.root, group)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return m.point
	}
	dir := filepath.Join(m.point, rel)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return m.point
	}
	return dir
}

// parseMounts finds the hierarchies of /proc/self/mountinfo: "" is the unified one, the others go by controller.
func parseMounts(b []byte) map[string]mount {
	points := map[string]mount{}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		m := mount{root: unescape(f[3]), point: unescape(f[4])}
		switch g[0] {
		case "cgroup2":
			if _, again := points[""]; !again {
				points[""] = m
			}
		case "cgroup":
			for name := range strings.SplitSeq(g[2], ",") {
				if _, again := points[name]; !again && slices.Contains(controllers, name) {
					points[name] = m
				}
			}
		}
	}
	return points
}

// unescape undoes how the kernel writes blanks in a path.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// parseSelf reads /proc/self/cgroup: lines of number, controllers, group.
func parseSelf(b []byte) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for name := range strings.SplitSeq(f[1], ",") {
			own[name] = f[2]
		}
	}
	return own
}

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

func contains(dir, file, word string) bool {
	b, err := os.ReadFile(filepath.Join(dir, file))
	return err == nil && slices.Contains(strings.Fields(string(b)), word)
}
