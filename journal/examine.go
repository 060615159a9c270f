package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// Names that raft-boltdb gives its buckets.
var (
	logsBucket = []byte("logs")
	confBucket = []byte("conf")
)

// An opening keeps the newest entries in memory, so that Raft need not read and decode them twice more. Usually that is
// all since the newest snapshot.
const (
	keptEntries = 16 << 10
	keptBytes   = 32 << 20
)

// found is what an opening saw in the log.
type found struct {
	chain
	first    uint64 // the oldest entry of the log
	data     int64  // bytes of all entries
	manifest *manifest
	skips    map[uint64]skip
	// recent are the newest entries, the last of them with index last.
	recent []*raft.Log
	bytes  int // their data
}

// keep adds an entry to the recent ones, and drops the older half when they have become too many.
func (f *found) keep(l *raft.Log) {
	if len(f.recent) == 2*keptEntries || f.bytes > 2*keptBytes {
		half := len(f.recent) / 2
		for _, old := range f.recent[:half] {
			f.bytes -= len(old.Data)
		}
		f.recent = append([]*raft.Log(nil), f.recent[half:]...)
	}
	f.recent = append(f.recent, l)
	f.bytes += len(l.Data)
}

// at is an entry among the recent ones, or nil.
func (f *found) at(index uint64) *raft.Log {
	first := f.last + 1 - uint64(len(f.recent))
	if index < first || index > f.last {
		return nil
	}
	return f.recent[index-first]
}

// examine reads the whole log before anything is written, and checks the chain. It reads as a stranger would, in its
// own read-only view, because bbolt and Raft both panic on what they did not write themselves.
func examine(dir string) (*found, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	f := &found{manifest: m, skips: skipsOf(m.skips)}
	err = readOnly(dir, lockTimeout, func(db *bbolt.DB) error {
		path := filepath.Join(dir, dbName)
		err := walk(db, 1, 0, func(l *raft.Log) error {
			if err := f.follow(dir, l); err != nil {
				return corrupt(path, "%v", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if f.last == 0 {
			return corrupt(path, "its log is empty, and never was")
		}
		if err := db.View(func(tx *bbolt.Tx) error { return f.terms(tx.Bucket(confBucket)) }); err != nil {
			return corrupt(path, "%v", err)
		}
		if sealed, _ := m.sealed(); sealed > f.last {
			return lostEnd(dir, f.last, sealed, archiveName+"/"+manifestName)
		}
		return f.tail(dir)
	})
	return f, err
}

// follow checks an entry against the chain, and against the archive where that ends or begins.
func (f *found) follow(dir string, l *raft.Log) error {
	first := f.first == 0
	if first {
		f.first = l.Index
	}
	switch {
	case first && f.manifest.first() > l.Index:
		f.chain = resume(l) // retention has dropped what comes before it, and itself
	case first && l.Index > 1:
		if err := f.begin(dir, l.Index); err != nil {
			return err
		}
		fallthrough
	default:
		if err := f.next(l); err != nil {
			return err
		}
	}
	if hash, ok := f.manifest.boundary(l.Index); ok && hash != f.tip {
		return fmt.Errorf("entry %d is not the one that the archive holds", l.Index)
	}
	f.data += int64(len(l.Data))
	if s, ok := skipOf(l); ok {
		f.skips[s.index] = s
	}
	f.keep(l)
	return nil
}

// begin takes up the chain where the archive ends, for a log whose older entries have left it.
func (f *found) begin(dir string, first uint64) error {
	if sealed, _ := f.manifest.sealed(); sealed < first-1 {
		return fmt.Errorf("it begins with entry %d, and the archive ends with entry %d: those between them are gone", first, sealed)
	}
	hash, err := f.manifest.hashAt(dir, first-1)
	if err != nil {
		return err
	}
	f.chain = chain{last: first - 1, tip: hash}
	return nil
}

// terms checks that Raft knows a term at least as new as that of the newest entry. With an older one it would write
// entries that do not follow.
func (f *found) terms(conf *bbolt.Bucket) error {
	v := conf.Get([]byte("CurrentTerm"))
	if len(v) != 8 || binary.BigEndian.Uint64(v) < f.term {
		return fmt.Errorf("raft's term %x is older than term %d of entry %d", v, f.term, f.last)
	}
	return nil
}

// readOnly opens the log for reading only, calls f, and closes it.
func readOnly(dir string, timeout time.Duration, f func(*bbolt.DB) error) error {
	db, err := openReadOnly(dir, timeout)
	if err != nil {
		return err
	}
	return errors.Join(guarded(filepath.Join(dir, dbName), func() error { return f(db) }), db.Close())
}

func openReadOnly(dir string, timeout time.Duration) (*bbolt.DB, error) {
	path := filepath.Join(dir, dbName)
	if err := cut(path); err != nil {
		return nil, err
	}
	o := boltOptions(timeout)
	o.ReadOnly = true
	db, err := bbolt.Open(path, 0, o)
	if err != nil {
		return nil, openError(path, err)
	}
	return db, nil
}

// guarded turns a panic over a damaged page, and a fault in the mapped file, into an error.
func guarded(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = corrupt(path, "a page of it cannot be read: %v", p)
		}
	}()
	return f()
}

// walk calls f for each entry with an index from from to to, in the order of their keys; to 0 is the end. The logs
// that f gets are its own.
func walk(db *bbolt.DB, from, to uint64, f func(*raft.Log) error) error {
	var handle codec.MsgpackHandle
	dec := codec.NewDecoderBytes(nil, &handle)
	return db.View(func(tx *bbolt.Tx) error {
		logs, conf := tx.Bucket(logsBucket), tx.Bucket(confBucket)
		if logs == nil || conf == nil {
			return corrupt(db.Path(), "it has no log")
		}
		if err := conf.ForEach(func(_, _ []byte) error { return nil }); err != nil {
			return corrupt(db.Path(), "%v", err)
		}
		c := logs.Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, from)); k != nil; k, v = c.Next() {
			if len(k) != 8 {
				return corrupt(db.Path(), "a key of %d bytes is in its log", len(k))
			}
			index := binary.BigEndian.Uint64(k)
			if to != 0 && index > to {
				return nil
			}
			l := new(raft.Log)
			dec.ResetBytes(v)
			if err := dec.Decode(l); err != nil {
				return corrupt(db.Path(), "entry %d cannot be decoded: %v", index, err)
			}
			if l.Index != index {
				return corrupt(db.Path(), "entry %d says that it is entry %d", index, l.Index)
			}
			if err := f(l); err != nil {
				return err
			}
		}
		return nil
	})
}

// tail compares the log with what was last known to be in it. The file of that name is written now and then, always
// after the entries that it speaks of, so it may lag but never run ahead: a log that is shorter has lost entries.
func (f *found) tail(dir string) error {
	last, tip, err := readTail(dir)
	if err != nil || last == 0 {
		return err
	}
	path := filepath.Join(dir, dbName)
	if last > f.last {
		return corrupt(path, "it ends at entry %d, and once held entry %d: its newest entries are gone", f.last, last)
	}
	if l := f.at(last); l != nil && string(l.Extensions) != string(tip[:]) {
		return corrupt(path, "entry %d is not the one that was once there: this is the log of another journal", last)
	}
	return nil
}
