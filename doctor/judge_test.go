package doctor

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"groom/server/disk"
)

func times(each time.Duration, n int) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = each
	}
	return all
}

func TestJudgements(t *testing.T) {
	good := volume{name: "local", path: "/data", exists: true, writable: true, kind: "ext4", bytes: 1 << 40, inodes: 1 << 20}
	vol := func(change func(*volume)) Check {
		v := good
		change(&v)
		return judgeVolume(v)
	}
	mounted := func(line string) []mount { return parseMounts(line) }
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	v2 := hierarchy{v2: true, dir: "/sys/fs/cgroup/groom", controllers: []string{"cpu", "memory", "pids"}, writable: true}
	v1 := func(c string) hierarchy {
		return hierarchy{dir: "/sys/fs/cgroup/" + c, controllers: []string{c}, writable: true}
	}
	shut := v2
	shut.writable = false
	for _, c := range []struct {
		name  string
		got   Check
		want  Level
		words string // contained in the words
		hint  string // contained in the hint
	}{
		{"kernel of today", judgeKernel("6.18.44-fc-v509"), OK, "6.18", ""},
		{"the oldest kernel that will do", judgeKernel("5.4.0"), OK, "", ""},
		{"kernel without a patch level", judgeKernel("5.10"), OK, "", ""},
		{"kernel that is too old", judgeKernel("5.3.18-lp"), Fail, "needs 5.4", "newer kernel"},
		{"kernel that is no version", judgeKernel("plan9"), Warn, "plan9", "uname"},
		{"pidfds with inodes", judgePidfd(true, nil), OK, "", ""},
		{"pidfds without inodes", judgePidfd(false, nil), Warn, "10 ms", "6.9"},
		{"pidfds forbidden by a container", judgePidfd(false, unix.EPERM), Fail, "starts nothing", "seccomp"},
		{"clone3 as of 5.7", judgeClone(unix.EINVAL), OK, "", ""},
		{"clone3 as of 5.3", judgeClone(unix.E2BIG), Warn, "", "5.7"},
		{"no clone3", judgeClone(unix.ENOSYS), Warn, "", "seccomp"},
		{"close_range", judgeCloseRange(nil), OK, "", ""},
		{"close_range without its flag", judgeCloseRange(unix.EINVAL), Warn, "one by one", "5.11"},
		{"no subreaper", judgeSubreaper(unix.EINVAL), Fail, "escapes", "kernel"},
		{"no lists of children", judgeChildren(os.ErrNotExist), Warn, "all of /proc", "CONFIG_PROC_CHILDREN"},
		{"hidden processes", judgeHidepid(mounted("1 2 0:5 / /proc rw - proc proc rw,hidepid=2\n"), 1000), Warn, "hidepid=2", "remount"},
		{"hidden processes, named", judgeHidepid(mounted("1 2 0:5 / /proc rw - proc proc rw,hidepid=invisible\n"), 1000), Warn, "invisible", "remount"},
		{"hidden processes, and root", judgeHidepid(mounted("1 2 0:5 / /proc rw - proc proc rw,hidepid=2\n"), 0), OK, "", ""},
		{"nothing is hidden", judgeHidepid(mounted("1 2 0:5 / /proc rw - proc proc rw,hidepid=off\n"), 1000), OK, "", ""},

		{"cgroup v2, delegated", judgeUnified([]hierarchy{v2}), OK, v2.dir, ""},
		{"cgroup v2, not delegated", judgeUnified([]hierarchy{shut}), Warn, "cannot be written", "Delegate=yes"},
		{"cgroup v1 alone", judgeUnified([]hierarchy{v1("pids")}), Warn, "nowhere", "mount -t cgroup2"},
		{"no cgroups", judgeUnified(nil), Warn, "nowhere", "mount -t cgroup2"},
		{"controllers of v2", judgeControllers([]hierarchy{v2}), OK, "memory by version 2", ""},
		{"controllers of v1", judgeControllers([]hierarchy{v1("memory"), v1("cpu"), v1("pids")}), OK, "pids by version 1", ""},
		{"controllers, not delegated", judgeControllers([]hierarchy{shut}), Warn, "limits of memory, cpu, pids cannot be enforced; there is nothing", "Delegate"},
		{"one controller is missing", judgeControllers([]hierarchy{v1("memory"), v1("pids")}), Warn, "limits of cpu cannot", "Delegate"},

		{"files", judgeFiles(20000, 3), OK, "20000", ""},
		{"too few files", judgeFiles(256, 50), Fail, "256 may be open", "LimitNOFILE"},
		{"room for processes", judgeRoom("pids.max", "more", 1000, 10, 3), OK, "10 run", ""},
		{"no room for processes", judgeRoom("pids.max", "more", 100, 50, 3), Warn, "will fail", "more"},
		{"more processes than the limit", judgeRoom("pids.max", "more", 100, 500, 3), Warn, "will fail", "more"},
		{"processes without a limit", judgeRoom("pids.max", "more", math.MaxUint64, 500, 3), OK, "any number", ""},
		{"pipes", judgePipes(16384, 3), OK, "", ""},
		{"pipes of many tasks", judgePipes(16384, 1000), Warn, "one page", "sysctl -w fs.pipe-user-pages-soft=64000"},
		{"pipes without a limit", judgePipes(0, 1000), OK, "any number", ""},

		{"a local disk", vol(func(*volume) {}), OK, "on ext4", ""},
		{"a directory that is not there yet", vol(func(v *volume) { v.exists = false }), OK, "a start makes it", ""},
		{"a file in its place", vol(func(v *volume) { v.isFile = true }), Fail, "no directory", "--local-dir"},
		{"read-only", vol(func(v *volume) { v.readOnly, v.writable = true, false }), Fail, "read-only", "remount,rw"},
		{"of another user", vol(func(v *volume) { v.writable = false }), Fail, "may not write", "--local-dir"},
		{"NFS", vol(func(v *volume) { v.kind = "nfs4" }), Fail, "network", "local disk"},
		{"at the watermark", vol(func(v *volume) { v.bytes = disk.MinFreeBytes }), OK, "", ""},
		{"below the watermark", vol(func(v *volume) { v.bytes = disk.MinFreeBytes - 1 }), Fail, "watermark", "room"},
		{"no inodes left", vol(func(v *volume) { v.inodes = disk.MinFreeInodes - 1 }), Fail, "inodes", "remove files"},
		{"no table of inodes", vol(func(v *volume) { v.inodes, v.noInodes = 0, true }), OK, "", ""},
		{"in memory", vol(func(v *volume) { v.kind = "tmpfs" }), Warn, "reboot", "--local-dir"},
		{"by a program", vol(func(v *volume) { v.kind = "fuse.gocryptfs" }), Warn, "FUSE", "--local-dir"},
		{"over ssh", vol(func(v *volume) { v.kind = "fuse.sshfs" }), Fail, "network", "local disk"},
		{"noexec", vol(func(v *volume) { v.noExec = true }), Warn, "noexec", "remount,exec"},

		{"a quick disk", judgeSync(times(100*time.Microsecond, 1000)), OK, "median 100µs", ""},
		{"a disk that turns", judgeSync(times(12*time.Millisecond, 40)), Warn, "slow", "faster disk"},
		{"a disk that hiccups", judgeSync(append(times(time.Millisecond, 97), times(time.Second, 3)...)), Warn, "some take long", "iostat"},
		{"one append", judgeSync(times(time.Millisecond, 1)), OK, "of 1 appends", ""},

		{"a host that never slept", judgeBoot(time.Hour, 0), OK, "did not sleep", ""},
		{"a host that slept", judgeBoot(time.Hour, 20*time.Minute), OK, "slept 20m0s", ""},
		{"a clock like any", judgeWall(now, now.Add(-time.Hour)), OK, "1h0m0s old", ""},
		{"a clock without records", judgeWall(now, time.Time{}), OK, "nothing was recorded", ""},
		{"a clock that is a moment behind", judgeWall(now, now.Add(time.Second)), OK, "", ""},
		{"a clock that was set back", judgeWall(now, now.Add(3*time.Hour)), Warn, "set back by 3h0m0s", "timedatectl"},
		{"a clock that was never set", judgeWall(time.Unix(300, 0), time.Time{}), Fail, "never set", "date -s"},
		{"a synchronised clock", judgeNTP(0, unix.Timex{Maxerror: 1500}, nil), OK, "within", ""},
		{"a clock on its own", judgeNTP(unix.TIME_ERROR, unix.Timex{Status: unix.STA_UNSYNC}, nil), Warn, "nobody", "timedatectl"},
		{"a clock that may not be asked", judgeNTP(0, unix.Timex{}, unix.EPERM), Warn, "does not tell", "timedatectl"},

		{"a journal that is too busy", judgeJournal("groom", "/data", errBusy), Warn, "busy", "try again"},
		{"a temporary directory that is full", judgeJournal("groom", "/data", &os.PathError{Op: "write", Err: unix.ENOSPC}), Warn, "copied", "TMPDIR"},
		{"a journal of another user", judgeJournal("groom", "/data", &os.PathError{Op: "open", Err: unix.EACCES}), Fail, "denied", "user of the groom"},
		{"a journal over which Apply panicked", judgeJournal("groom", "/data", errors.New("panic\nstack")), Fail, "groom: panic", "/data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got.Level != c.want || !strings.Contains(c.got.Words, c.words) || !strings.Contains(c.got.Hint, c.hint) {
				t.Errorf("got %+v", c.got)
			}
			if (c.got.Hint == "") != (c.want == OK) {
				t.Errorf("%s with the hint %q", c.want, c.got.Hint)
			}
			if strings.Contains(c.got.Words+c.got.Hint, "\n") {
				t.Errorf("more than a line: %+v", c.got)
			}
		})
	}
}

