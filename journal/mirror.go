package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

const mirrorPrefix = "mirror-"

// mirror appends each entry that has become durable to a file that anybody may read, as bbolt locks its own. It is not
// synced, and derived: where it is lost or damaged it is written anew. But as it never runs ahead of the log, a log
// that ends before it has lost entries. A snapshot begins a new file, and what is sealed leaves with its file.
type mirror struct {
	dir string
	log *slog.Logger
	get func(uint64, *raft.Log) error

	mu   sync.Mutex
	file *os.File // nil when it could not be opened, or after Close
	size int64    // of its whole lines
	next uint64   // the entry that comes next
	ill  bool     // the last write failed
	buf  []byte
}

func mirrorName(first uint64) string { return fmt.Sprintf("%s%012d", mirrorPrefix, first) }

// mirrors are the files of a mirror and their first entries, oldest first.
func mirrors(dir string) (paths []string, first []uint64, err error) {
	files, err := os.ReadDir(filepath.Join(dir, archiveName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	for _, f := range files { // sorted by name
		var n uint64
		if _, err := fmt.Sscanf(f.Name(), mirrorPrefix+"%d", &n); err == nil && f.Name() == mirrorName(n) {
			paths, first = append(paths, filepath.Join(dir, archiveName, f.Name())), append(first, n)
		}
	}
	return paths, first, err
}

// lastMirrored is the newest whole entry of a mirror's files, or nil, and how long the newest file is up to its end.
func lastMirrored(paths []string) (l *raft.Log, size int64, err error) {
	for i, path := range slices.Backward(paths) {
		tail, at, err := lastLines(path)
		if err != nil {
			return nil, 0, err
		}
		end := bytes.LastIndexByte(tail, '\n') + 1
		if i == len(paths)-1 {
			size = at + int64(end)
		}
		if end == 0 && at > 0 {
			return nil, 0, errLine // longer than any line
		}
		if end == 0 {
			continue // it holds no whole line
		}
		line := tail[bytes.LastIndexByte(tail[:end-1], '\n')+1 : end-1]
		l, err = parseLine(line)
		return l, size, err
	}
	return nil, size, nil
}

// lastLines reads the end of a file, long enough for any line and one that is torn.
func lastLines(path string) (tail []byte, at int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	at = max(0, info.Size()-2*lineBuffer)
	tail, err = io.ReadAll(io.NewSectionReader(f, at, info.Size()-at))
	return tail, at, err
}

// openMirror goes on with the mirror. It refuses a log that the mirror has run ahead of.
func openMirror(dir string, log *slog.Logger, f *found, get func(uint64, *raft.Log) error) (*mirror, error) {
	sealed, _ := f.manifest.sealed()
	// What the newest snapshot covers is sealed next, if it is not already.
	m := &mirror{dir: dir, log: log, get: get, next: max(min(newestSnapshot(dir), f.last), sealed, f.first-1) + 1}
	paths, first, err := mirrors(dir)
	if err != nil {
		return nil, fmt.Errorf("read mirror: %w", err)
	}
	path := filepath.Join(dir, archiveName, mirrorName(m.next))
	if l, size, err := lastMirrored(paths); len(paths) > 0 {
		if err == nil && l != nil && l.Index > f.last {
			return nil, lostEnd(dir, f.last, l.Index, archiveName+"/"+filepath.Base(paths[len(paths)-1]))
		}
		next := first[len(first)-1]
		if l != nil {
			next = l.Index + 1
		}
		if err == nil && next <= f.last+1 && (l == nil || m.same(l)) {
			m.next, m.size, path = next, size, paths[len(paths)-1]
		} else {
			log.Warn("the mirror of the newest entries is damaged; it is written anew", "err", err)
			for _, p := range paths {
				if err := os.Remove(p); err != nil {
					return nil, fmt.Errorf("remove mirror: %w", err)
				}
			}
		}
	}
	m.open(path)
	m.fill(f.last + 1)
	return m, nil
}

func lostEnd(dir string, last, once uint64, witness string) error {
	return corrupt(filepath.Join(dir, dbName), "it ends at entry %d, and %s once held entry %d: its newest entries are gone",
		last, witness, once)
}

func (m *mirror) same(l *raft.Log) bool {
	var have raft.Log
	return m.get(l.Index, &have) == nil && bytes.Equal(have.Extensions, l.Extensions) &&
		bytes.Equal(have.Data, l.Data) && have.Term == l.Term
}

// open opens a file of the mirror, and cuts off a line that is torn.
func (m *mirror) open(path string) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.Size() > m.size {
			err = f.Truncate(m.size)
		}
	}
	if err != nil {
		m.failed(err)
		return
	}
	m.file = f
}

func (m *mirror) failed(err error) {
	if !m.ill {
		m.log.Warn("the newest entries cannot be mirrored; the journal itself is whole", "err", err)
	}
	m.ill = true
}

// add appends entries that have just become durable. It takes its time, a few microseconds, from Raft's main loop, so
// that a kill between the two copies is as unlikely as can be.
func (m *mirror) add(logs []*raft.Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return
	}
	if m.next < logs[0].Index {
		m.fill(logs[0].Index)
	}
	if m.next != logs[0].Index {
		return
	}
	m.buf = m.buf[:0]
	for _, l := range logs {
		m.buf = appendLine(m.buf, l)
	}
	m.write(logs[len(logs)-1].Index + 1)
}

// fill catches up with the log, up to before an entry: after an opening, or after writes that failed.
func (m *mirror) fill(end uint64) {
	for m.file != nil && m.next < end {
		m.buf = m.buf[:0]
		next := m.next
		for ; next < end && len(m.buf) < lineBuffer; next++ {
			var l raft.Log
			if err := m.get(next, &l); err != nil {
				m.failed(err)
				return
			}
			m.buf = appendLine(m.buf, &l)
		}
		if !m.write(next) {
			return
		}
	}
}

// write appends whole lines, or nothing.
func (m *mirror) write(next uint64) bool {
	n, err := m.file.Write(m.buf)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, m.file.Truncate(m.size))
		}
		m.failed(err)
		return false
	}
	m.size, m.next, m.ill = m.size+int64(n), next, false
	return true
}

// rotate begins a new file, so that the old one can go when it is sealed.
func (m *mirror) rotate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil || m.size == 0 {
		return
	}
	f, err := os.OpenFile(filepath.Join(m.dir, archiveName, mirrorName(m.next)), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		m.failed(err)
		return
	}
	_ = m.file.Close() // it was never synced
	m.file, m.size = f, 0
}

// trim removes the files all of whose entries are sealed.
func (m *mirror) trim(sealed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	paths, first, err := mirrors(m.dir)
	for i := 0; err == nil && i+1 < len(paths) && first[i+1] <= sealed+1; i++ {
		err = os.Remove(paths[i])
	}
	if err != nil {
		m.failed(err)
	}
}

func (m *mirror) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	err := m.file.Close()
	m.file = nil
	return err
}

// mirrored reads the entries of open files of a mirror, as far as they follow on entry last, and drops the line that is
// being written.
func mirrored(files []*os.File, last uint64, from, to uint64, f func(*raft.Log) error) error {
	for _, file := range files {
		err := lines(io.NewSectionReader(file, 0, 1<<62), max(from, last+1), to, func(l *raft.Log) error {
			if l.Index != last+1 && l.Index != from {
				return fmt.Errorf("%w: entry %d follows entry %d in %s", ErrMissing, l.Index, last, filepath.Base(file.Name()))
			}
			last = l.Index
			return f(l)
		})
		if err != nil && !errors.Is(err, errTorn) {
			return err
		}
	}
	return nil
}
