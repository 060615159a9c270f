package doctor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"groom/api"
	"groom/clock"
	"groom/fsm"
	"groom/fsm/table"
	"groom/journal"
	"groom/server/disk"
	"groom/server/home"
	"groom/supervisor"
	"groom/supervisor/ctl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a data directory with a journal, as a groom that was killed leaves it.
type site struct {
	t     *testing.T
	dir   string
	home  *home.Home
	state *fsm.State
	j     *journal.Journal
	m     *table.Machine
	tmp   string // where scratches are made
}

// lenient applies what a newer build would: kinds that this build does not know.
type lenient struct{ *table.Machine }

const futureKind = 999

func (l lenient) Apply(index uint64, kind uint16, version uint8, body []byte) (any, error) {
	if kind == futureKind {
		return nil, nil
	}
	return l.Machine.Apply(index, kind, version, body)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "data"), state: fsm.NewState(), tmp: t.TempDir()}
	t.Setenv("TMPDIR", s.tmp)
	var err error
	if s.home, err = home.Open(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.home.Close() })
	s.m = fsm.NewMachine(s.state, nil)
	s.j, err = journal.Open(t.Context(), journal.Options{Dir: filepath.Join(s.dir, "groom"), Machine: lenient{s.m}, Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.j.Close() })
	s.observe(fsm.Booted{ID: s.home.ID, Name: "here", BootID: clock.BootID(), MaxTasks: 3})
	return s
}

