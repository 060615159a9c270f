package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// snapshots takes a snapshot when the log has grown by so many entries since the newest one, and archives what it
// covers. Raft's own timer would let a busy journal grow by millions. It sleeps until one is due, and spends at most a
// third of its time on them, however large the tables are: less, and a busy journal would be long to open.
func (j *Journal) snapshots() {
	j.catchUp()
	for {
		select {
		case <-j.fsm.grown:
		case <-j.closing:
			return
		}
		if !j.fsm.long() {
			continue
		}
		began := time.Now()
		err := j.raft.Snapshot().Error()
		pause := 2 * time.Since(began)
		if err != nil && !errors.Is(err, raft.ErrRaftShutdown) {
			j.o.Log.Warn("take a snapshot", "err", err)
			pause += 10 * time.Second
		}
		select {
		case <-time.After(pause):
		case <-j.closing:
			return
		}
	}
}

// catchUp archives what the newest snapshot covers, where a kill came between the two, or an older build knew no
// archive.
func (j *Journal) catchUp() {
	all, err := stored(j.o.Dir)
	if err != nil {
		j.o.Log.Warn("look for snapshots to archive", "err", err)
		return
	}
	m := j.arch.manifest()
	sealed, _ := m.sealed()
	for _, c := range all {
		if c.err == nil && c.head.Index > sealed {
			j.archive(c.head, c.id)
			return
		}
	}
}

// archive keeps what a snapshot covers. Until that succeeds, the log keeps it.
func (j *Journal) archive(head snapshotHead, id string) {
	err := j.arch.keep(head, copied{id: id}.state(j.o.Dir), func(index uint64, l *raft.Log) error {
		select {
		case <-j.closing:
			return ErrClosed // the next start goes on
		default:
			return j.guard.store.GetLog(index, l)
		}
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		j.o.Log.Error("history cannot be archived, so nothing of it leaves the log", "err", err)
	}
}

// remake makes a snapshot when the log has lost its beginning to the archive and no snapshot can be used: without one,
// Raft would not know where to begin. The tables are replayed from the nearest anchor.
func (j *Journal) remake(snaps *snapshots, trans raft.Transport) error {
	first := j.guard.oldest()
	have, err := snaps.List()
	if err != nil || first == 1 || len(have) > 0 {
		return err
	}
	h := j.History()
	j.o.Log.Warn("no snapshot can be used; replaying from the archive", "to", first-1)
	head, err := h.play(j.o.Machine, 0, first-1, nil)
	if err != nil {
		return fmt.Errorf("replay archive: %w", err)
	}
	body, err := j.o.Machine.Snapshot()
	if err != nil {
		return fmt.Errorf("freeze tables: %w", err)
	}
	var l raft.Log
	if err := j.guard.GetLog(first, &l); err != nil {
		return fmt.Errorf("read entry %d: %w", first, err)
	}
	self := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: voter, Address: voter}}}
	sink, err := snaps.Create(1, first-1, l.Term, self, 1, trans)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return (&frozen{head, body, func(snapshotHead, string) {}}).Persist(sink)
}
