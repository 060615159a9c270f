package doctor

import (
	"context"
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
	"groom/fsm/cluster"
	"groom/fsm/table"
	"groom/journal"
	"groom/server/home"
)

// tables is what a data directory holds, read from copies of its journals.
type tables struct {
	home   *home.Home // nil where no process has started yet
	holder string     // pid of the process that holds the directory, "" when none does
	groom  *replayed  // nil without a journal of a groom that this build can read
	all    []*replayed
	newest time.Time // of the records in any journal
}

// replayed is a copy of a journal, and what a replay of it from the first entry came to.
type replayed struct {
	of, dir string // of the copy
	state   *fsm.State
	stats   journal.Stats
	digest  [32]byte
	took    time.Duration
	newest  time.Time
}

// readTables reads the journals of a data directory, whether a process holds it or not.
func readTables(ctx context.Context, o Options, s *scratch) (*tables, []Check) {
	t := &tables{}
	h, err := home.Peek(o.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, []Check{ok("groom", "none has started in %s yet", o.Data)}
	case err != nil:
		hint := "ls -l " + o.Data
		if errors.Is(err, home.ErrBadFile) {
			hint = "put back the file from a backup: without it nothing that runs here can be adopted"
		}
		return t, []Check{bad("groom", asOwner(err, hint), "%v", err)}
	}
	t.home = h
	var checks []Check
	if t.holder, err = holder(o.Data); err != nil {
		return t, []Check{bad("groom", asOwner(err, "ls -l "+o.Data), "%v", err)}
	}
	if t.holder != "" {
		checks = append(checks, ok("groom", "%s runs as pid %s", h.ID, t.holder))
	} else {
		checks = append(checks, ok("groom", "%s does not run", h.ID))
	}
	for _, of := range []string{"groom", "master"} {
		from := filepath.Join(o.Data, of)
		if _, err := os.Stat(filepath.Join(from, logName)); errors.Is(err, fs.ErrNotExist) && !remains(from) {
			continue
		}
		r, err := replay(ctx, of, from, s)
		if err != nil {
			checks = append(checks, judgeJournal(of, o.Data, err))
			continue
		}
		checks = append(checks, ok("journal", "of the %s: entries %d to %d, %s; chain and digests are proven, in %s",
			of, r.stats.First, r.stats.Last, size(uint64(r.stats.FileBytes)), short(r.took)).
			with(map[string]float64{"last": float64(r.stats.Last), "bytes": float64(r.stats.FileBytes), "took_ms": float64(r.took.Microseconds()) / 1000}))
		t.all = append(t.all, r)
		if of == "groom" {
			t.groom = r
		}
		if r.newest.After(t.newest) {
			t.newest = r.newest
		}
	}
	return t, checks
}

// remains says that a directory holds more than the beginnings of a journal, though the log is not there.
func remains(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "tail"))
	return err == nil
}

func judgeJournal(of, data string, err error) Check {
	hint := "groom journal ls --data " + data + " shows what can still be read"
	switch {
	case errors.Is(err, errBusy):
		return warn("journal", "try again when less is going on", "of the %s: %v", of, err)
	case errors.Is(err, journal.ErrSafeMode):
		hint = "start a build that knows the entry; with this one the tasks run on, and nothing is decided. " +
			"Where there is no such build, groom journal skip overrides the entry"
	case errors.Is(err, journal.ErrCorrupt):
		hint = "keep the directory as it is; " + hint
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return warn("journal", "name a directory with more room: TMPDIR=DIR groom doctor", "of the %s cannot be copied: %v", of, err)
	}
	return bad("journal", asOwner(err, hint), "of the %s: %s", of, firstLine(err))
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n") // a panic brings its stack
	return line
}

func asOwner(err error, hint string) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run groom doctor as the user of the groom"
	}
	return hint
}

// holder is the pid of the process that holds the data directory, as its lock says, or "". The lock is tested with a
// shared one, for a moment; a start that meets it tries again for two seconds.
func holder(data string) (string, error) {
	f, err := os.Open(filepath.Join(data, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at lock: %w", err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return "", err
	}
	pid, _ := os.ReadFile(f.Name()) // the text is only for people
	if len(pid) > 20 || strings.Fields(string(pid)) == nil {
		return "unknown", nil
	}
	return strings.TrimSpace(string(pid)), nil
}

// replay copies a journal and replays the copy from its first entry.
func replay(ctx context.Context, of, from string, s *scratch) (*replayed, error) {
	dir, err := s.below(of)
	if err != nil {
		return nil, err
	}
	if err := copyJournal(ctx, from, dir); err != nil {
		return nil, err
	}
	h, err := journal.OpenHistory(dir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	r := &replayed{of: of, dir: dir, state: fsm.NewState(), stats: h.Stats()}
	began := time.Now()
	proof, err := h.Verify(journal.VerifyOptions{Machine: func() journal.Machine {
		return interruptible{machine(of, fsm.NewState(), nil), ctx}
	}})
	if err := errors.Join(err, ctx.Err(), proof.Err()); err != nil {
		return nil, err
	}
	m := machine(of, r.state, func(_ uint64, _ uint16, e *table.Entry) { r.newest = e.Now.Wall })
	if err := h.Replay(interruptible{m, ctx}, 0); err != nil {
		return nil, err
	}
	r.digest, r.took = m.Digest(), time.Since(began)
	return r, nil
}

// machine is a new one for the journal named of. A groom's fills state.
func machine(of string, state *fsm.State, watch func(uint64, uint16, *table.Entry)) *table.Machine {
	if of == "master" {
		return cluster.NewMachine(cluster.NewState(), watch)
	}
	return fsm.NewMachine(state, watch)
}

// interruptible ends a replay when its context does.
type interruptible struct {
	journal.Machine
	ctx context.Context
}

func (m interruptible) Apply(index uint64, kind uint16, version uint8, body []byte) (any, error) {
	if err := m.ctx.Err(); err != nil {
		return nil, err
	}
	return m.Machine.Apply(index, kind, version, body)
}

// living are the attempts that the tables hold as alive.
func (t *tables) living() []fsm.Attempt {
	var all []fsm.Attempt
	if t.groom == nil {
		return nil
	}
	for _, a := range t.groom.state.Attempts.All() {
		if a.State != fsm.AttemptEnded {
			all = append(all, a)
		}
	}
	return all
}

// row is the row of an attempt.
func (t *tables) row(id api.AttemptID) (fsm.Attempt, bool) {
	if t.groom == nil {
		return fsm.Attempt{}, false
	}
	return t.groom.state.Attempts.Get(string(id))
}
