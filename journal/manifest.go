package journal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// The archive is the second copy of the history, and the only one of what has left the log:
//
//	DIR/archive/manifest           what is in it; replaced whole, so that a kill leaves the old one or the new one
//	DIR/archive/N-M.gz             a segment: entries N to M, one on each line
//	DIR/archive/anchor-N.gz        a copy of the snapshot that stands after entry N
//	DIR/archive/mirror-N           the newest entries from N on, not synced, for readers of a living journal
//
// Segments and anchors are read-only and never change. What the manifest does not name is a leftover.
const (
	archiveName  = "archive"
	manifestName = "manifest"
)

// segment is a line of the manifest. Its entries follow those of the segment before.
type segment struct {
	first, last uint64
	from, to    time.Time // when the first and the last were stored
	in, out     [32]byte  // the chain before the first entry and after the last
	records     uint64    // that change tables, up to the last entry, counted from the very first
	sum         [32]byte  // of the file
	bytes       int64
	lost        bool // a rebuild found these entries nowhere: there is no file
}

// anchor is a copy of a snapshot from which a replay can start.
type anchor struct {
	index uint64
	hash  [32]byte // of that entry
	sum   [32]byte
	bytes int64
}

// skip is an override: the entry is not applied.
type skip struct {
	index uint64
	hash  [32]byte
	by    uint64 // the entry that says so, who decided it, and why
}

// manifest says what the archive holds.
type manifest struct {
	segments []segment
	anchors  []anchor
	skips    []skip
}

func (s segment) name() string { return fmt.Sprintf("%012d-%012d.gz", s.first, s.last) }
func (a anchor) name() string  { return fmt.Sprintf("anchor-%012d.gz", a.index) }

// sealed is the last entry of the archive and the chain after it.
func (m *manifest) sealed() (last uint64, out [32]byte) {
	if n := len(m.segments); n > 0 {
		return m.segments[n-1].last, m.segments[n-1].out
	}
	return 0, out
}

// first is the oldest entry that the archive holds, or 0.
func (m *manifest) first() uint64 {
	if len(m.segments) == 0 {
		return 0
	}
	return m.segments[0].first
}

func (m *manifest) records() uint64 {
	if n := len(m.segments); n > 0 {
		return m.segments[n-1].records
	}
	return 0
}

// at is the position of the segment that holds an entry, or of the first one after it.
func (m *manifest) at(index uint64) int {
	i, _ := slices.BinarySearchFunc(m.segments, index, func(s segment, index uint64) int {
		if s.last < index {
			return -1
		}
		return 1
	})
	return i
}

// boundary is the chain after an entry that a segment ends with, or before the first segment.
func (m *manifest) boundary(index uint64) (hash [32]byte, ok bool) {
	i := m.at(index)
	if i < len(m.segments) && m.segments[i].last == index {
		return m.segments[i].out, true
	}
	if i < len(m.segments) && m.segments[i].first == index+1 {
		return m.segments[i].in, true
	}
	return hash, false
}

func (m *manifest) clone() *manifest {
	return &manifest{slices.Clone(m.segments), slices.Clone(m.anchors), slices.Clone(m.skips)}
}

const (
	segmentLine = "segment first=%d last=%d from=%d to=%d in=%x out=%x records=%d sha256=%x bytes=%d\n"
	lostLine    = "lost first=%d last=%d from=%d to=%d in=%x out=%x records=%d\n"
	anchorLine  = "anchor index=%d hash=%x sha256=%x bytes=%d\n"
	skipLine    = "skip index=%d hash=%x by=%d\n"
	sumLine     = "sum=%x\n"
	versionLine = "v=1\n"
)

