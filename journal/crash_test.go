package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"groom/fault"
)

// What the child of a crash test does: it proposes values in order, window of them at a time, takes a checkpoint every
// few and a snapshot now and then, and tells each acknowledgement on its standard output.
const (
	window        = 32
	childEvery    = 64
	childSnapshot = 150
)

func child(dir string) {
	m := newTables()
	o := Options{Dir: dir, Machine: m, every: childEvery, reserve: 1 << 16}
	if os.Getenv(archivingEnv) != "" {
		o.snapshotAfter, o.trailing, o.compactAt, o.compactRatio, o.Retain = 60, 40, 1, 1, Retention{Bytes: 40 << 10}
	}
	if os.Getenv(rebuildEnv) != "" {
		if _, err := Rebuild(dir, "test", nil); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	if os.Getenv(sickEnv) != "" {
		o.wrap = func(s store) store { return &sick{store: s} }
	}
	j, err := Open(context.Background(), o)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	next := len(m.sorted())
	fmt.Println("have", next)
	var flying []*Future
	first := next
	for {
		for len(flying) < window {
			flying = append(flying, j.Go(putRecord(fmt.Sprintf("%09d", next), next)))
			next++
		}
		if _, err := flying[0].Wait(context.Background()); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("ack", first)
		if first%childSnapshot == childSnapshot-1 {
			_ = j.raft.Snapshot().Error()
		}
		flying, first = flying[1:], first+1
	}
}

// life runs the child until it dies, and returns how many values it acknowledged in all. It is killed at a failpoint,
// or by us after so many acknowledgements.
func life(t *testing.T, dir, failpoint string, acks int, with ...string) (acked int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_CHILD="+dir, fault.Env+"="+failpoint)
	for _, env := range with {
		cmd.Env = append(cmd.Env, env+"=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		switch line := lines.Text(); {
		case scan(line, "have %d", &n):
			acked = n
		case scan(line, "ack %d", &n):
			acked = n + 1
			if seen++; seen == acks {
				_ = cmd.Process.Kill()
			}
		default:
			t.Errorf("child: %s", line)
		}
	}
	err = cmd.Wait()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return acked
}

// archivingEnv has the child archive, prune and compact all the time; rebuildEnv has it rebuild its journal first.
const (
	archivingEnv = "JOURNAL_TEST_ARCHIVING"
	rebuildEnv   = "JOURNAL_TEST_REBUILD"
)

func scan(line, format string, n *int) bool {
	_, err := fmt.Sscanf(line, format, n)
	return err == nil
}

// survived checks what a life has left: all that was acknowledged, in order, and nothing that was not proposed.
func survived(t *testing.T, dir string, acked int) {
	t.Helper()
	h, err := OpenHistory(dir)
	if err != nil {
		if acked == 0 && !exists(dir+"/"+dbName) {
			return // it died before there was a journal
		}
		t.Fatal(err)
	}
	defer h.Close()
	h.every = childEvery
	m := newTables()
	if err := proven(h, m); err != nil {
		t.Fatal(err)
	}
	rows := m.sorted()
	if n := len(rows); n < acked || n > acked+window {
		t.Fatalf("%d recovered, %d acknowledged, at most %d in flight", n, acked, window)
	}
	for i, row := range rows {
		if want := fmt.Sprintf("%09d=%d", i, i); row != want {
			t.Fatalf("%s stands in place of %s", row, want)
		}
	}
	// Those that were replayed, and not in a copy that the replay began with, came in their order.
	for i, v := range m.order {
		if v != len(rows)-len(m.order)+i {
			t.Fatalf("value %d came in place of %d", v, len(rows)-len(m.order)+i)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sickEnv gives the child a disk that fails to sync after some stores.
const sickEnv = "JOURNAL_TEST_SICK"

type sick struct {
	store
	stores int
}

func (s *sick) StoreLogs(logs []*raft.Log) error {
	if s.stores++; s.stores > 20 {
		return errors.Join(s.store.StoreLogs(logs), syscall.EIO)
	}
	return s.store.StoreLogs(logs)
}

func TestProcessEndsAfterASyncError(t *testing.T) {
	dir := t.TempDir() + "/journal"
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_CHILD="+dir, sickEnv+"=1")
	out, _ := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 70 {
		t.Fatalf("exit status %d, want 70; it said %s", code, out)
	}
	if why, err := os.ReadFile(dir + "/" + fatalName); err != nil || !strings.Contains(string(why), "input/output error") {
		t.Errorf("it left %q, %v", why, err)
	}
	acked := 0
	for line := range strings.Lines(string(out)) {
		if scan(line, "ack %d", &acked) {
			acked++
		}
	}
	if acked == 0 {
		t.Error("nothing was acknowledged before")
	}
	survived(t, dir, acked)
}

// Every failpoint of this package, at several passes: the first one is mostly in the making or the opening.
var failpoints = strings.Fields(`
	journal.before-create journal.after-create
	journal.before-store journal.before-store#2 journal.before-store#9 journal.before-store#40
	journal.after-store journal.after-store#2 journal.after-store#9 journal.after-store#40
	journal.before-set journal.before-set#2 journal.before-set#4 journal.after-set journal.after-set#3
	journal.before-tail journal.before-tail#2 journal.after-tail journal.after-tail#3
	journal.before-snapshot journal.before-snapshot#2 journal.after-snapshot`)

func TestKilledAtEachFailpoint(t *testing.T) {
	for _, point := range failpoints {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir() + "/journal"
			survived(t, dir, life(t, dir, point, 2000))
			// What it left is opened, used, and killed once more in the same place.
			survived(t, dir, life(t, dir, point, 2000))
			survived(t, dir, life(t, dir, "", 50))
		})
	}
}

// The same while the archive grows: history is sealed, anchored, pruned and deleted all the time, and a start compacts.
func TestKilledWhileHistoryIsArchived(t *testing.T) {
	for _, point := range strings.Fields(`
		journal.before-seal journal.before-seal#3 journal.after-seal journal.after-seal#3
		journal.after-anchor journal.after-anchor#2
		journal.before-manifest journal.before-manifest#4 journal.after-manifest journal.after-manifest#4
		journal.before-prune journal.before-prune#3
		journal.before-delete journal.before-delete#3 journal.after-delete journal.after-delete#3
		journal.before-compact journal.after-compact`) {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir() + "/journal"
			acked := life(t, dir, "", 1500, archivingEnv) // so that there is something to compact and to prune
			survived(t, dir, acked)
			for range 2 {
				n := life(t, dir, point, 4000, archivingEnv) // 0 when it was reached before the child said how many it has
				if n >= acked+4000 {
					t.Error("the point was not reached")
				}
				acked = max(acked, n)
				survived(t, dir, acked)
			}
			survived(t, dir, life(t, dir, "", 50, archivingEnv))
		})
	}
}

// A rebuild that is killed leaves what another one makes the same of.
func TestKilledWhileRebuilding(t *testing.T) {
	for _, point := range []string{"journal.before-rebuild", "journal.in-rebuild", "journal.after-rebuild"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir() + "/journal"
			acked := life(t, dir, "", 1500, archivingEnv)
			damage(t, dir)
			for range 2 {
				if n := life(t, dir, point, 100, archivingEnv, rebuildEnv); n != 0 {
					t.Error("the point was not reached")
				}
			}
			n := life(t, dir, "", 50, archivingEnv, rebuildEnv)
			if n < acked+50 {
				t.Errorf("%d values, %d were acknowledged before the damage", n, acked)
			}
			survived(t, dir, n)
		})
	}
}

// damage makes noise of a page in the middle of the log.
func damage(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(dir+"/"+dbName, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(4 << 12); at < info.Size(); at += 3 << 12 {
		if _, err := f.WriteAt(make([]byte, 1<<12), at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKilledAtRandom(t *testing.T) {
	dir := t.TempDir() + "/journal"
	acked := 0
	for range 8 {
		acked = max(acked, life(t, dir, "", 1+rand.IntN(400)))
		survived(t, dir, acked)
	}
}
