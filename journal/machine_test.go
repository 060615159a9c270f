package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Kinds of the test machine.
const (
	kindPut    = 16 // sets a key
	kindPanic  = 17 // panics in Apply
	kindBroken = 99 // no build knows it
)

type put struct {
	Key string `json:"k"`
	Val int    `json:"v"`
}

// tables is a small machine: a map with an incremental digest. Setting a key to what it is already is refused.
type tables struct {
	mu     sync.Mutex
	rows   map[string]int
	digest [32]byte
	order  []int // values in the order in which they came
	skew   byte  // what a build that replays differently adds to its digest
}

var _ Machine = (*tables)(nil)

func newTables() *tables { return &tables{rows: map[string]int{}} }

type stale struct{ key string }

func (t *tables) Name() string { return "test" }

func (t *tables) Apply(_ uint64, kind uint16, _ uint8, body []byte) (any, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch kind {
	case kindPut:
		var p put
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		if old, ok := t.rows[p.Key]; ok {
			if old == p.Val {
				return &stale{p.Key}, nil
			}
			t.flip(p.Key, old)
		}
		t.rows[p.Key] = p.Val
		t.flip(p.Key, p.Val)
		t.order = append(t.order, p.Val)
		return p.Val, nil
	case kindPanic:
		panic("no such row")
	}
	return nil, fmt.Errorf("kind %d is unknown to this build", kind)
}

func (t *tables) flip(key string, val int) {
	h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(key+"="), uint64(val)))
	for i := range h {
		t.digest[i] ^= h[i] + t.skew
	}
}

func (t *tables) Digest() [32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.digest
}

func (t *tables) Snapshot() (io.WriterTo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, err := json.Marshal(t.rows)
	return bytes.NewReader(b), err
}

func (t *tables) Restore(r io.Reader) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.digest = map[string]int{}, [32]byte{}
	if err := json.NewDecoder(r).Decode(&t.rows); err != nil {
		return err
	}
	for k, v := range t.rows {
		t.flip(k, v)
	}
	return nil
}

func (t *tables) KindName(kind uint16) string {
	if kind == kindPut {
		return "put"
	}
	return ""
}

func (t *tables) sorted() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, k := range slices.Sorted(maps.Keys(t.rows)) {
		all = append(all, fmt.Sprintf("%s=%d", k, t.rows[k]))
	}
	return all
}

func putRecord(key string, val int) Record {
	body, _ := json.Marshal(put{key, val})
	return Record{Kind: kindPut, Version: 1, Body: body}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// fixture opens journals in one directory.
type fixture struct {
	t   testing.TB
	dir string
	o   Options
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	dir := t.TempDir() + "/journal"
	return &fixture{t, dir, Options{
		Dir: dir, reserve: 1 << 16, spaceWait: time.Millisecond,
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	}}
}

// open opens the journal on new tables, and closes it with the test.
func (f *fixture) open() (*Journal, *tables) {
	f.t.Helper()
	j, m, err := f.try()
	if err != nil {
		f.t.Fatalf("open: %v", err)
	}
	j.Started()
	return j, m
}

func (f *fixture) try() (*Journal, *tables, error) {
	m := newTables()
	return f.with(m)
}

func (f *fixture) with(m *tables) (*Journal, *tables, error) {
	f.t.Helper()
	o := f.o
	o.Machine = m
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(f.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	j, err := Open(ctx, o)
	if err != nil {
		return nil, m, err
	}
	f.t.Cleanup(func() {
		if err := j.Close(); err != nil {
			f.t.Errorf("close: %v", err)
		}
	})
	return j, m, nil
}

// fill puts n rows, pipelined.
func fill(t testing.TB, j *Journal, n int) {
	t.Helper()
	futures := make([]*Future, n)
	for i := range futures {
		futures[i] = j.Go(putRecord(fmt.Sprintf("key-%d", i%997), i))
	}
	for _, f := range futures {
		if _, err := f.Wait(context.Background()); err != nil {
			t.Fatalf("put: %v", err)
		}
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	end := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

// proven verifies a history from its beginning, into m.
func proven(h *History, m Machine) error {
	made := false
	r, err := h.Verify(VerifyOptions{Deep: true, Machine: func() Machine {
		if made {
			return newTables()
		}
		made = true
		return m
	}})
	return errors.Join(err, r.Err())
}
