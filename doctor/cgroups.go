package doctor

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// wanted are the controllers by which tasks are limited.
var wanted = []string{"memory", "cpu", "pids"}

const delegate = "run groom by packaging/groom.service, whose Delegate=yes gives it a cgroup of its own"

// hierarchy is one mounted tree of control groups, and where in it this process is.
type hierarchy struct {
	v2          bool
	dir         string   // of the process's own cgroup
	controllers []string // that can be had there
	writable    bool
}

// hierarchies finds the trees of control groups. own is the text of /proc/self/cgroup.
func hierarchies(mounts []mount, own string) []hierarchy {
	paths := map[string]string{} // by controller, "" for v2
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			paths[c] = f[2]
		}
	}
	var all []hierarchy
	for _, m := range mounts {
		switch m.kind {
		case "cgroup2":
			h := hierarchy{v2: true, dir: within(m, paths[""])}
			b, _ := os.ReadFile(filepath.Join(h.dir, "cgroup.controllers"))
			h.controllers = strings.Fields(string(b))
			h.writable = writable(h.dir) && writable(filepath.Join(h.dir, "cgroup.procs"))
			all = append(all, h)
		case "cgroup":
			for _, c := range wanted {
				if m.has(c) {
					h := hierarchy{dir: within(m, paths[c]), controllers: []string{c}}
					h.writable = writable(h.dir)
					all = append(all, h)
				}
			}
		}
	}
	return all
}

// within is where a cgroup is below a mount of its tree, which may show a part of the tree only.
func within(m mount, cgroup string) string {
	rest, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(m.root, "/"))
	if !ok {
		rest = "" // outside of what this process may see
	}
	return path.Join(m.point, rest)
}

func writable(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) == nil
}

func cgroups(mounts []mount) []Check {
	own, _ := os.ReadFile("/proc/self/cgroup") // without it there are none
	all := hierarchies(mounts, string(own))
	checks := []Check{judgeUnified(all), judgeControllers(all)}
	if i := slices.IndexFunc(all, func(h hierarchy) bool { return h.v2 }); i >= 0 {
		checks = append(checks, judgeKillAndFreeze(all[i].dir, release()))
	}
	return checks
}

func judgeUnified(all []hierarchy) Check {
	const without = "what a task leaves behind is found by its shim and its token"
	for _, h := range all {
		if !h.v2 {
			continue
		}
		if h.writable {
			return ok("cgroups", "version 2; %s can be written to", h.dir)
		}
		return warn("cgroups", delegate, "version 2, and %s cannot be written to by this user: %s", h.dir, without)
	}
	return warn("cgroups", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified, or boot with systemd.unified_cgroup_hierarchy=1",
		"version 2 is mounted nowhere: %s", without)
}

func judgeControllers(all []hierarchy) Check {
	var have, lack []string
	for _, c := range wanted {
		by := ""
		for _, h := range all {
			if h.writable && slices.Contains(h.controllers, c) {
				by = map[bool]string{true: "version 2", false: "version 1"}[h.v2]
				break
			}
		}
		if by == "" {
			lack = append(lack, c)
			continue
		}
		have = append(have, fmt.Sprintf("%s by %s", c, by))
	}
	if len(lack) > 0 {
		return warn("controllers", delegate, "limits of %s cannot be enforced; there is %s", strings.Join(lack, ", "),
			orNothing(strings.Join(have, ", ")))
	}
	return ok("controllers", "%s", strings.Join(have, ", "))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// judgeKillAndFreeze looks for the files that kill and freeze a whole cgroup. The root of the tree has neither, on any
// kernel: there the version decides.
func judgeKillAndFreeze(dir, release string) Check {
	has := func(file string, since int) bool {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.type")); err == nil {
			_, err := os.Stat(filepath.Join(dir, file))
			return err == nil
		}
		major, minor, ok := version(release)
		return ok && (major > 5 || major == 5 && minor >= since)
	}
	kill, freeze := has("cgroup.kill", 14), has("cgroup.freeze", 2)
	switch {
	case kill && freeze:
		return ok("cgroup.kill", "a cgroup can be killed and frozen as one")
	case freeze:
		return warn("cgroup.kill", newerKernel+" (5.14 has it)", "a cgroup can be frozen, and is killed process by process")
	}
	return warn("cgroup.kill", newerKernel+" (5.14 has it)", "a cgroup can be neither killed nor frozen as one")
}
