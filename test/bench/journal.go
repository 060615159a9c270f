package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"groom/api"
	"groom/fsm"
	"groom/journal"
)

// rounds and window: each side runs in turn for a window, so that a noisy neighbour meets both; the median counts.
const (
	rounds   = 7
	window   = 500 * time.Millisecond
	inFlight = 256
)

// decider takes the whole path of a decision: decide, record, commit, apply.
type decider struct {
	state *fsm.State
	j     *journal.Journal
	view  func(func())
	flips []bool
}

func openDecider(dir string) (*decider, error) {
	state := fsm.NewState()
	m := fsm.NewMachine(state, nil)
	j, err := journal.Open(context.Background(), journal.Options{Dir: dir, Machine: m, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return &decider{state: state, j: j, view: m.View, flips: make([]bool, inFlight)}, nil
}

// observe makes one real decision: local directory i fails, or comes back.
func (d *decider) observe(i int) (journal.Record, error) {
	d.flips[i] = !d.flips[i]
	o := fsm.DirChanged{Path: fmt.Sprintf("/local/%d", i), OK: d.flips[i], Reason: "read probe: input/output error"}
	now := api.Moment{Wall: time.Now().UTC()}
	var dec fsm.Decision
	var err error
	d.view(func() { dec, err = fsm.Decide(d.state, o, now, 1) })
	if err != nil {
		return journal.Record{}, err
	}
	body, err := fsm.Record(o, dec, now, 1)
	return journal.Record{Kind: o.Kind(), Version: 1, Body: body}, err
}

// rate is decisions a second with so many in flight.
func (d *decider) rate(flight int) (float64, error) {
	futures := make(chan *journal.Future, flight)
	done := make(chan error, 1)
	go func() {
		for f := range futures {
			if _, err := f.Wait(context.Background()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	began, n := time.Now(), 0
	for ; time.Since(began) < window; n++ {
		if flight > 1 {
			r, err := d.observe(n % flight)
			if err != nil {
				return 0, err
			}
			futures <- d.j.Go(r)
			continue
		}
		r, err := d.observe(0)
		if err != nil {
			return 0, err
		}
		if _, err := d.j.Propose(context.Background(), r); err != nil {
			return 0, err
		}
	}
	close(futures)
	if err := <-done; err != nil {
		return 0, err
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

func journalRows(dir string) ([]row, error) {
	d, err := openDecider(filepath.Join(dir, "journal"))
	if err != nil {
		return nil, err
	}
	defer d.j.Close()
	r, err := d.observe(0)
	if err != nil {
		return nil, err
	}
	if _, err := d.j.Propose(context.Background(), r); err != nil {
		return nil, err
	}
	bolt, err := bbolt.Open(filepath.Join(dir, "bare.db"), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	defer bolt.Close()
	bare, stop, err := bareRaft(filepath.Join(dir, "bareraft"))
	if err != nil {
		return nil, err
	}
	defer stop()
	size := len(r.Body)
	one, many := make([]float64, 0, rounds), make([]float64, 0, rounds)
	var oneRate, boltRate, manyRate, raftRate []float64
	for range rounds {
		a, err := d.rate(1)
		if err != nil {
			return nil, err
		}
		b, err := boltRateOf(bolt, size)
		if err != nil {
			return nil, err
		}
		one, oneRate, boltRate = append(one, a/b), append(oneRate, a), append(boltRate, b)
		if a, err = d.rate(inFlight); err != nil {
			return nil, err
		}
		if b, err = raftRateOf(bare, size); err != nil {
			return nil, err
		}
		many, manyRate, raftRate = append(many, a/b), append(manyRate, a), append(raftRate, b)
	}
	return []row{
		{
			what: "journal, one decision in flight", goal: ">= 0.8 x bbolt", met: median(one) >= 0.8,
			got: fmt.Sprintf("%.2f x", median(one)), beside: fmt.Sprintf("%.0f/s; bare bbolt commits %.0f/s", median(oneRate), median(boltRate)),
		},
		{
			what: "journal, 256 in flight, whole path", goal: ">= 0.5 x raft", met: median(many) >= 0.5,
			got: fmt.Sprintf("%.2f x", median(many)), beside: fmt.Sprintf("%.0f/s; bare raft with raft-boltdb %.0f/s", median(manyRate), median(raftRate)),
		},
	}, nil
}

func boltRateOf(db *bbolt.DB, size int) (float64, error) {
	began, n := time.Now(), 0
	for ; time.Since(began) < window; n++ {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			id, err := b.NextSequence()
			if err != nil {
				return err
			}
			return b.Put(fmt.Appendf(nil, "%016x", id), make([]byte, size))
		})
		if err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// bareRaft is raft as its own documentation has it, with a state machine that does nothing.
func bareRaft(dir string) (*raft.Raft, func(), error) {
	store, err := raftboltdb.New(raftboltdb.Options{Path: dir + ".db", BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
	if err != nil {
		return nil, nil, err
	}
	c := raft.DefaultConfig()
	c.LocalID, c.Logger, c.MaxAppendEntries, c.BatchApplyCh = "bare", hclog.NewNullLogger(), 512, true
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	addr, transport := raft.NewInmemTransport("bare")
	snaps := raft.NewInmemSnapshotStore()
	boot := raft.Configuration{Servers: []raft.Server{{ID: "bare", Address: addr}}}
	if err := raft.BootstrapCluster(c, store, store, snaps, transport, boot); err != nil {
		return nil, nil, err
	}
	r, err := raft.NewRaft(c, nothing{}, store, store, snaps, transport)
	if err != nil {
		return nil, nil, err
	}
	<-r.LeaderCh()
	return r, func() { _ = r.Shutdown().Error(); store.Close() }, nil
}

func raftRateOf(r *raft.Raft, size int) (float64, error) {
	futures := make(chan raft.ApplyFuture, inFlight)
	done := make(chan error, 1)
	go func() {
		for f := range futures {
			if err := f.Error(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	began, n := time.Now(), 0
	for ; time.Since(began) < window; n++ {
		futures <- r.Apply(make([]byte, size), 0)
	}
	close(futures)
	if err := <-done; err != nil {
		return 0, err
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// openRows is how long a start takes until the journal is replayed, its chain checked, and ready.
func openRows(dir string) ([]row, error) {
	var rows []row
	for _, c := range []struct {
		entries int
		goal    time.Duration
	}{{1000, 50 * time.Millisecond}, {10_000, 100 * time.Millisecond}} {
		path := filepath.Join(dir, fmt.Sprintf("open-%d", c.entries))
		d, err := openDecider(path)
		if err != nil {
			return nil, err
		}
		futures := make([]*journal.Future, 0, c.entries)
		for i := range c.entries {
			r, err := d.observe(i % inFlight)
			if err != nil {
				return nil, err
			}
			futures = append(futures, d.j.Go(r))
			if i%inFlight == inFlight-1 { // the next decision on the same directory needs this one
				if _, err := futures[i].Wait(context.Background()); err != nil {
					return nil, err
				}
			}
		}
		if _, err := futures[len(futures)-1].Wait(context.Background()); err != nil {
			return nil, err
		}
		if err := d.j.Close(); err != nil {
			return nil, err
		}
		var took []time.Duration
		var replayed uint64
		for range rounds {
			began := time.Now()
			d, err := openDecider(path)
			if err != nil {
				return nil, err
			}
			took = append(took, time.Since(began))
			replayed = d.j.Stats().Replayed
			if err := d.j.Close(); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row{
			what: fmt.Sprintf("open and ready, %d entries", c.entries), goal: "<= " + c.goal.String(), met: median(took) <= c.goal,
			got: median(took).Round(100 * time.Microsecond).String(), beside: fmt.Sprintf("%d entries replayed; raft's default election alone takes 1 to 2 s", replayed),
		})
	}
	return rows, nil
}

// nothing is a state machine without a state.
type nothing struct{}

var _ raft.BatchingFSM = nothing{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) ApplyBatch(logs []*raft.Log) []any   { return make([]any, len(logs)) }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}
