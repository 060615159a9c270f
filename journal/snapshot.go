package journal

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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
	// What Raft files the snapshot under, so that a change of its own notes is noticed. Raft counts its barriers, too.
	RaftIndex uint64 `json:"raft_index,omitempty"`
	RaftTerm  uint64 `json:"raft_term,omitempty"`
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
	wrote func(head snapshotHead, id string)
}

// Persist writes the copy. Closing the sink syncs it and gives it its name; a kill before that leaves a directory that
// the next start removes.
func (s *frozen) Persist(sink raft.SnapshotSink) error {
	if f, ok := sink.(filed); ok {
		s.head.RaftIndex, s.head.RaftTerm = f.index, f.term
	}
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
	s.wrote(s.head, sink.ID())
	return nil
}

// Release has nothing to let go of.
func (s *frozen) Release() {}
