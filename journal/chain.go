package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"
)

// link is the hash of an entry: of the hash before it, and of every byte of the entry that has a meaning. The fields
// of fixed size come first, so that no two entries hash the same bytes. The time at which Raft stored an entry is not
// covered: nothing is ever decided by it.
func link(prev [32]byte, l *raft.Log) [32]byte {
	head := make([]byte, 0, 32+17+1024)
	head = append(head, prev[:]...)
	head = binary.BigEndian.AppendUint64(head, l.Index)
	head = binary.BigEndian.AppendUint64(head, l.Term)
	head = append(head, byte(l.Type))
	return sha256.Sum256(append(head, l.Data...))
}

// chain checks entries one after the other.
type chain struct {
	last uint64 // index of the newest entry checked
	tip  [32]byte
	term uint64
}

// next checks that an entry follows, unaltered.
func (c *chain) next(l *raft.Log) error {
	if l.Index != c.last+1 {
		return fmt.Errorf("entry %d follows entry %d: those between them are gone", l.Index, c.last)
	}
	if l.Term < c.term {
		return fmt.Errorf("entry %d is of term %d, after term %d", l.Index, l.Term, c.term)
	}
	hash := link(c.tip, l)
	if !bytes.Equal(hash[:], l.Extensions) {
		return fmt.Errorf("entry %d does not hash to what the chain says: it or the one before it was altered", l.Index)
	}
	c.last, c.tip, c.term = l.Index, hash, l.Term
	return nil
}
