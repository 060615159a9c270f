package supervisor

import (
	"errors"
	"fmt"
	"io/fs"

	"groom/api"
	"groom/fault"
	"groom/supervisor/ctl"
)

// sight is what one look at an attempt's lock shows.
type sight int

const (
	lockFree  sight = iota // no shim lives, and none will
	shimLives              // its lock is held, by the shim that ctl/shim names
	shimless               // its lock is held, and nobody says yet by whom
	usurper                // its lock is held, and ctl/shim names another process
)

// glance tells the living from the dead by the lock. Only with the lock held is a pid read, and it is believed only when
// the lock is still held after its pidfd was opened. The process is the caller's.
func glance(dir string) (sight, *process, error) {
	held, err := ctl.Held(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !held {
		// The lock is made before the fork. Unless someone removed it since, nothing was ever forked without one.
		return lockFree, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	shim, err := openShim(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return shimless, nil, nil // forked, and not yet so far as to say who it is
	case err != nil && !errors.Is(err, ctl.ErrNotRecord):
		return 0, nil, err
	case shim == nil:
		return usurper, nil, nil
	}
	fault.Point("supervisor.before-second-look")
	if held, err = ctl.Held(dir); err == nil && held {
		return shimLives, shim, nil
	}
	shim.close()
	return glance(dir)
}

// Look says what Adopt would find of an attempt now, by the same signs, and changes nothing: it kills nothing, claims
// nothing, and waits for nothing. What Adopt would have to wait for is api.FoundUnknown.
func Look(ref Ref) (Finding, error) {
	f, err := peek(ref)
	if err != nil {
		return Finding{}, fmt.Errorf("look for %s: %w", ref.ID, err)
	}
	return f, nil
}

func peek(ref Ref) (Finding, error) {
	boot, pidns, err := Host()
	if err != nil {
		return Finding{}, err
	}
	if ref.BootID != boot || ref.PIDNS != pidns {
		return elsewhere(ref, ref.BootID == boot)
	}
	seen, shim, err := glance(ref.Dir)
	switch {
	case err != nil:
		return Finding{}, err
	case seen == shimLives:
		defer shim.close()
		f := Finding{Kind: api.FoundAlive, ShimPid: shim.pid, Words: fmt.Sprintf("its lock is held by its shim, process %d", shim.pid)}
		if r, err := ctl.Read(ref.Dir, ctl.Start); err == nil {
			f.Pid = int(r.Int("pid"))
		}
		return f, nil
	case seen == shimless:
		return Finding{Kind: api.FoundUnknown, Words: "its lock is held, and its shim has not said who it is: it is being born, or frozen"}, nil
	case seen == usurper:
		return Finding{Kind: api.FoundUnknown, Words: "its lock is held, and not by the process that ctl/shim names"}, nil
	}
	what := "its lock is free"
	if ok, err := ctl.Has(ref.Dir, ctl.Lock); err == nil && !ok {
		what = absent(ref.Dir)
	}
	e, flaw, err := readExit(ref)
	if err != nil {
		return Finding{}, err
	}
	if e != nil {
		return Finding{Kind: found(e), Exit: e, Words: what + ", and its shim left an exit record: " + e.Words}, nil
	}
	claimed, err := ctl.Claimed(ref.Dir)
	if err != nil {
		return Finding{}, err
	}
	left, unread := []int(nil), "it had no token"
	if ref.Token != "" {
		mark, since, session := traces(ref)
		seen, err := scan(mark, since, session, map[int]bool{})
		if err != nil {
			return Finding{}, err
		}
		left, unread = seen.marked, seen.unread
	}
	// Adopt empties the control group of one that has one, which is its proof.
	spec, err := ctl.Read(ref.Dir, ctl.Spec)
	grouped := err == nil && spec.Get("cgroup") != ""
	words := ""
	if len(left) > 0 {
		words = fmt.Sprintf("; %d of its processes are left", len(left))
	}
	if unread != "" && !grouped {
		words += "; not proven that none is left: " + unread
	}
	return judge(ref, what, claimed, flaw, len(left) > 0, unread != "" && !grouped, words), nil
}

// absent says what is missing of an attempt without a lock: it was not made yet when the groom was killed, or it was
// taken away from under the attempt.
func absent(dir string) string {
	if ok, err := ctl.Has(dir, "."); err == nil && !ok {
		return "its directory is not there"
	}
	return "its lock is not there"
}

// judge says what became of an attempt that left no exit record: what is seen of its lock, left says that something of
// it still ran.
func judge(ref Ref, what string, claimed bool, flaw string, left, unproven bool, words string) Finding {
	switch {
	case !claimed && !ref.Ran && flaw == "" && !left:
		return unborn(what+", and no shim ever claimed it", "its shim never claimed it")
	case claimed:
		what += ", a shim had claimed it, and no exit record can be believed"
	case ref.Ran:
		what += ", its process had been seen, and no exit record can be believed"
	case left:
		what += ", no claim of a shim is there, and yet something of it lived"
	default:
		what += ", no claim of a shim is there, and yet there is an exit record"
	}
	e := lost(ref, api.WhyShim)
	e.Unproven = unproven
	e.Words += flaw + words
	return Finding{Kind: api.FoundLost, Exit: e, Words: what + ": " + e.Words}
}