// The kernel that runs this test has what groom needs.
func TestKernelOfThisHost(t *testing.T) {
	for _, c := range kernel() {
		if c.Level == Fail {
			t.Errorf("%+v", c)
		}
	}
	if err := tryClone3(); err == nil {
		t.Error("asking for clone3 made a process")
	}
}

func TestMountsAreRead(t *testing.T) {
	const text = `22 27 0:21 / /proc rw,nosuid - proc proc rw,hidepid=1,hidepid=2
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 27 8:2 / /mnt/my\040disk rw,noexec shared:2 - xfs /dev/sdb rw
31 27 8:3 / /mnt/my rw - nfs4 host:/x rw
broken line
`
	mounts := parseMounts(text)
	if len(mounts) != 4 {
		t.Fatalf("%d mounts: %+v", len(mounts), mounts)
	}
	if v := mounts[0].option("hidepid"); v != "2" {
		t.Errorf("hidepid=%s, the last one counts", v)
	}
	for path, want := range map[string]string{
		"/": "ext4", "/home": "ext4", "/mnt/my disk/data": "xfs", "/mnt/my/data": "nfs4", "/mnt/mydata": "ext4", "/proc/self": "proc",
	} {
		if m := holding(mounts, path); m.kind != want {
			t.Errorf("%s is on %s, want %s", path, m.kind, want)
		}
	}
	if !holding(mounts, "/mnt/my disk").has("noexec") || holding(mounts, "/").has("noexec") {
		t.Error("noexec is not told apart")
	}
}

