package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

var _ raft.SnapshotStore = (*snapshots)(nil)

// snapshots passes over snapshots that are damaged, and over those that the log no longer follows on. The archive
// holds all that they do, so without one the replay is longer and that is all; Raft alone would refuse to start.
type snapshots struct {
	*raft.FileSnapshotStore
	dir   string
	log   *slog.Logger
	first uint64 // the oldest entry of the log when it was opened
}

// filed is a sink that knows what Raft files its snapshot under.
type filed struct {
	raft.SnapshotSink
	index, term uint64
}

func openSnapshots(o Options, logger hclog.Logger, first, last uint64) (*snapshots, error) {
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
	// One beyond those that are kept was being removed, and what is left of it may not be whole.
	ids, err := snapshotIDs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("sweep snapshots: %w", err)
	}
	for _, id := range ids[min(len(ids), retainedSnapshots):] {
		left = append(left, filepath.Join(o.Dir, snapName, id))
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("sweep snapshots: %w", err)
		}
	}
	s := &snapshots{files, o.Dir, o.Log, first}
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

// Create begins a snapshot.
func (s *snapshots) Create(v raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(v, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, err
	}
	return filed{sink, index, term}, nil
}

// List names the snapshots that can be used, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := stored(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var whole []*raft.SnapshotMeta
	for _, c := range all {
		if c.err != nil {
			s.log.Warn("a snapshot is damaged; replaying from further back", "snapshot", c.id, "err", c.err)
			continue
		}
		if c.meta.Index+1 < s.first {
			continue // what came right after it is in the archive only, where Raft does not look
		}
		whole = append(whole, &c.meta)
	}
	return whole, nil
}

// copied is a snapshot as it lies on the disk.
type copied struct {
	id   string
	meta raft.SnapshotMeta
	head snapshotHead
	err  error // why it cannot be used
}

func (c copied) state(dir string) string { return filepath.Join(dir, snapName, c.id, "state.bin") }

// stored are the snapshots in dir, newest first, each checked from end to end. It changes nothing.
func stored(dir string) ([]copied, error) {
	ids, err := snapshotIDs(dir)
	if err != nil {
		return nil, err
	}
	var all []copied
	for _, id := range ids {
		c := copied{id: id}
		c.err = c.check(dir)
		if !errors.Is(c.err, fs.ErrNotExist) { // it has just made room for a newer one
			all = append(all, c)
		}
	}
	return all, nil
}

// snapshotIDs are the names of the finished snapshots, newest first.
func snapshotIDs(dir string) ([]string, error) {
	files, err := os.ReadDir(filepath.Join(dir, snapName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []string
	for _, f := range files {
		if indexOfID(f.Name()) > 0 {
			ids = append(ids, f.Name())
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		if x, y := indexOfID(a), indexOfID(b); x != y {
			return map[bool]int{true: -1, false: 1}[x > y]
		}
		return -bytes.Compare([]byte(a), []byte(b))
	})
	return ids, nil
}

// indexOfID is the entry that a snapshot of that name is filed under, or 0. Raft names them TERM-INDEX-MILLISECONDS.
func indexOfID(id string) uint64 {
	var term, index, at uint64
	if n, _ := fmt.Sscanf(id, "%d-%d-%d", &term, &index, &at); n != 3 || id != fmt.Sprintf("%d-%d-%d", term, index, at) {
		return 0
	}
	return index
}

// newestSnapshot and oldestSnapshot are the entries of the newest and the oldest one, by their names, or 0.
func newestSnapshot(dir string) uint64 {
	if ids, _ := snapshotIDs(dir); len(ids) > 0 {
		return indexOfID(ids[0])
	}
	return 0
}

func oldestSnapshot(dir string) uint64 {
	if ids, _ := snapshotIDs(dir); len(ids) > 0 {
		return indexOfID(ids[len(ids)-1])
	}
	return 0
}

// check reads a snapshot: Raft's checksum, the head, and that both tell the same.
func (c *copied) check(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, snapName, c.id, "meta.json"))
	if err != nil {
		return err
	}
	var meta struct {
		raft.SnapshotMeta
		CRC []byte
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return fmt.Errorf("%w: its notes cannot be read: %w", ErrCorrupt, err)
	}
	// Names are read whatever their case, and unknown ones not at all, so only what Raft itself would write will do.
	if again, err := json.Marshal(meta); err != nil || !bytes.Equal(b, append(again, '\n')) {
		return fmt.Errorf("%w: its notes are not as they were written", ErrCorrupt)
	}
	c.meta = meta.SnapshotMeta
	f, err := os.Open(c.state(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), meta.CRC) || size != meta.Size {
		return fmt.Errorf("%w: it is not what its checksum says", ErrCorrupt)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if c.head, _, err = readHead(f); err != nil {
		return err
	}
	servers := meta.Configuration.Servers
	if meta.Version != 1 || meta.ConfigurationIndex != 1 || meta.ID != c.id || indexOfID(c.id) != meta.Index || c.head.Index > meta.Index ||
		c.head.RaftIndex != 0 && (c.head.RaftIndex != meta.Index || c.head.RaftTerm != meta.Term) ||
		len(servers) != 1 || servers[0] != (raft.Server{Suffrage: raft.Voter, ID: voter, Address: voter}) {
		return fmt.Errorf("%w: its notes do not fit it", ErrCorrupt)
	}
	return nil
}
