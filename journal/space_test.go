package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	berrors "go.etcd.io/bbolt/errors"
)

// ailing is a store whose disk is full, or broken, for as long as err is set.
type ailing struct {
	store
	err   atomic.Pointer[error]
	set   atomic.Bool // Set and SetUint64 fail as well
	lands bool        // the entry is stored although an error is returned
	tried chan struct{}
}

func newAiling(f *fixture) *ailing {
	a := &ailing{tried: make(chan struct{}, 1)}
	f.o.wrap = func(s store) store { a.store = s; return a }
	return a
}

func (a *ailing) fail(err error) { a.err.Store(&err) }
func (a *ailing) heal()          { a.err.Store(nil) }

func (a *ailing) now() error {
	if e := a.err.Load(); e != nil {
		select {
		case a.tried <- struct{}{}:
		default:
		}
		return *e
	}
	return nil
}

func (a *ailing) StoreLogs(logs []*raft.Log) error {
	err := a.now()
	if err == nil || a.lands {
		return errors.Join(err, a.store.StoreLogs(logs))
	}
	return err
}

func (a *ailing) StoreLog(l *raft.Log) error { return a.StoreLogs([]*raft.Log{l}) }

func (a *ailing) Set(k, v []byte) error {
	if err := a.now(); err != nil && a.set.Load() {
		return err
	}
	return a.store.Set(k, v)
}

func (a *ailing) SetUint64(k []byte, v uint64) error {
	if err := a.now(); err != nil && a.set.Load() {
		return err
	}
	return a.store.SetUint64(k, v)
}

var diskFull = &fs.PathError{Op: "write", Path: "raft.db", Err: syscall.ENOSPC}

