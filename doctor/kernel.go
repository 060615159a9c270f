package doctor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const newerKernel = "run a newer kernel"

// kernel asks the kernel for what the supervisor uses. Each question is put so that it can do nothing.
func kernel() []Check {
	return []Check{
		judgeKernel(release()), judgePidfd(openOwnPidfd()), judgeClone(tryClone3()), judgeCloseRange(tryCloseRange()),
		judgeSubreaper(askSubreaper()), judgeChildren(hasChildren()), judgeHidepid(readMounts(), os.Geteuid()),
	}
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// oldest is the kernel that groom needs.
var oldest = [2]int{5, 4}

func judgeKernel(release string) Check {
	major, minor, ok1 := version(release)
	switch {
	case !ok1:
		return warn("kernel", "uname -r", "version %q cannot be read; groom needs %d.%d", release, oldest[0], oldest[1])
	case major < oldest[0] || major == oldest[0] && minor < oldest[1]:
		return bad("kernel", newerKernel, "%s; groom needs %d.%d", release, oldest[0], oldest[1])
	}
	return ok("kernel", "%s; groom needs %d.%d", release, oldest[0], oldest[1])
}

func version(release string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest[:end])
	return major, minor, err1 == nil && err2 == nil
}

// openOwnPidfd opens a pidfd of this process, and says whether it has an inode of its own.
func openOwnPidfd() (pidfs bool, err error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && int64(fs.Type) == unix.PID_FS_MAGIC, nil
}

func judgePidfd(pidfs bool, err error) Check {
	switch {
	case err != nil:
		return bad("pidfd", newerKernel+", or let the container's seccomp profile allow pidfd_open",
			"pidfd_open: %v; groom starts nothing without it", err)
	case !pidfs:
		return warn("pidfd", newerKernel+" (6.9 has it)", "no inodes of pidfs: processes are told apart by start times, in ticks of 10 ms")
	}
	return ok("pidfd", "pidfd_open, with an inode for each process")
}

// cloneArgs is struct clone_args as of Linux 5.7.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// tryClone3 asks for a process with a signal and a cgroup that cannot be: every kernel refuses, and how it refuses says
// what it knows. E2BIG is the answer of one for which the field of the cgroup is too much.
func tryClone3() error {
	args := cloneArgs{flags: unix.CLONE_INTO_CGROUP, exitSignal: 1 << 40, cgroup: 1 << 40}
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	return errno
}

func judgeClone(err error) Check {
	if errors.Is(err, unix.EINVAL) {
		return ok("clone3", "clone3 with CLONE_INTO_CGROUP")
	}
	return warn("clone3", newerKernel+" (5.7 has it), or let the container's seccomp profile allow clone3",
		"no clone3 with CLONE_INTO_CGROUP (%v): a process cannot be born in its cgroup", err)
}

// tryCloseRange marks descriptors that no process has.
func tryCloseRange() error { return unix.CloseRange(1<<30, 1<<30, unix.CLOSE_RANGE_CLOEXEC) }

func judgeCloseRange(err error) Check {
	if err != nil {
		return warn("close_range", newerKernel+" (5.11 has it)", "close_range: %v; descriptors are closed one by one, up to 1024", err)
	}
	return ok("close_range", "close_range with CLOEXEC")
}

// isReaper is where the kernel writes its answer: a stack could move meanwhile.
var isReaper int32

func askSubreaper() error {
	return unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&isReaper)), 0, 0, 0)
}

func judgeSubreaper(err error) Check {
	if err != nil {
		return bad("subreaper", newerKernel, "no subreaper (%v): what a task leaves behind escapes its shim", err)
	}
	return ok("subreaper", "a shim gets what its task leaves behind")
}

func hasChildren() error {
	_, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid()))
	return err
}

func judgeChildren(err error) Check {
	if err != nil {
		return warn("children", "build the kernel with CONFIG_PROC_CHILDREN", "%v: a shim reads all of /proc to find its children", err)
	}
	return ok("children", "/proc/PID/task/TID/children")
}

// judgeHidepid says whether processes of other users can be seen. As root everything can.
func judgeHidepid(mounts []mount, uid int) Check {
	hidden := ""
	for _, m := range mounts {
		if m.kind == "proc" && m.point == "/proc" {
			hidden = m.option("hidepid")
		}
	}
	if hidden == "" || hidden == "0" || hidden == "off" || uid == 0 {
		return ok("hidepid", "/proc shows every process")
	}
	return warn("hidepid", "mount -o remount,hidepid=0 /proc, or run groom as root",
		"/proc is mounted with hidepid=%s: that nothing is left of an attempt whose shim was killed cannot be proven", hidden)
}
