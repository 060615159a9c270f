package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"groom/fault"
	"groom/supervisor/cgroup"
	"groom/supervisor/ctl"

	"golang.org/x/sys/unix"
)

const (
	// A process may fork behind the back of one scan, or be between two images and show no environment.
	quietScans = 3
	quietPause = 2 * time.Millisecond
	// A process that is about to end shows no environment either. One that still does after this long is told.
	unreadWait = time.Second
	unreadLast = 50 * time.Millisecond
	// A killed process that has not ended after this long is stuck in the kernel.
	killWait = 3 * time.Second
)

// swept is what a sweep did.
type swept struct {
	killed   []int
	any      bool // something of the attempt lived, or may still
	proven   bool // by the end of its control group
	unproven bool
	why      string
}

func (w swept) words() string {
	text := ""
	if w.proven {
		text = "; its control group was killed, and is empty"
	}
	if len(w.killed) > 0 {
		text = fmt.Sprintf("; %d of its processes were left and killed", len(w.killed))
	}
	if w.unproven {
		text += "; not proven that none is left: " + w.why
	}
	return text
}

// sweep kills every process that carries the token of an attempt in its environment, and looks again until several
// scans in a row found none. It is for attempts that lost their shim: the shim's own sweep needs no token. Interrupted
// by a crash it is simply done again.
//
// Where the attempt has a control group, that is killed first, and its end is the proof. The token still finds what
// left the group with the rights to do so.
func sweep(ctx context.Context, ref Ref, group cgroup.Group) swept {
	if group.Unified == "" {
		w := sweepMarked(ctx, ref)
		w.any = len(w.killed) > 0
		_ = group.End(ctx, 0) // groups for limits alone: they go when they are empty
		return w
	}
	lived, _ := cgroup.Populated(group.Unified)
	fault.Point("supervisor.before-group-kill")
	err := group.End(ctx, killWait)
	// Killed here, before anyone heard of it: the record still names a group that is gone, which is the same proof.
	fault.Point("supervisor.after-group-end")
	w := sweepMarked(ctx, ref)
	w.any = lived || len(w.killed) > 0
	if w.proven = err == nil; w.proven {
		w.unproven, w.why = false, ""
	} else {
		w.unproven, w.why = true, err.Error()
	}
	return w
}

func sweepMarked(ctx context.Context, ref Ref) swept {
	var w swept
	if ref.Token == "" {
		return swept{unproven: true, why: "it had no token"}
	}
	mark, since, session := traces(ref)
	began, d := time.Now(), quietPause
	known := map[int]bool{}
	for quiet := 0; quiet < quietScans; {
		found, err := scan(mark, since, session, known)
		if err != nil {
			w.unproven, w.why = true, err.Error()
			return w
		}
		if len(found.marked) == 0 {
			most := quietPause
			patient := since > 0 && time.Since(began) < unreadWait // without a shim there was no task
			w.unproven, w.why = found.unread != "", found.unread
			switch {
			case w.unproven && patient:
				quiet, most = 0, unreadLast
			case (found.gone || found.blank) && patient:
				// This scan shows nothing, for or against.
			case found.gone && since > 0:
				w.unproven, w.why = true, "processes come and go faster than they can be looked at"
				quiet++
			default:
				quiet++
			}
			if !pause(ctx, &d, most) {
				w.unproven, w.why = true, "interrupted"
				return w
			}
			continue
		}
		quiet = 0
		fault.Point("supervisor.before-sweep-kill")
		for _, pid := range found.marked {
			killed, stuck := killMarked(pid, mark)
			if killed {
				w.killed = append(w.killed, pid)
			}
			if stuck {
				w.unproven, w.why = true, fmt.Sprintf("process %d does not end", pid)
				return w
			}
		}
	}
	return w
}

// traces is how processes of an attempt are known: by the mark in their environment, and, when they cannot be read, by
// when its shim was started and the session of its task.
func traces(ref Ref) (mark []byte, since int64, session int) {
	if r, err := ctl.Read(ref.Dir, ctl.Shim); err == nil {
		since = r.Int("start")
	}
	if r, err := ctl.Read(ref.Dir, ctl.Start); err == nil {
		session = int(r.Int("pid"))
	}
	return []byte(EnvToken + "=" + ref.Token), since, session
}

// scanned is what one scan found.
type scanned struct {
	marked []int  // processes with the mark
	unread string // names one that could be of the attempt but cannot be read
	// gone says that a process which nobody had looked at ended after it was listed, blank that one showed no
	// environment, as they do between two images. A chain of processes, each of which makes the next one and ends, can
	// pass a scan only so: whoever it had made by then was not listed. What lives from the list to its reading shows
	// its mark.
	gone, blank bool
}

// scan looks at every process but those that are known not to carry the mark, and whose children do not either. All but
// the first scan of a sweep are quick therefore, which leaves a chain little time to pass.
func scan(mark []byte, since int64, session int, known map[int]bool) (found scanned, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return found, fmt.Errorf("scan processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return found, fmt.Errorf("scan processes: %w", err)
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() || known[pid] {
			continue
		}
		has, shown, err := marked(pid, mark)
		switch {
		case has:
			found.marked = append(found.marked, pid)
		case errors.Is(err, fs.ErrPermission) && suspect(pid, since, session):
			found.unread = fmt.Sprintf("process %d cannot be read", pid)
		case err == nil && inSession(pid, since, session):
			// It has put on another environment. The number of a session whose leader has gone may be a
			// stranger's by now: it is told, and not killed.
			found.unread = fmt.Sprintf("process %d is of its session, and does not carry its token", pid)
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || err == nil && !shown:
			// It has gone, or it is a zombie or a thread of the kernel, or it is between two images.
			st, there := readStat(pid)
			switch {
			case !there || !st.runs():
				found.gone = true
				known[pid] = there // a zombie makes nothing any more
			case st.kernel || st.start < since:
				known[pid] = true
			default:
				found.blank = true
			}
		case err == nil:
			known[pid] = true
		}
	}
	return found, nil
}

// marked says whether a process has the mark, and whether it shows any environment at all.
func marked(pid int, mark []byte) (has, shown bool, err error) {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false, false, err
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, mark) {
			return true, true, nil
		}
	}
	return false, len(env) > 0, nil
}

// suspect says whether a process that may not be read could be of the attempt: it is younger than the shim, and of
// the groom's own user or of the task's session.
func suspect(pid int, since int64, session int) bool {
	st, ok := readStat(pid)
	if !ok || st.start < since || st.kernel || !st.runs() {
		return false
	}
	if session > 0 && st.session == session {
		return true
	}
	var owner unix.Stat_t
	return unix.Stat("/proc/"+strconv.Itoa(pid), &owner) == nil && int(owner.Uid) == os.Geteuid()
}

// inSession says whether a process runs in the session with the number of the task, and is younger than the shim.
func inSession(pid int, since int64, session int) bool {
	st, ok := readStat(pid)
	return ok && session > 0 && st.session == session && st.start >= since && st.runs()
}

// killMarked kills one process. The mark is read again while the pidfd is held: if the process of the pidfd lives
// after that, the number was its own all the time.
func killMarked(pid int, mark []byte) (killed, stuck bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, false
	}
	defer unix.Close(fd)
	if has, _, err := marked(pid, mark); err != nil || !has || pidfdEnded(fd) {
		return false, false
	}
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return false, !pidfdEnded(fd)
	}
	return true, !pidfdWait(fd, killWait)
}