// What a start has to record may use the last of the reserve; what comes after it may not.
func TestLastOfTheReserveIsForTheStart(t *testing.T) {
	for _, c := range []struct {
		name    string
		started bool
		left    int64 // sixteenths
	}{
		{"a start that is not over", false, 0},
		{"a start that is over", true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			a := newAiling(f)
			j, _, err := f.try()
			if err != nil {
				t.Fatal(err)
			}
			if c.started {
				j.Started()
			}
			a.fail(diskFull)
			flying := j.Go(putRecord("late", 1))
			<-a.tried
			<-a.tried // once more, after the reserve was released
			if got, want := f.reserved(), c.left*f.o.reserve/16; got != want {
				t.Errorf("%d bytes are reserved, want %d", got, want)
			}
			a.heal()
			if _, err := flying.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestFullDiskStallsAndRecovers(t *testing.T) {
	for _, full := range []error{
		diskFull, &fs.PathError{Op: "write", Path: "raft.db", Err: syscall.EDQUOT}, berrors.ErrMaxSizeReached,
	} {
		t.Run(full.Error(), func(t *testing.T) {
			f := newFixture(t)
			a := newAiling(f)
			j, m := f.open()
			fill(t, j, 10)
			if got := f.reserved(); got != f.o.reserve {
				t.Fatalf("%d bytes are reserved", got)
			}
			a.fail(full)
			flying := j.Go(putRecord("late", 1))
			<-a.tried
			<-a.tried // once more, after the reserve was released
			eventually(t, "nospace", func() bool { return j.Stats().Health == "nospace" })
			if j.Stats().Reason == "" {
				t.Error("no reason is given")
			}
			if got := f.reserved(); got != f.o.reserve/16 {
				t.Errorf("%d bytes of the reserve are left, want a sixteenth", got)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			_, err := flying.Wait(ctx)
			wantErr(t, err, ErrUnknownOutcome)
			wantErr(t, err, context.DeadlineExceeded)
			a.heal()
			if _, err := flying.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "ok", func() bool { return j.Stats().Health == "ok" && f.reserved() == f.o.reserve })
			if got := len(m.sorted()); got != 11 {
				t.Errorf("%d rows, want 11", got)
			}
		})
	}
}

func (f *fixture) reserved() int64 {
	info, err := os.Stat(f.path(reserveName))
	if err != nil {
		return 0
	}
	return info.Size()
}

func TestCloseWhileTheDiskIsFull(t *testing.T) {
	f := newFixture(t)
	a := newAiling(f)
	j, _ := f.open()
	fill(t, j, 10)
	a.set.Store(true)
	a.fail(diskFull)
	var flying []*Future
	for i := range 100 {
		flying = append(flying, j.Go(putRecord("late", i)))
	}
	<-a.tried
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, fu := range flying {
		if _, err := fu.Wait(context.Background()); !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrClosed) {
			t.Errorf("a proposal that a full disk held up ended with %v", err)
		}
	}
	a.heal()
	_, m := f.open()
	if got := len(m.sorted()); got != 10 {
		t.Errorf("%d rows, want 10", got)
	}
}

func TestOpenWhileTheDiskIsFull(t *testing.T) {
	f := newFixture(t)
	f.closed(10)
	a := newAiling(f)
	a.set.Store(true)
	a.fail(diskFull)
	o := f.o
	o.Machine = newTables()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-a.tried
		<-a.tried
		<-a.tried
		cancel()
	}()
	_, err := Open(ctx, o)
	wantErr(t, err, ErrNoSpace)
	wantErr(t, err, context.Canceled)
	// With room again, or once there is some, the same journal opens.
	go func() {
		<-a.tried
		a.heal()
	}()
	a.fail(diskFull)
	_, m := f.open()
	if got := len(m.sorted()); got != 10 {
		t.Errorf("%d rows, want 10", got)
	}
}

func TestNoJournalYetAndNoSpace(t *testing.T) {
	f := newFixture(t)
	a := newAiling(f)
	a.fail(diskFull)
	_, _, err := f.try()
	wantErr(t, err, ErrNoSpace)
	if exists(f.path(dbName)) || exists(f.path(newName)) {
		t.Error("something was left")
	}
	a.heal()
	f.open()
}

// A write whose outcome is unknown ends the process, and nobody is told that it failed or succeeded.
func TestSyncErrorIsFatal(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		lands bool
		rows  int
	}{
		{"sync failed, lost", syscall.EIO, false, 10},
		{"sync failed, durable all the same", syscall.EIO, true, 11},
		{"no space, but in the sync", syscall.ENOSPC, false, 10},
		{"no space, but stored", diskFull, true, 11},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			a := newAiling(f)
			a.lands = c.lands
			fatal := make(chan error, 1)
			f.o.Fatal = func(err error) { fatal <- err }
			j, _ := f.open()
			fill(t, j, 10)
			a.fail(c.err)
			_, err := j.Propose(context.Background(), putRecord("late", 1))
			wantErr(t, err, ErrUnknownOutcome)
			if err := <-fatal; err == nil {
				t.Error("it was ended without a reason")
			}
			_, err = j.Propose(context.Background(), putRecord("later", 1))
			wantErr(t, err, ErrUnknownOutcome)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			a.heal()
			a.lands = false
			_, m := f.open()
			if got := len(m.sorted()); got != c.rows {
				t.Errorf("%d rows, want %d", got, c.rows)
			}
		})
	}
}

func TestReasonOfTheLastEndIsToldOnce(t *testing.T) {
	f := newFixture(t)
	f.closed(1)
	if err := os.WriteFile(f.path(fatalName), []byte("write journal: input/output error\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	if exists(f.path(fatalName)) {
		t.Error("it would be told again")
	}
}

func TestDefiniteErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{diskFull, true},
		{fmt.Errorf("commit: %w", diskFull), true},
		{&fs.PathError{Op: "write", Path: "raft.db", Err: syscall.EIO}, false},
		{&fs.PathError{Op: "sync", Path: "raft.db", Err: syscall.ENOSPC}, false},
		{syscall.ENOSPC, false}, // fdatasync's come bare
		{errors.New("file resize error: truncate raft.db: no space left on device"), false},
	} {
		if got := definite(c.err); got != c.want {
			t.Errorf("definite(%v) is %v", c.err, got)
		}
	}
}