// encode is the text of the manifest. It ends with its own hash.
func (m *manifest) encode() []byte {
	b := []byte(versionLine)
	for _, s := range m.segments {
		if s.lost {
			b = fmt.Appendf(b, lostLine, s.first, s.last, nanos(s.from), nanos(s.to), s.in, s.out, s.records)
			continue
		}
		b = fmt.Appendf(b, segmentLine, s.first, s.last, nanos(s.from), nanos(s.to), s.in, s.out, s.records, s.sum, s.bytes)
	}
	for _, a := range m.anchors {
		b = fmt.Appendf(b, anchorLine, a.index, a.hash, a.sum, a.bytes)
	}
	for _, s := range m.skips {
		b = fmt.Appendf(b, skipLine, s.index, s.hash, s.by)
	}
	return fmt.Appendf(b, sumLine, sha256.Sum256(b))
}

func decodeManifest(b []byte) (*manifest, error) {
	end := bytes.LastIndex(b, []byte("\nsum=")) + 1
	if sum := fmt.Appendf(nil, sumLine, sha256.Sum256(b[:end])); end == 0 || !bytes.Equal(b[end:], sum) {
		return nil, errors.New("it does not hash to what its last line says")
	}
	if !bytes.HasPrefix(b, []byte(versionLine)) {
		return nil, errors.New("it is not of version 1, which this build reads")
	}
	m := &manifest{}
	for line := range bytes.Lines(b[len(versionLine):end]) {
		if err := m.decode(string(line)); err != nil {
			return nil, fmt.Errorf("read %q: %w", line, err)
		}
	}
	return m, m.follow()
}

func (m *manifest) decode(line string) error {
	var s segment
	var a anchor
	var k skip
	var from, to int64
	var in, out, sum, hash []byte
	var err error
	switch {
	case len(line) > 8 && line[:8] == "segment ":
		_, err = fmt.Sscanf(line, segmentLine, &s.first, &s.last, &from, &to, &in, &out, &s.records, &sum, &s.bytes)
	case len(line) > 5 && line[:5] == "lost ":
		_, err = fmt.Sscanf(line, lostLine, &s.first, &s.last, &from, &to, &in, &out, &s.records)
		s.lost = true
	case len(line) > 7 && line[:7] == "anchor ":
		_, err = fmt.Sscanf(line, anchorLine, &a.index, &hash, &sum, &a.bytes)
		copy(a.hash[:], hash)
		copy(a.sum[:], sum)
		m.anchors = append(m.anchors, a)
		return err
	case len(line) > 5 && line[:5] == "skip ":
		_, err = fmt.Sscanf(line, skipLine, &k.index, &hash, &k.by)
		copy(k.hash[:], hash)
		m.skips = append(m.skips, k)
		return err
	default:
		return errors.New("this build does not know such a line")
	}
	s.from, s.to = moment(from), moment(to)
	copy(s.in[:], in)
	copy(s.out[:], out)
	copy(s.sum[:], sum)
	m.segments = append(m.segments, s)
	return err
}

// follow checks that each segment follows the one before it.
func (m *manifest) follow() error {
	for i, s := range m.segments {
		if s.last < s.first {
			return fmt.Errorf("segment %s ends before it begins", s.name())
		}
		if i > 0 && (m.segments[i-1].last+1 != s.first || m.segments[i-1].out != s.in) {
			return fmt.Errorf("segment %s does not follow %s", s.name(), m.segments[i-1].name())
		}
	}
	return nil
}

// readManifest reads the manifest of the journal in dir. Where there is none, nothing was archived yet.
func readManifest(dir string) (*manifest, error) {
	path := filepath.Join(dir, archiveName, manifestName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &manifest{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := decodeManifest(b)
	if err != nil {
		return nil, corrupt(path, "%v", err)
	}
	return m, nil
}

// hashAt is the chain after an entry that the archive holds, or that its first one follows.
func (m *manifest) hashAt(dir string, index uint64) (hash [32]byte, err error) {
	if hash, ok := m.boundary(index); ok || index == 0 {
		return hash, nil
	}
	i := m.at(index)
	if i == len(m.segments) || m.segments[i].first > index {
		return hash, fmt.Errorf("%w: the archive does not hold entry %d", ErrMissing, index)
	}
	return hash, m.segments[i].read(dir, index, index, func(l *raft.Log) error {
		copy(hash[:], l.Extensions)
		return nil
	})
}