func (s *site) observe(o fsm.Observation) {
	s.t.Helper()
	now := clock.Now()
	dec, err := fsm.Decide(s.state, o, now, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := fsm.Record(o, dec, now, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.j.Propose(s.t.Context(), journal.Record{Kind: o.Kind(), Version: 1, Body: body}); err != nil {
		s.t.Fatal(err)
	}
}

// leave is the end of the groom.
func (s *site) leave() {
	s.t.Helper()
	if err := errors.Join(s.j.Close(), s.home.Close()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) attempts() string {
	d, err := disk.New(s.home.Path("local"), s.home.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Attempts()
}

// attempt makes the directory of an attempt, with a row when there is a state.
func (s *site) attempt(n int, files map[string]string) api.AttemptID {
	s.t.Helper()
	id := api.AttemptID(fmt.Sprintf("attempt_202611251200_0001_%06d_1", n))
	for name, text := range files {
		path := filepath.Join(s.attempts(), string(id), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return id
}

// row writes the row of a task and its attempt, past every decision.
func (s *site) row(id api.AttemptID, state fsm.AttemptState, boot string) {
	s.t.Helper()
	_, pidns, err := supervisor.Host()
	if err != nil {
		s.t.Fatal(err)
	}
	d := table.NewDraft()
	now := clock.Now()
	a := fsm.Attempt{ID: id, State: state, Place: fsm.Place{Dir: s.attempts(), BootID: boot, PIDNS: pidns}, Intended: now}
	task := fsm.Task{ID: id.Task(), State: api.TaskRunning, Attempt: 1, Since: now}
	job := fsm.Job{ID: id.Task().Job(), Name: "sleepers", Type: api.Plain, Tasks: 9, Local: []int{0}}
	table.Put(d, s.state.Attempts, string(id), a)
	table.Put(d, s.state.Tasks, string(task.ID), task)
	table.Put(d, s.state.Jobs, string(job.ID), job)
	e := table.Entry{Now: now, Obs: []byte(`{}`), Because: "put by a test", Changes: d.Changes()}
	body, err := e.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.j.Propose(s.t.Context(), journal.Record{Kind: fsm.Booted{}.Kind(), Version: 1, Body: body}); err != nil {
		s.t.Fatal(err)
	}
}

// examine looks, and fails the test when looking changed anything or left anything behind.
func (s *site) examine(rehearse bool) Report {
	s.t.Helper()
	before := contents(s.t, s.dir)
	r, err := Examine(s.t.Context(), Options{Data: s.dir, MaxTasks: 3, Build: "test", Rehearse: rehearse})
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(before, contents(s.t, s.dir)); diff != "" {
		s.t.Errorf("looking changed the data directory:\n%s", diff)
	}
	if left := contents(s.t, s.tmp); len(left) != 1 {
		s.t.Errorf("looking left %v", left)
	}
	for _, c := range r.Checks {
		if (c.Hint == "") != (c.Level == OK) {
			s.t.Errorf("%+v", c)
		}
	}
	return r
}

// contents is every file below a directory: its mode, what it holds, and when it was changed.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		all[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// want fails the test unless there is a check with the name, level and words.
func (r *Report) want(t *testing.T, name string, level Level, words string) {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name && c.Level == level && strings.Contains(c.Words, words) {
			return
		}
	}
	t.Errorf("no %s of %s with %q in %+v", level, name, words, r.Checks)
}

func (r *Report) found(id api.AttemptID) Adoption {
	for _, a := range r.Rehearsal.Attempts {
		if a.Attempt == id {
			return a
		}
	}
	return Adoption{}
}

func TestDirectoryThatIsNotThereYet(t *testing.T) {
	parent := t.TempDir()
	r, err := Examine(t.Context(), Options{Data: filepath.Join(parent, "a", "data"), MaxTasks: 3, Rehearse: true})
	if err != nil {
		t.Fatal(err)
	}
	r.want(t, "data", OK, "a start makes it")
	r.want(t, "groom", OK, "none has started")
	r.want(t, "rehearsal", OK, "no journal")
	if r.Failed() > 0 {
		t.Errorf("%+v", r.Checks)
	}
	if left := contents(t, parent); len(left) != 1 {
		t.Errorf("it made %v", left)
	}
}

// A groom lives, or was killed: the same is seen.
func TestRehearsal(t *testing.T) {
	s := newSite(t)
	ended := "v=1\nid=attempt_202611251200_0001_000002_1\nstatus=0\n"
	ended += fmt.Sprintf("sum=%016x\n", ctl.Sum([]byte(ended)))
	unborn := s.attempt(0, map[string]string{ctl.Lock: ""})
	lost := s.attempt(1, map[string]string{ctl.Lock: "", ctl.Claim: "v=1\n"})
	done := s.attempt(2, map[string]string{ctl.Lock: "", ctl.Claim: "v=1\n", ctl.Exit: ended})
	rebooted := s.attempt(3, map[string]string{ctl.Lock: "", ctl.Claim: "v=1\n"})
	for _, id := range []api.AttemptID{unborn, lost, done} {
		s.row(id, fsm.AttemptIntended, clock.BootID())
	}
	s.row(rebooted, fsm.AttemptIntended, "another boot")
	old := s.attempt(4, map[string]string{ctl.Lock: ""})
	s.row(old, fsm.AttemptEnded, clock.BootID())

	r := s.examine(true)
	r.want(t, "groom", OK, fmt.Sprintf("runs as pid %d", os.Getpid()))
	r.want(t, "journal", OK, "chain and digests are proven")
	if a := r.found(unborn); a.Finding != api.FoundUnknown || !strings.Contains(a.Words, "is starting it") {
		t.Errorf("beside a groom that runs: %+v", a)
	}
	s.leave()
	r = s.examine(true)
	r.want(t, "groom", OK, "does not run")
	r.want(t, "rehearsal", OK, "opens in")
	r.want(t, "adoption", Warn, "of 4 attempts that the tables hold as alive: 1 ended-while-away, 2 lost, 1 not-started")
	for id, want := range map[api.AttemptID]Adoption{
		unborn:   {Finding: api.FoundUnborn, Outcome: &api.Outcome{Kind: api.NotStarted, Why: "its shim never claimed it"}},
		lost:     {Finding: api.FoundLost, Outcome: &api.Outcome{Kind: api.Lost, Why: api.WhyShim}},
		done:     {Finding: api.FoundEnded, Outcome: &api.Outcome{Kind: api.Exited}},
		rebooted: {Finding: api.FoundLost, Outcome: &api.Outcome{Kind: api.Lost, Why: api.WhyReboot}},
	} {
		got := r.found(id)
		if got.Finding != want.Finding || got.Outcome == nil || *got.Outcome != *want.Outcome || got.Words == "" || got.Then == "" {
			t.Errorf("%s: %+v", id, got)
		}
	}
	if a := r.found(old); a.Attempt != "" {
		t.Errorf("an attempt that has ended is looked for: %+v", a)
	}
}

func TestJournalsThatThisBuildCannotStart(t *testing.T) {
	t.Run("of a newer build", func(t *testing.T) {
		s := newSite(t)
		if _, err := s.j.Propose(t.Context(), journal.Record{Kind: futureKind, Version: 1, Body: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
		s.leave()
		r := s.examine(true)
		r.want(t, "journal", Fail, "kind 999 version 1, which this build does not know")
		if r.Level != Fail || r.Failed() != 1 || len(r.Rehearsal.Attempts) != 0 {
			t.Errorf("%s, %d failed, %+v", r.Level, r.Failed(), r.Rehearsal)
		}
	})
	t.Run("altered", func(t *testing.T) {
		s := newSite(t)
		s.leave()
		path := filepath.Join(s.dir, "groom", logName)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := strings.Index(string(b), `"name":"here"`)
		if at < 0 {
			t.Fatal("the entry is not where it was")
		}
		b[at+8] = 'T'
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := s.examine(true)
		r.want(t, "journal", Fail, "journal altered or cut")
	})
	t.Run("gone", func(t *testing.T) {
		s := newSite(t)
		s.leave()
		if err := os.Remove(filepath.Join(s.dir, "groom", logName)); err != nil {
			t.Fatal(err)
		}
		r := s.examine(false)
		r.want(t, "journal", Fail, logName)
	})
}

func TestLeftovers(t *testing.T) {
	s := newSite(t)
	owned := s.attempt(0, map[string]string{ctl.Lock: ""})
	s.row(owned, fsm.AttemptEnded, clock.BootID())
	s.leave()
	r := s.examine(false)
	r.want(t, "leftovers", OK, "none; 1 attempt directory with its row")

	s.attempt(1, map[string]string{ctl.Lock: ""})
	orphan := s.attempt(2, map[string]string{ctl.Spec: "v=1\n"})
	undead := owned
	for _, id := range []api.AttemptID{orphan, undead} {
		fd, err := ctl.TakeLock(filepath.Join(s.attempts(), string(id)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
	}
	other := filepath.Join(s.dir, "local", "groom-0123456789abcdef")
	for _, dir := range []string{other, filepath.Join(s.tmp, scratchPrefix+"1")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"addrs.tmp", "report.sock"} {
		if err := os.WriteFile(s.home.Path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(s.tmp, "groom-"+s.home.ID)
	if err := os.Symlink("/nowhere/at/all", link); err != nil {
		t.Fatal(err)
	}
	long := clock.Now().Wall.Add(-2 * 3600e9)
	for _, path := range []string{s.home.Path("addrs.tmp"), filepath.Join(s.tmp, scratchPrefix+"1")} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	left := contents(t, s.tmp)
	r, err := Examine(t.Context(), Options{Data: s.dir, MaxTasks: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{
		"1 attempt directory in", "1 attempt runs in", "1 attempt has ended by the tables, and its lock is held",
		"1 directory of other grooms", "1 temporary file that", "a socket that nobody listens on", "1 copy of journals",
		link + " leads to /nowhere/at/all",
	} {
		r.want(t, "leftovers", Warn, words)
	}
	if diff := cmp.Diff(left[link], contents(t, s.tmp)[link]); diff != "" || len(contents(t, s.tmp)) != len(left) {
		t.Error("what was left behind was touched")
	}
}

// Without rows, nothing says whose the attempts are, and a start would kill them.
func TestAttemptsWithoutAJournal(t *testing.T) {
	s := newSite(t)
	s.attempt(1, map[string]string{ctl.Lock: ""})
	s.leave()
	if err := os.RemoveAll(filepath.Join(s.dir, "groom")); err != nil {
		t.Fatal(err)
	}
	r := s.examine(false)
	r.want(t, "leftovers", Warn, "no rows to tell whose")
}

func TestInterruptedLookLeavesNothing(t *testing.T) {
	s := newSite(t)
	s.leave()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Examine(ctx, Options{Data: s.dir, MaxTasks: 3, Rehearse: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := contents(t, s.tmp); len(left) != 1 {
		t.Errorf("it left %v", left)
	}
}

// A copy that is made while entries are written is of one moment: its chain holds, and it has all that was
// acknowledged before.
func TestCopyOfALivingJournal(t *testing.T) {
	s := newSite(t)
	long := fmt.Sprintf(`{"now":{"wall":"2026-11-25T12:00:00Z"},"obs":{},"because":%q}`, strings.Repeat("x", 8<<10))
	var futures []*journal.Future
	for range 800 { // so that a copy takes longer than a write
		futures = append(futures, s.j.Go(journal.Record{Kind: fsm.Booted{}.Kind(), Version: 1, Body: []byte(long)}))
	}
	for _, f := range futures {
		if _, err := f.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var copies atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			last := s.j.Stats().Last
			r, err := replay(t.Context(), "groom", filepath.Join(s.dir, "groom"), &scratch{dir: t.TempDir()})
			if err != nil {
				t.Error(err)
				return
			}
			if r.stats.Last < last {
				t.Errorf("the copy ends at entry %d, and %d was acknowledged before", r.stats.Last, last)
			}
			copies.Add(1)
		}
	}()
	for n := 0; n < 100 || copies.Load() < 3 && !t.Failed(); n++ {
		if n%20 == 0 {
			time.Sleep(50 * time.Millisecond) // a groom does not write without a pause
		}
		s.row(api.AttemptID(fmt.Sprintf("attempt_202611251200_0001_%06d_1", n%7)), fsm.AttemptEnded, "boot")
	}
	close(stop)
	<-done
}
