package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

// Own is what a task has of its own. The zero value leaves it what the groom has.
type Own struct {
	User     string            // name or number
	Group    string            // name or number; the user's own group unless told
	Umask    *uint32           // permission bits that new files do not get
	Rlimits  map[string]Rlimit // of each process: as, core, cpu, data, fsize, memlock, nofile, nproc, stack
	OOMScore *int              // -1000 to 1000: who goes first when the host runs out of memory
	// Of the whole attempt, by its control group; zero is without a limit.
	Memory int64   // bytes, swap included
	CPU    float64 // processors
	Pids   int64   // processes and threads
}

// Rlimit is a limit of one process, Unlimited for none.
type Rlimit struct{ Soft, Hard uint64 }

// Unlimited is a resource limit that is none.
const Unlimited = unix.RLIM_INFINITY

var rlimitNumbers = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "memlock": unix.RLIMIT_MEMLOCK, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "stack": unix.RLIMIT_STACK,
}

// maxTight bounds arguments and environment of a task whose address space is limited: the process that sets the limit
// holds them, and can map no more.
const maxTight = 512 << 10

func (o Own) check() error {
	switch {
	case o.Umask != nil && *o.Umask > 0o777:
		return fmt.Errorf("umask %#o is above 0777", *o.Umask)
	case o.OOMScore != nil && (*o.OOMScore < -1000 || *o.OOMScore > 1000):
		return fmt.Errorf("oom score %d is not within -1000 and 1000", *o.OOMScore)
	case o.Memory < 0 || o.CPU < 0 || o.Pids < 0:
		return fmt.Errorf("a limit below zero: memory %d, cpu %g, pids %d", o.Memory, o.CPU, o.Pids)
	}
	for name, l := range o.Rlimits {
		if _, ok := rlimitNumbers[name]; !ok {
			return fmt.Errorf("no resource limit %q", name)
		}
		if l.Soft > l.Hard {
			return fmt.Errorf("%s limit: soft %d is above hard %d", name, l.Soft, l.Hard)
		}
	}
	return nil
}

func (o Own) record(r ctl.Record, id *Identity) ctl.Record {
	if id != nil {
		r = r.Add("uid", strconv.Itoa(id.UID)).Add("gid", strconv.Itoa(id.GID))
		for _, g := range id.Groups {
			r = r.Add("group", strconv.Itoa(g))
		}
	}
	if o.Umask != nil {
		r = r.Add("umask", strconv.FormatUint(uint64(*o.Umask), 10))
	}
	if o.OOMScore != nil {
		r = r.Add("score", strconv.Itoa(*o.OOMScore))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Rlimits)) {
		l := o.Rlimits[name]
		r = r.Add("rlimit", fmt.Sprintf("%d %d %d", rlimitNumbers[name], l.Soft, l.Hard))
	}
	return r
}

// Identity is a user of the host with the groups it is in.
type Identity struct {
	UID, GID int
	Groups   []int  // supplementary
	Name     string // "" when it has none
	Home     string // "" when it has none
}

// Lookup finds a user and a group by name or number. Without a group it is the user's own, without a user the groom's.
// It reads the files of the host; users that only a directory service knows are given by number, together with a group.
func Lookup(name, group string) (Identity, error) {
	id := Identity{UID: os.Geteuid(), GID: os.Getegid()}
	if name == "" {
		name = strconv.Itoa(id.UID)
	}
	u, err := findUser(name)
	if err != nil {
		return id, err
	}
	switch {
	case u != nil:
		id.UID, _ = strconv.Atoi(u.Uid)
		id.GID, _ = strconv.Atoi(u.Gid)
		id.Name, id.Home = u.Username, u.HomeDir
		groups, err := u.GroupIds()
		if err != nil {
			return id, fmt.Errorf("%w: groups of %s: %w", ErrIdentity, name, err)
		}
		for _, g := range groups {
			if n, err := strconv.Atoi(g); err == nil {
				id.Groups = append(id.Groups, n)
			}
		}
	default:
		if id.UID, err = number(name); err != nil {
			return id, fmt.Errorf("%w: no user %s", ErrIdentity, name)
		}
		if group == "" && id.UID != os.Geteuid() {
			return id, fmt.Errorf("%w: user %s has no entry, so that its group must be given", ErrIdentity, name)
		}
	}
	if group == "" {
		return id, nil
	}
	g, err := user.LookupGroup(group)
	if err == nil {
		id.GID, _ = strconv.Atoi(g.Gid)
		return id, nil
	}
	if id.GID, err = number(group); err != nil {
		return id, fmt.Errorf("%w: no group %s", ErrIdentity, group)
	}
	return id, nil
}

// findUser is nil for one that is not known.
func findUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if _, no := errors.AsType[user.UnknownUserError](err); no {
		if _, err := number(name); err != nil {
			return nil, nil
		}
		u, err = user.LookupId(name)
		if _, no := errors.AsType[user.UnknownUserIdError](err); no {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: look up user %s: %w", ErrIdentity, name, err)
	}
	return u, nil
}

// number is the number of a user or group. The last one of 32 bits means "no change" to the kernel.
func number(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// identity is who the task is, nil when it is who the groom is.
func (o Own) identity() (*Identity, error) {
	if o.User == "" && o.Group == "" {
		return nil, nil
	}
	id, err := Lookup(o.User, o.Group)
	if err != nil {
		return nil, err
	}
	if id.UID == os.Geteuid() && id.GID == os.Getegid() {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: groom does not run as root, and cannot run a task as user %d, group %d",
			ErrIdentity, id.UID, id.GID)
	}
	return &id, nil
}

// hand gives the working directory, with what the caller has put there, to the task's user, and lets that user pass
// through the attempt's directory. ctl/ and log/ stay closed. No process of the task exists yet.
func (id Identity) hand(dir string) error {
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("open attempt directory: %w", err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, ctl.Work))
	if err != nil {
		return fmt.Errorf("hand over work: %w", err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(path, id.UID, id.GID)
	})
	if err != nil {
		return fmt.Errorf("hand over work: %w", err)
	}
	return id.reaches(filepath.Dir(dir))
}

// reaches says whether the user may pass through a directory and all above it. One who may not could not open its own
// working directory by its name, and a task would find that out in the middle of its work.
func (id Identity) reaches(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("look at directory: %w", err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && !id.passes(st) {
			return fmt.Errorf("%w: user %d may not pass through %s, which is above its working directory (hint: chmod o+x %s)",
				ErrIdentity, id.UID, dir, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

func (id Identity) passes(st *syscall.Stat_t) bool {
	switch {
	case id.UID == 0:
		return true
	case int(st.Uid) == id.UID:
		return st.Mode&0o100 != 0
	case int(st.Gid) == id.GID || slices.Contains(id.Groups, int(st.Gid)):
		return st.Mode&0o010 != 0
	}
	return st.Mode&0o001 != 0
}
