package journal

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// payload is of the size of a usual record.
var payload = func() Record {
	r := putRecord("attempt_202611250001_0001_000001_0", 7)
	pad := make([]byte, 380-len(r.Body))
	for i := range pad {
		pad[i] = ' '
	}
	r.Body = append(r.Body, pad...)
	return r
}()

// inParallel runs op b.N times, c at a time, and reports the rate.
func inParallel(b *testing.B, c int, op func() error) {
	b.Helper()
	work := make(chan struct{}, c)
	var wg sync.WaitGroup
	for range c {
		wg.Go(func() {
			for range work {
				if err := op(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func BenchmarkPropose(b *testing.B) {
	for _, c := range []int{1, 256} {
		b.Run(fmt.Sprintf("inflight=%d", c), func(b *testing.B) {
			j, _ := newFixture(b).open()
			inParallel(b, c, func() error {
				_, err := j.Propose(context.Background(), payload)
				return err
			})
		})
	}
}

// BenchmarkBareRaft is hashicorp/raft on raft-boltdb with the same settings, an FSM that does nothing, and no guard.
func BenchmarkBareRaft(b *testing.B) {
	for _, c := range []int{1, 256} {
		b.Run(fmt.Sprintf("inflight=%d", c), func(b *testing.B) {
			db, err := openStore(filepath.Join(b.TempDir(), "bare.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			addr, tr := raft.NewInmemTransport("bare")
			conf := raft.DefaultConfig()
			conf.LocalID, conf.Logger = "bare", hclog.NewNullLogger()
			conf.MaxAppendEntries, conf.BatchApplyCh, conf.NoLegacyTelemetry = 512, true, true
			snaps := raft.NewInmemSnapshotStore()
			if err := raft.BootstrapCluster(conf, db, db, snaps, tr, raft.Configuration{
				Servers: []raft.Server{{ID: "bare", Address: addr}},
			}); err != nil {
				b.Fatal(err)
			}
			r, err := raft.NewRaft(conf, idle{}, db, db, snaps, tr)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = r.Shutdown().Error() }()
			tr.Connect(addr, tr)
			req := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}
			if err := tr.TimeoutNow("bare", addr, &req, &raft.TimeoutNowResponse{}); err != nil {
				b.Fatal(err)
			}
			<-r.LeaderCh()
			inParallel(b, c, func() error { return r.Apply(payload.Body, 0).Error() })
		})
	}
}

// idle is an FSM that does nothing.
type idle struct{}

func (idle) Apply(*raft.Log) any                 { return nil }
func (idle) ApplyBatch(logs []*raft.Log) []any   { return make([]any, len(logs)) }
func (idle) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (idle) Restore(io.ReadCloser) error         { return nil }

// BenchmarkBareStore is raft-boltdb alone, one entry in each commit.
func BenchmarkBareStore(b *testing.B) {
	db, err := openStore(filepath.Join(b.TempDir(), "bare.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	index := uint64(0)
	inParallel(b, 1, func() error {
		index++
		return db.StoreLog(&raft.Log{Index: index, Term: 1, Data: payload.Body})
	})
}

// BenchmarkBareBolt is bbolt alone, one put in each commit.
func BenchmarkBareBolt(b *testing.B) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, boltOptions(time.Second))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	index := uint64(0)
	inParallel(b, 1, func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(logsBucket)
			if err != nil {
				return err
			}
			index++
			return bucket.Put(fmt.Appendf(nil, "%08d", index), payload.Body)
		})
	})
}

// BenchmarkOpen opens a journal whose entries all have to be checked and replayed.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			f := newFixture(b)
			f.o.snapshotAfter = 1 << 40
			j, _ := f.open()
			futures := make([]*Future, n)
			for i := range futures {
				r := payload
				r.Body = append([]byte(nil), r.Body...)
				futures[i] = j.Go(r)
			}
			for _, fu := range futures {
				if _, err := fu.Wait(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for range b.N {
				j, _ := f.open()
				b.StopTimer()
				if err := j.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
