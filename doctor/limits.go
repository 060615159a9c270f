package doctor

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What a groom needs for each of its tasks, and for itself.
const (
	filesATask     = 8 // a pidfd, a connection, a log that is followed
	filesItself    = 256
	processesATask = 10 // the shim, and a task of a few threads
	threadsItself  = 64
	pagesATask     = 32 // two pipes of 16 pages each
)

// limits compares what the host allows with what the tasks need.
func limits(tasks int, mounts []mount) []Check {
	root := os.Geteuid() == 0
	checks := []Check{judgeFiles(rlimit(unix.RLIMIT_NOFILE), tasks)}
	used := threadsOf(os.Geteuid())
	if root {
		checks = append(checks, ok("processes", "no limit for root; %d of its threads run", used))
	} else {
		checks = append(checks, judgeRoom("processes", "raise LimitNPROC= of the service, or ulimit -u", rlimit(unix.RLIMIT_NPROC), uint64(used), tasks))
	}
	narrow := pidsAbove(mounts)
	if len(narrow) == 0 {
		checks = append(checks, ok("pids.max", "no limit in the cgroups of this process"))
	}
	for _, p := range narrow {
		c := judgeRoom("pids.max", "raise TasksMax= of the service or slice that holds this cgroup", p.most, p.used, tasks)
		c.Words += " in " + p.dir
		checks = append(checks, c)
	}
	all := runnable()
	checks = append(checks,
		judgeRoom("pid_max", "sysctl -w kernel.pid_max=4194304", number("/proc/sys/kernel/pid_max"), all, tasks),
		judgeRoom("threads-max", "sysctl -w kernel.threads-max=1000000", number("/proc/sys/kernel/threads-max"), all, tasks),
	)
	if root {
		return append(checks, ok("pipes", "no limit for root"))
	}
	return append(checks, judgePipes(number("/proc/sys/fs/pipe-user-pages-soft"), tasks))
}

// rlimit is the hard limit: a groom raises its soft one by itself.
func rlimit(which int) uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(which, &l) != nil {
		return math.MaxUint64
	}
	return l.Max
}

func judgeFiles(most uint64, tasks int) Check {
	need := uint64(filesItself + filesATask*tasks)
	words := fmt.Sprintf("%s may be open, %d tasks need about %d", amount(most), tasks, need)
	figures := bounds(most, need)
	if most < need {
		return bad("files", "raise LimitNOFILE= of the service, or ulimit -Hn", "%s", words).with(figures)
	}
	return ok("files", "%s", words).with(figures)
}

// judgeRoom compares a limit of processes with those that run and those that tasks need.
func judgeRoom(name, hint string, most, used uint64, tasks int) Check {
	need := uint64(threadsItself + processesATask*tasks)
	words := fmt.Sprintf("%s at most, %d run, %d tasks need about %d", amount(most), used, tasks, need)
	figures := bounds(most, need)
	figures["used"] = float64(used)
	if most < used+need {
		return warn(name, hint, "%s: starts of tasks will fail", words).with(figures)
	}
	return ok(name, "%s", words).with(figures)
}

func judgePipes(most uint64, tasks int) Check {
	need := uint64(pagesATask * tasks)
	if most == 0 { // says the kernel for no limit
		most = math.MaxUint64
	}
	figures := bounds(most, need)
	if most < need {
		return warn("pipes", fmt.Sprintf("sysctl -w fs.pipe-user-pages-soft=%d", 2*need),
			"%d pages for the pipes of a user, the output of %d tasks needs %d: later tasks get pipes of one page, and write slowly", most, tasks, need).with(figures)
	}
	return ok("pipes", "%s pages for the pipes of a user, the output of %d tasks needs %d", amount(most), tasks, need).with(figures)
}

// bounds are the figures of a limit. One that is not there has none.
func bounds(most, need uint64) map[string]float64 {
	f := map[string]float64{"need": float64(need)}
	if most != math.MaxUint64 {
		f["limit"] = float64(most)
	}
	return f
}

func amount(n uint64) string {
	if n == math.MaxUint64 {
		return "any number"
	}
	return strconv.FormatUint(n, 10)
}

// number reads a file that holds one; "max", and a file that is not there, are any number.
func number(path string) uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	return n
}

// pids is a limit of a cgroup.
type pids struct {
	dir        string
	most, used uint64
}

func (p pids) room() uint64 { return p.most - min(p.used, p.most) }

// pidsAbove is the narrowest limit of the cgroups that this process is in, none when there is none.
func pidsAbove(mounts []mount) []pids {
	own, _ := os.ReadFile("/proc/self/cgroup") // without it there are none
	var narrow []pids
	for _, h := range hierarchies(mounts, string(own)) {
		if !h.v2 && !slices.Contains(h.controllers, "pids") {
			continue
		}
		top := holding(mounts, h.dir).point
		for dir := h.dir; strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
			p := pids{dir, number(filepath.Join(dir, "pids.max")), 0}
			if p.most == math.MaxUint64 {
				continue
			}
			p.used = number(filepath.Join(dir, "pids.current"))
			if len(narrow) == 0 || p.room() < narrow[0].room() {
				narrow = []pids{p}
			}
		}
	}
	return narrow
}

// runnable is how many threads there are on the host, as far as this process may see.
func runnable() uint64 {
	b, err := os.ReadFile("/proc/loadavg") // 0.00 0.01 0.05 1/234 5678
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 4 {
		return 0
	}
	_, all, _ := strings.Cut(f[3], "/")
	n, _ := strconv.ParseUint(all, 10, 64)
	return n
}

// threadsOf counts the threads of a user.
func threadsOf(uid int) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	n := 0
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil || int(st.Uid) != uid {
			continue
		}
		if tasks, err := os.ReadDir(dir + "/task"); err == nil {
			n += len(tasks)
		}
	}
	return n
}
