package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"groom/api"
	"groom/fault"
	"groom/supervisor/ctl"
)

// orphanWait is what a shim is given to end its attempt by itself.
const orphanWait = 5 * time.Second

// Orphan is a living attempt that the tables do not know.
type Orphan struct {
	ID      api.AttemptID
	Dir     string
	ShimPid int
	Killed  bool
	Words   string
}

// Orphans ends every attempt below a local directory that lives and that the tables do not know, and reports each. An
// attempt is known by its lock, and killed through its own shim, or through pidfds that were proven to be its own.
func (s *Supervisor) Orphans(ctx context.Context, localDir string, known func(api.AttemptID) bool) ([]Orphan, error) {
	var orphans []Orphan
	err := filepath.WalkDir(localDir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed while it was walked
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.IsDir() {
			return nil
		}
		if ok, err := ctl.Has(path, ctl.Lock); err != nil || !ok {
			return nil
		}
		if o := endOrphan(ctx, path, known); o != nil {
			orphans = append(orphans, *o)
		}
		return fs.SkipDir
	})
	if err != nil {
		return orphans, fmt.Errorf("find orphans: %w", err)
	}
	return orphans, nil
}

func endOrphan(ctx context.Context, dir string, known func(api.AttemptID) bool) *Orphan {
	held, err := ctl.Held(dir)
	if err != nil || !held {
		return nil
	}
	spec, err := ctl.Read(dir, ctl.Spec)
	if err != nil {
		return &Orphan{Dir: dir, Words: "not killed: whose it is cannot be read: " + err.Error()}
	}
	id := api.AttemptID(spec.Get("id"))
	if known(id) {
		return nil
	}
	o := &Orphan{ID: id, Dir: dir}
	ctx, cancel := context.WithTimeout(ctx, orphanWait)
	defer cancel()
	shim, err := verifiedShim(ctx, dir)
	if shim == nil {
		o.Killed = err == nil
		o.Words = "it ended by itself"
		if err != nil {
			o.Words = "not killed: " + err.Error()
		}
		return o
	}
	defer shim.close()
	o.ShimPid = shim.pid
	fault.Point("supervisor.before-orphan-kill")
	// The shim kills its task and everything below it, and writes the record. A shim that does not answer is killed,
	// and what carries the token after it.
	_, err = ask(dir, ctl.Record{}.Add("cmd", "stop").Add("by", api.ByKill).Add("signal", "9").Add("grace", "0"))
	stop := context.AfterFunc(ctx, shim.kill)
	defer stop()
	if err != nil {
		shim.kill()
	}
	// A process that is stuck in the kernel does not keep the groom from starting.
	_ = shim.file.SetReadDeadline(time.Now().Add(orphanWait + killWait))
	if err := shim.wait(); err != nil {
		o.Words = "not killed: " + err.Error()
		return o
	}
	o.Killed, o.Words = true, "killed: the tables do not know it"
	if _, err := ctl.ReadExit(dir); err != nil {
		w := sweep(context.WithoutCancel(ctx), Ref{ID: id, Dir: dir, Token: spec.Get("token")}, groupIn(spec, id))
		o.Killed = !w.unproven
		o.Words += w.words()
	} else if g := groupIn(spec, id); !g.None() {
		_ = g.End(context.WithoutCancel(ctx), killWait) // what stays is a leftover
	}
	return o
}

// verifiedShim is the living shim of the attempt, or nil once its lock is free.
func verifiedShim(ctx context.Context, dir string) (*process, error) {
	for d := firstPause; ; {
		held, err := ctl.Held(dir)
		if err != nil || !held {
			return nil, err
		}
		shim, err := openShim(dir)
		if shim != nil {
			if held, err = ctl.Held(dir); err == nil && held {
				return shim, nil
			}
			shim.close()
		}
		if !pause(ctx, &d, lastPause) {
			return nil, errors.Join(errors.New("its shim could not be verified"), err)
		}
	}
}
