package journal

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"groom/fault"
)

// snapshotHead is the first line of a snapshot; the machine's own copy follows. It says which entry the tables stand
// after, and carries what a replay from the first entry would know by then.
type snapshotHead struct {
	Version int        `json:"v"`
	Index   uint64     `json:"index"`
	Hash    string     `json:"hash"` // of that entry
	Records uint64     `json:"records"`
	Due     []digestAt `json:"due,omitempty"`
}

func hexHash(h [32]byte) string { return hex.EncodeToString(h[:]) }

func unhexHash(s string) (h [32]byte) {
	_, _ = hex.Decode(h[:], []byte(s)) // readHead has checked it
	return h
}

func readHead(r io.Reader) (snapshotHead, io.Reader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	line, err := b.ReadBytes('\n')
	if err != nil {
		return snapshotHead{}, nil, fmt.Errorf("read snapshot: %w", err)
	}
	var head snapshotHead
	if err := json.Unmarshal(line, &head); err != nil {
		return snapshotHead{}, nil, fmt.Errorf("read snapshot: %w", err)
	}
	if head.Version != 1 {
		return snapshotHead{}, nil, fmt.Errorf("snapshot of version %d: this build reads version 1", head.Version)
	}
	if h, err := hex.DecodeString(head.Hash); err != nil || len(h) != 32 {
		return snapshotHead{}, nil, errors.New("read snapshot: its head has no hash")
	}
	return head, b, nil
}

// frozen is a copy of the machine that is yet to be written.
type frozen struct {
	head  snapshotHead
	body  io.WriterTo
	wrote func(index uint64)
}

// Persist writes the copy. Closing the sink syncs it and gives it its name; a kill before that leaves a directory that
// the next start removes.
func (s *frozen) Persist(sink raft.SnapshotSink) error {
	err := json.NewEncoder(sink).Encode(s.head)
	if err == nil {
		_, err = s.body.WriteTo(sink)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	fault.Point("journal.before-snapshot")
	if err := sink.Close(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	fault.Point("journal.after-snapshot")
	s.wrote(s.head.Index)
	return nil
}

// Release has nothing to let go of.
func (s *frozen) Release() {}

// snapshots passes over damaged snapshots. The log holds everything that they do, so without one the replay is longer
// and that is all; Raft alone would refuse to start.
type snapshots struct {
	*raft.FileSnapshotStore
	log *slog.Logger
}

func openSnapshots(o Options, logger hclog.Logger, last uint64) (*snapshots, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(o.Dir, retainedSnapshots, logger)
	if err != nil {
		return nil, full("open snapshots", err)
	}
	// A kill while a snapshot was written leaves a directory that nobody would ever look at. The log is locked by now,
	// so it is nobody's.
	left, err := filepath.Glob(filepath.Join(o.Dir, snapName, "*.tmp"))
	if err != nil {
		return nil, fmt.Errorf("sweep snapshots: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("sweep snapshots: %w", err)
		}
	}
	s := &snapshots{files, o.Log}
	metas, err := s.List()
	if err != nil {
		return nil, err
	}
	if len(metas) > 0 && metas[0].Index > last {
		return nil, corrupt(filepath.Join(o.Dir, dbName), "it ends at entry %d, and there is a snapshot taken after entry %d: "+
			"its newest entries are gone", last, metas[0].Index)
	}
	return s, nil
}

// List names the snapshots that are whole, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.FileSnapshotStore.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var whole []*raft.SnapshotMeta
	for _, meta := range all {
		_, r, err := s.Open(meta.ID) // compares its checksum
		if err != nil {
			s.log.Warn("a snapshot is damaged; replaying from further back", "snapshot", meta.ID, "err", err)
			continue
		}
		_ = r.Close()
		whole = append(whole, meta)
	}
	return whole, nil
}
