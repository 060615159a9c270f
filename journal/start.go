package journal

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"
)

// A replay starts at a copy of the tables: an anchor of the archive or one of the snapshots.
type start struct {
	index uint64 // the entry that it stands after, at most
	file  string // in the journal's directory
	sum   *[32]byte
	id    string // of a snapshot
}

// starts are the copies that there are, newest first.
func (h *History) starts() ([]start, error) {
	var all []start
	ids, err := snapshotIDs(h.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, id := range ids {
		all = append(all, start{index: indexOfID(id), file: filepath.Join(snapName, id), id: id})
	}
	for _, a := range h.m.anchors {
		all = append(all, start{index: a.index, file: filepath.Join(archiveName, a.name()), sum: &a.sum})
	}
	slices.SortStableFunc(all, func(a, b start) int {
		switch {
		case a.index > b.index:
			return -1
		case a.index < b.index:
			return 1
		}
		return 0
	})
	return all, nil
}

// open checks a copy from end to end and returns its head, and the rest to restore from. Nothing of a damaged copy
// ever comes into a machine.
func (s start) open(dir string) (head snapshotHead, body io.Reader, close func() error, err error) {
	path := filepath.Join(dir, s.file)
	if s.id != "" {
		c := copied{id: s.id}
		if err := c.check(dir); err != nil {
			return head, nil, nil, err
		}
		path = c.state(dir)
	}
	f, err := os.Open(path)
	if err != nil {
		return head, nil, nil, err
	}
	var r io.Reader = f
	if s.sum != nil {
		if err = sumIs(f, *s.sum); err == nil {
			r, err = gzip.NewReader(bufio.NewReader(f))
		}
	}
	if err == nil {
		head, body, err = readHead(r)
	}
	if err != nil {
		return head, nil, nil, errors.Join(err, f.Close())
	}
	return head, body, f.Close, nil
}

// sumIs checks a file of the archive against the manifest, and goes back to its beginning.
func sumIs(f *os.File, want [32]byte) error {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if [32]byte(h.Sum(nil)) != want {
		return fmt.Errorf("%w: it does not hash to what the manifest says", ErrCorrupt)
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// begin restores m from the nearest whole copy at or before an entry, and says where it stands. A copy of another
// journal is passed over like a damaged one. Without any, the replay begins with the first entry of all.
func (h *History) begin(m Machine, near uint64) (snapshotHead, error) {
	all, err := h.starts()
	if err != nil {
		return snapshotHead{}, err
	}
	var why error
	for _, s := range all {
		if s.index > near {
			continue
		}
		head, err := h.restore(m, s)
		if err == nil {
			return head, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
			return head, err // a machine that refused a whole copy may be half restored
		}
		why = fmt.Errorf("%s: %w", s.file, err)
	}
	if h.stats.First > 1 {
		return snapshotHead{}, fmt.Errorf("%w: history is kept from entry %d on, and no anchor before entry %d can be read: %w",
			ErrMissing, h.stats.First, near, cmpError(why))
	}
	return snapshotHead{Version: 1, Hash: hexHash([32]byte{})}, nil
}

func cmpError(err error) error {
	if err == nil {
		return errors.New("there is none")
	}
	return err
}

// restore restores m from a copy that belongs to this journal.
func (h *History) restore(m Machine, s start) (snapshotHead, error) {
	head, body, close, err := s.open(h.dir)
	if err != nil {
		return head, err
	}
	err = h.belongs(head)
	if err == nil {
		if err = m.Restore(body); err != nil {
			err = fmt.Errorf("restore %s: %v", s.file, err)
		}
	}
	return head, errors.Join(err, close())
}

func (h *History) belongs(head snapshotHead) error {
	hash, err := h.hashAt(head.Index)
	if err != nil {
		return err
	}
	if hexHash(hash) != head.Hash {
		return fmt.Errorf("%w: it belongs to another journal", ErrCorrupt)
	}
	return nil
}

// hashAt is the chain after an entry, as it is stored.
func (h *History) hashAt(index uint64) (hash [32]byte, err error) {
	if index+1 < h.newest.first || index == 0 {
		return h.m.hashAt(h.dir, index)
	}
	if hash, ok := h.m.boundary(index); ok {
		return hash, nil
	}
	err = corrupt(filepath.Join(h.dir, h.newest.name), "entry %d is not there", index)
	walked := h.newest.walk(index, index, func(l *raft.Log) error {
		copy(hash[:], l.Extensions)
		err = nil
		return nil
	})
	return hash, errors.Join(walked, err)
}

// ahead runs walk in a goroutine of its own, some entries ahead of f, so that reading and applying share the work.
func ahead(walk func(f func(*raft.Log) error) error, f func(*raft.Log) error) error {
	const batchSize = 256
	batches, stop, done := make(chan []*raft.Log, 4), make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(batches)
		var batch []*raft.Log
		hand := func() error {
			select {
			case batches <- batch:
				batch = nil
				return nil
			case <-stop:
				return errEnough
			}
		}
		err := walk(func(l *raft.Log) error {
			if batch = append(batch, l); len(batch) < batchSize {
				return nil
			}
			return hand()
		})
		if len(batch) > 0 && !errors.Is(err, errEnough) {
			if stopped := hand(); stopped != nil {
				err = stopped
			}
		}
		done <- err
	}()
	for batch := range batches {
		for _, l := range batch {
			if err := f(l); err != nil {
				close(stop)
				for range batches { // until it has noticed
				}
				<-done
				return err
			}
		}
	}
	return <-done
}
