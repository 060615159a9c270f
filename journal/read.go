package journal

import (
	"errors"
	"fmt"
	"iter"

	"github.com/hashicorp/raft"
	berrors "go.etcd.io/bbolt/errors"
)

// Entries reads the entries with an index from from to to, oldest first; 0 leaves an end open. Each link of the chain
// is checked on the way. Every entry is read in a transaction of its own, so that a slow reader does not keep old
// pages from being used again.
func (j *Journal) Entries(from, to uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		last, _ := j.guard.position()
		if to == 0 || to > last {
			to = last
		}
		c, err := j.chainAt(max(from, 1) - 1)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for index := c.last + 1; index <= to; index++ {
			l, err := j.read(index)
			if err == nil {
				if err = c.next(l); err != nil {
					err = fmt.Errorf("%w: %w", ErrCorrupt, err)
				}
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(entryOf(l), nil) {
				return
			}
		}
	}
}

// chainAt is the chain as it stands after an entry.
func (j *Journal) chainAt(index uint64) (chain, error) {
	if index == 0 {
		return chain{}, nil
	}
	l, err := j.read(index)
	if err != nil {
		return chain{}, err
	}
	return resume(l), nil
}

// resume goes on with a chain after an entry that was checked before, or is taken as it is.
func resume(l *raft.Log) chain {
	c := chain{last: l.Index, term: l.Term}
	copy(c.tip[:], l.Extensions)
	return c
}

func (j *Journal) read(index uint64) (*raft.Log, error) {
	l := new(raft.Log)
	err := j.guard.GetLog(index, l)
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return nil, ErrClosed
	case errors.Is(err, raft.ErrLogNotFound):
		return nil, fmt.Errorf("read entry %d: there is none", index)
	case err != nil:
		return nil, fmt.Errorf("read entry %d: %w", index, err)
	}
	return l, nil
}
