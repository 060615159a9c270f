package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"groom/server/disk"
)

// volume is what is to be known of the file system that holds, or would hold, a directory.
type volume struct {
	name, path    string // what it is for, and where
	exists        bool
	isFile        bool // something else than a directory stands there, or above it
	writable      bool
	kind          string // such as ext4
	readOnly      bool
	noExec        bool
	bytes, inodes uint64 // free
	noInodes      bool   // it has no table of them
}

func fileSystems(o Options) []Check {
	mounts := readMounts()
	data := look(mounts, "data", o.Data)
	data.noExec = false // nothing is executed there
	checks := []Check{judgeVolume(data)}
	for _, path := range o.LocalDirs {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		checks = append(checks, judgeVolume(look(mounts, "local", path)))
	}
	return checks
}

func look(mounts []mount, name, path string) volume {
	there := standing(path)
	m := holding(mounts, there)
	_, err := os.Stat(path)
	v := volume{name: name, path: path, exists: err == nil, kind: m.kind, noExec: m.has("noexec"), writable: writable(there)}
	if info, err := os.Stat(there); err == nil {
		v.isFile = !info.IsDir()
	}
	var s unix.Statfs_t
	if unix.Statfs(there, &s) == nil {
		v.readOnly = s.Flags&unix.ST_RDONLY != 0
		v.bytes, v.inodes, v.noInodes = s.Bavail*uint64(s.Bsize), s.Ffree, s.Files == 0
	}
	return v
}

// remote are file systems on which a lock may not mean what it says, or may be lost with a connection.
var remote = []string{"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "gfs2", "ocfs2", "gpfs", "fuse.sshfs", "fuse.glusterfs", "fuse.cephfs", "beegfs", "virtiofs"}

func judgeVolume(v volume) Check {
	flag := map[string]string{"data": "--data", "local": "--local-dir"}[v.name]
	elsewhere := fmt.Sprintf("name another directory with %s", flag)
	words := fmt.Sprintf("%s on %s, %s free", v.path, v.kind, size(v.bytes))
	if !v.noInodes {
		words += fmt.Sprintf(" and %d inodes", v.inodes)
	}
	if !v.exists {
		words += "; not there yet, a start makes it"
	}
	c := ok(v.name, "%s", words)
	c.Figures = map[string]float64{"free_bytes": float64(v.bytes), "free_inodes": float64(v.inodes)}
	level := func(l Level, hint, format string, args ...any) Check {
		c.Level, c.Hint, c.Words = l, hint, words+": "+fmt.Sprintf(format, args...)
		return c
	}
	switch {
	case v.isFile:
		return level(Fail, elsewhere, "what stands there is no directory")
	case v.readOnly:
		return level(Fail, "mount -o remount,rw "+v.path+", or "+elsewhere, "read-only")
	case !v.writable:
		return level(Fail, "run groom as the owner of the directory, or "+elsewhere, "this user may not write there")
	case slices.Contains(remote, v.kind):
		return level(Fail, "use a local disk: "+elsewhere, "a network file system, where a lock does not prove that a process lives")
	case v.bytes < disk.MinFreeBytes:
		return level(Fail, "make room there, or "+elsewhere, "below the watermark of %s", size(disk.MinFreeBytes))
	case !v.noInodes && v.inodes < disk.MinFreeInodes:
		return level(Fail, "remove files there, or "+elsewhere, "below the watermark of %d inodes", disk.MinFreeInodes)
	case v.kind == "tmpfs" || v.kind == "ramfs":
		return level(Warn, elsewhere, "in memory: after a reboot this is a new groom, without history")
	case strings.HasPrefix(v.kind, "fuse"):
		return level(Warn, elsewhere, "by a program (FUSE): its locks and syncs are as good as that program")
	case v.noExec:
		return level(Warn, "mount -o remount,exec "+v.path+", or "+elsewhere, "mounted noexec: programs that a job brings along cannot be run")
	}
	return c
}

func size(n uint64) string {
	switch {
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

const (
	syncFor  = 500 * time.Millisecond
	syncPage = 4096
	// slowSync is a disk that turns. Every decision waits for two syncs.
	slowSync = 10 * time.Millisecond
	// lateSync is what a heartbeat, a ping or a start can be held up by.
	lateSync = 200 * time.Millisecond
)

// syncRate appends and syncs as the journal does, to a file without a name: a kill leaves nothing.
func syncRate(ctx context.Context, data string) Check {
	times, err := timeSyncs(ctx, standing(data))
	if err != nil {
		return warn("sync", "run groom doctor as the user of the groom", "cannot be measured: %v", err)
	}
	return judgeSync(times)
}

func timeSyncs(ctx context.Context, dir string) ([]time.Duration, error) {
	f, err := unnamed(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var times []time.Duration
	page := make([]byte, syncPage)
	for began := time.Now(); len(times) == 0 || time.Since(began) < syncFor && ctx.Err() == nil; {
		each := time.Now()
		if _, err := f.Write(page); err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, fmt.Errorf("sync: %w", err)
		}
		times = append(times, time.Since(each))
	}
	return times, nil
}

// unnamed makes a file that goes with its descriptor. Where the file system cannot, its name is removed at once.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "unnamed"), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("make file in %s: %w", dir, err)
	}
	f, err := os.CreateTemp(dir, ".groom-doctor-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("make file: %w", err)
	}
	return f, os.Remove(f.Name())
}

func judgeSync(times []time.Duration) Check {
	slices.Sort(times)
	median, p99 := times[len(times)/2], times[len(times)*99/100]
	words := fmt.Sprintf("median %s, 99 in 100 within %s, of %d appends of 4 KiB", short(median), short(p99), len(times))
	figures := map[string]float64{
		"appends": float64(len(times)), "median_us": float64(median.Nanoseconds()) / 1000, "p99_us": float64(p99.Nanoseconds()) / 1000,
	}
	hint := "put the data directory on a faster disk, or see what else writes to this one: iostat -x 1"
	switch {
	case median > slowSync:
		return warn("sync", hint, "%s: slow; each decision of a groom waits for two", words).with(figures)
	case p99 > lateSync:
		return warn("sync", hint, "%s: some take long, and hold up every decision meanwhile", words).with(figures)
	}
	return ok("sync", "%s", words).with(figures)
}

func short(d time.Duration) string { return d.Round(max(d/1000, time.Microsecond)).String() }