func TestCgroupOfThisProcess(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"v2/slice/groom", "pids/job"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"v2/slice/groom/cgroup.controllers": "cpu memory\n", "v2/slice/groom/cgroup.procs": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mounts := []mount{
		{root: "/", point: dir + "/v2", kind: "cgroup2"},
		{root: "/docker/1", point: dir + "/pids", kind: "cgroup", options: []string{"rw", "pids"}},
		{root: "/", point: dir + "/memory", kind: "cgroup", options: []string{"memory"}}, // there is none
	}
	got := hierarchies(mounts, "5:pids:/docker/1/job\n4:memory:/\n0::/slice/groom\n")
	want := []hierarchy{
		{v2: true, dir: dir + "/v2/slice/groom", controllers: []string{"cpu", "memory"}, writable: true},
		{dir: dir + "/pids/job", controllers: []string{"pids"}, writable: true},
		{dir: dir + "/memory", controllers: []string{"memory"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(hierarchy{})); diff != "" {
		t.Error(diff)
	}
}

func TestKillAndFreeze(t *testing.T) {
	below := t.TempDir()
	put := func(names ...string) string {
		dir, err := os.MkdirTemp(below, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, c := range []struct {
		name, dir, release string
		want               Level
	}{
		{"both", put("cgroup.type", "cgroup.kill", "cgroup.freeze"), "5.4", OK},
		{"freeze alone", put("cgroup.type", "cgroup.freeze"), "6.1", Warn},
		{"neither", put("cgroup.type"), "6.1", Warn},
		{"the root of a new kernel", put(), "6.1", OK},
		{"the root of an old kernel", put(), "5.10", Warn},
	} {
		if got := judgeKillAndFreeze(c.dir, c.release); got.Level != c.want || (got.Hint == "") != (c.want == OK) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
