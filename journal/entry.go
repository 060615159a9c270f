package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// The envelope of an entry, before its body. All entries of the first release have flags 0.
//
//	[0] magic  [1] envelope version  [2:4] kind, big endian  [4] version of the kind  [5] flags  [6:] canonical JSON
const (
	magic           = 0xA1
	envelopeVersion = 1
	envelopeSize    = 6
	maxEntry        = 64 << 10
)

// Kinds below firstKind are the journal's own.
const (
	firstKind      = 16
	kindCheckpoint = 1
)

// KindName names a kind of the journal's own, or returns "".
func KindName(kind uint16) string {
	switch kind {
	case kindCheckpoint:
		return "journal.checkpoint"
	case kindSkip:
		return "journal.skip"
	case kindRebuilt:
		return "journal.rebuilt"
	}
	return ""
}

// Words tell an entry of the journal's own, or are "".
func Words(r Record) string {
	if r.Version != 1 {
		return ""
	}
	switch r.Kind {
	case kindCheckpoint:
		var c checkpoint
		if json.Unmarshal(r.Body, &c) == nil {
			return fmt.Sprintf("digest of the tables after entry %d, %d records", c.At, c.Records)
		}
	case kindSkip:
		var o override
		if json.Unmarshal(r.Body, &o) == nil {
			return fmt.Sprintf("entry %d is never applied, as %s decided: %s", o.Index, o.Who, o.Why)
		}
	case kindRebuilt:
		var b Rebuilt
		if json.Unmarshal(r.Body, &b) == nil {
			return b.String()
		}
	}
	return ""
}

// Record is what is proposed: an entry before it has an index.
type Record struct {
	Kind    uint16 // below 16 is the journal's own
	Version uint8  // of the kind
	Body    []byte // canonical JSON, at most 64 KiB with the envelope
}

// Entry is a record that the journal holds.
type Entry struct {
	Index uint64
	Term  uint64
	Record
	Hash [32]byte // chain
	Size int
	// At is when it was stored. The chain does not cover it, and nothing is decided by it.
	At time.Time
	// Own is true of raft's own entries (no-op, configuration), which have no record.
	Own bool
}

// seal puts a record into its envelope. Writing is strict: what is not JSON never enters the log.
func seal(r Record) ([]byte, error) {
	if len(r.Body)+envelopeSize > maxEntry {
		return nil, fmt.Errorf("%w: %d bytes of kind %d, at most %d", ErrTooLarge, len(r.Body), r.Kind, maxEntry-envelopeSize)
	}
	if !json.Valid(r.Body) {
		return nil, fmt.Errorf("record of kind %d: its body is not JSON", r.Kind)
	}
	b := make([]byte, envelopeSize, envelopeSize+len(r.Body))
	b[0], b[1], b[4] = magic, envelopeVersion, r.Version
	binary.BigEndian.PutUint16(b[2:4], r.Kind)
	return append(b, r.Body...), nil
}

// unseal takes a record out of its envelope. The body shares memory with b.
func unseal(b []byte) (Record, error) {
	switch {
	case len(b) < envelopeSize || b[0] != magic:
		return Record{}, errors.New("it is not in an envelope")
	case b[1] != envelopeVersion:
		return Record{}, fmt.Errorf("its envelope is of version %d, this build reads version %d", b[1], envelopeVersion)
	case b[5] != 0:
		return Record{}, fmt.Errorf("its flags %#x mean something that this build does not know", b[5])
	}
	return Record{Kind: binary.BigEndian.Uint16(b[2:4]), Version: b[4], Body: b[envelopeSize:]}, nil
}

// entryOf tells an entry of the log. An envelope that cannot be read leaves the record empty but for its bytes: the
// chain says whether they were altered, and applying them says what is wrong with them.
func entryOf(l *raft.Log) Entry {
	e := Entry{Index: l.Index, Term: l.Term, Size: len(l.Data), At: l.AppendedAt, Own: l.Type != raft.LogCommand}
	copy(e.Hash[:], l.Extensions)
	if e.Own {
		return e
	}
	r, err := unseal(l.Data)
	if err != nil {
		r.Body = l.Data
	}
	e.Record = r
	return e
}
