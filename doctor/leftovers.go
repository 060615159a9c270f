package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/server/disk"
	"groom/server/home"
	"groom/supervisor/ctl"
)

// listed is what stands in a local directory.
type listed struct {
	attempts string // where this groom's stand
	ids      []api.AttemptID
	others   []string // what other grooms made there
	err      error
}

func list(o Options) []listed {
	var all []listed
	id := ""
	if h, err := home.Peek(o.Data); err == nil {
		id = h.ID
	}
	for _, path := range o.LocalDirs {
		all = append(all, listDir(path, id))
	}
	return all
}

func listDir(path, id string) listed {
	d, err := disk.New(path, id)
	if err != nil {
		return listed{err: err}
	}
	l := listed{attempts: d.Attempts()}
	roots, err := os.ReadDir(d.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.err = err
	}
	for _, e := range roots {
		other := filepath.Join(d.Path, e.Name())
		if e.IsDir() && strings.HasPrefix(e.Name(), "groom-") && other != d.Root {
			l.others = append(l.others, other)
		}
	}
	if id == "" {
		return l
	}
	entries, err := os.ReadDir(l.attempts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.err = err
	}
	for _, e := range entries {
		if id, err := api.ParseAttemptID(e.Name()); err == nil {
			l.ids = append(l.ids, id)
		}
	}
	return l
}

// leftovers tells what was left behind: by a kill, by another groom, by a journal that was taken away. It says who
// removes each, and removes nothing.
func leftovers(o Options, t *tables, found []listed) []Check {
	var checks []Check
	owned := 0
	for _, l := range found {
		if l.err != nil {
			checks = append(checks, warn("leftovers", asOwner(l.err, "ls -l "+filepath.Dir(l.attempts)), "%v", l.err))
		}
		if len(l.others) > 0 {
			checks = append(checks, warn("leftovers", "if they are gone for good: rm -r "+strings.Join(l.others, " "),
				"%s of other grooms beside this one's", count(len(l.others), "directory", "directories")))
		}
		if len(l.ids) > 0 && t.groom == nil {
			checks = append(checks, warn("leftovers", "mend the journal first: a groom without it kills what runs there",
				"%s in %s, and no rows to tell whose", count(len(l.ids), "attempt directory", "attempt directories"), l.attempts))
			continue
		}
		n, more := unowned(l, t)
		owned += n
		checks = append(checks, more...)
	}
	checks = append(checks, leftFiles(o, t)...)
	if t.home != nil {
		if c, is := leftCgroups(readMounts(), t.home.ID, t); is {
			checks = append(checks, c)
		}
	}
	if len(checks) == 0 {
		return []Check{ok("leftovers", "none; %s with its row", count(owned, "attempt directory", "attempt directories, each"))}
	}
	return checks
}

