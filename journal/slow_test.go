package journal

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func logOf(index uint64, data []byte, hash [32]byte) *raft.Log {
	return &raft.Log{Index: index, Data: data, Extensions: hash[:]}
}

// hung is a disk that does not answer for a while.
type hung struct {
	store
	wait chan struct{}
}

func (h *hung) StoreLogs(logs []*raft.Log) error {
	<-h.wait
	return h.store.StoreLogs(logs)
}

func TestStalledWriteIsTold(t *testing.T) {
	f := newFixture(t)
	f.o.slowWrite, f.o.stalledWrite = time.Millisecond, 20*time.Millisecond
	disk := &hung{wait: make(chan struct{})}
	close(disk.wait)
	f.o.wrap = func(s store) store { disk.store = s; return disk }
	j, _ := f.open()
	before := j.Stats().SlowWrites
	if s := j.Stats(); s.Health != healthOK {
		t.Fatalf("health %s: %s", s.Health, s.Reason)
	}
	release := make(chan struct{})
	disk.wait = release
	p := j.Go(putRecord("a", 1))
	eventually(t, "stalled", func() bool { return j.Stats().Health == healthStalled })
	if s := j.Stats(); s.SlowWrites != before+1 {
		t.Errorf("%d slow writes, want one more than %d", s.SlowWrites, before)
	}
	close(release)
	if _, err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if s := j.Stats(); s.Health != healthOK {
		t.Errorf("health %s afterwards: %s", s.Health, s.Reason)
	}
}
