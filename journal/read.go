package journal

import (
	"errors"
	"fmt"
	"iter"

	"github.com/hashicorp/raft"
	berrors "go.etcd.io/bbolt/errors"
)

// Entries reads the entries with an index from from to to, oldest first; 0 leaves an end open. What has left the log
// comes from the archive. Each link of the chain is checked on the way.
func (j *Journal) Entries(from, to uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		h := j.History()
		if to == 0 || to > h.stats.Last {
			to = h.stats.Last
		}
		if from > to {
			return
		}
		for e, err := range h.Entries(from, to) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// walk calls f for entries of the log. Every entry is read in a transaction of its own, so that a slow reader does not
// keep old pages from being used again. What has left the log meanwhile is read from the archive.
func (j *Journal) walk(from, to uint64, f func(*raft.Log) error) error {
	last, _ := j.guard.position()
	to = min(to, last)
	for index := from; index <= to; {
		l := new(raft.Log)
		err := j.guard.GetLog(index, l)
		switch {
		case err == nil:
			if err := f(l); err != nil {
				return err
			}
			index++
		case errors.Is(err, raft.ErrLogNotFound) && index < j.guard.oldest():
			m := j.arch.manifest()
			i := m.at(index)
			if i == len(m.segments) || m.segments[i].first > index {
				return fmt.Errorf("%w: the archive does not hold entry %d", ErrMissing, index)
			}
			if err := m.segments[i].read(j.o.Dir, index, to, f); err != nil {
				return err
			}
			index = m.segments[i].last + 1
		case errors.Is(err, berrors.ErrDatabaseNotOpen):
			return ErrClosed
		default:
			return fmt.Errorf("read entry %d: %w", index, err)
		}
	}
	return nil
}

// resume goes on with a chain after an entry that was checked before, or is taken as it is.
func resume(l *raft.Log) chain {
	c := chain{last: l.Index, term: l.Term}
	copy(c.tip[:], l.Extensions)
	return c
}