// unowned looks at the attempt directories without a row, or with a row that says that nothing of it can live.
func unowned(l listed, t *tables) (owned int, checks []Check) {
	var dead, living, undead []string
	for _, id := range l.ids {
		a, has := t.row(id)
		if has && a.State != fsm.AttemptEnded {
			owned++
			continue
		}
		// Its lock is tested: only of those that nobody starts any more.
		held, err := ctl.Held(filepath.Join(l.attempts, string(id)))
		switch {
		case err == nil && held && has:
			undead = append(undead, string(id))
		case err == nil && held:
			living = append(living, string(id))
		case has:
			owned++
		default:
			dead = append(dead, string(id))
		}
	}
	if len(dead) > 0 {
		checks = append(checks, warn("leftovers", "the next start of groom agent removes them", "%s in %s that no row owns: %s",
			count(len(dead), "attempt directory", "attempt directories"), l.attempts, few(dead)))
	}
	if len(living) > 0 {
		checks = append(checks, warn("leftovers", "look at them first: the next start of groom agent kills them",
			"%s in %s that no row owns: %s", count(len(living), "attempt runs", "attempts run"), l.attempts, few(living)))
	}
	if len(undead) > 0 {
		checks = append(checks, warn("leftovers", "groom journal ls tells how they ended; fuser "+filepath.Join(l.attempts, undead[0], ctl.Lock)+" who holds it",
			"%s held: %s", count(len(undead), "attempt has ended by the tables, and its lock is", "attempts have ended by the tables, and their locks are"), few(undead)))
	}
	return owned, checks
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// few names the first of many.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// settledAfter is how old a temporary file is when nobody writes it any more.
const settledAfter = time.Minute

func leftFiles(o Options, t *tables) []Check {
	var checks []Check
	var temporary []string
	for _, pattern := range []string{"*.tmp", "*/*.tmp", "*/*.new", "*/snapshots/*.tmp"} {
		paths, _ := filepath.Glob(filepath.Join(o.Data, pattern)) // the patterns are good
		for _, path := range paths {
			if olderThan(path, settledAfter) {
				temporary = append(temporary, path)
			}
		}
	}
	if len(temporary) > 0 {
		checks = append(checks, warn("leftovers", "the next start, or the next write, replaces them", "%s that a kill left: %s", count(len(temporary), "temporary file", "temporary files"), few(temporary)))
	}
	if sock := filepath.Join(o.Data, "report.sock"); t.home != nil && t.holder == "" {
		if _, err := os.Lstat(sock); err == nil {
			checks = append(checks, warn("leftovers", "the next start of groom agent replaces it", "a socket that nobody listens on: %s", sock))
		}
	}
	// Of a doctor that was killed. One that runs is younger.
	scratches, _ := filepath.Glob(filepath.Join(os.TempDir(), scratchPrefix+"*"))
	var old []string
	for _, path := range scratches {
		if olderThan(path, time.Hour) {
			old = append(old, path)
		}
	}
	if len(old) > 0 {
		checks = append(checks, warn("leftovers", "rm -r "+strings.Join(old, " "), "%s of journals that a killed groom doctor left", count(len(old), "copy", "copies")))
	}
	links, _ := filepath.Glob(filepath.Join(os.TempDir(), "groom-????????????????"))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && gone(target) {
			checks = append(checks, warn("leftovers", "rm "+link, "%s leads to %s, which is gone", link, target))
		}
	}
	return checks
}

func gone(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// olderThan says whether a file of this user was last changed longer ago than that.
func olderThan(path string, age time.Duration) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	st, is := info.Sys().(*syscall.Stat_t)
	return is && int(st.Uid) == os.Geteuid() && time.Since(info.ModTime()) > age
}

// leftCgroups finds empty cgroups of this groom that are named by an attempt which no longer lives. Those of other grooms
// are theirs to judge: one that is empty may be about to be born into.
func leftCgroups(mounts []mount, groom string, t *tables) (Check, bool) {
	var left []string
	for _, m := range mounts {
		if m.kind != "cgroup2" && (m.kind != "cgroup" || !m.has("pids")) {
			continue
		}
		_ = filepath.WalkDir(m.point, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return fs.SkipDir // it goes away while it is looked at, or is not to be seen
			}
			if !e.IsDir() || filepath.Base(filepath.Dir(path)) != "groom-"+groom {
				return nil
			}
			id, err := api.ParseAttemptID(e.Name())
			if err != nil {
				return nil
			}
			if a, has := t.row(id); (!has || a.State == fsm.AttemptEnded) && empty(path) {
				left = append(left, path)
			}
			return fs.SkipDir
		})
	}
	if len(left) == 0 {
		return Check{}, false
	}
	return warn("leftovers", "rmdir "+strings.Join(left, " "), "%s that has ended: %s", count(len(left), "empty cgroup of an attempt", "empty cgroups, each of an attempt"), few(left)), true
}

func empty(cgroup string) bool {
	b, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	return err == nil && len(b) == 0
}
