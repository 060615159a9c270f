package journal

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"groom/fault"
)

// An entry in the archive and in the mirror is a line that people and tools can read:
//
//	INDEX TERM TYPE NANOSECONDS HASH ENVELOPE BODY
//
// The envelope is in hex and the body is its JSON, as it is in the log. Data that would not fit on a line, such as a
// configuration of Raft, has a dash in place of the envelope and follows in base64. HASH is the chain after the entry.
const (
	lineBuffer = 256 << 10 // no line is longer
	// A segment holds about as much as lies between two snapshots: a read in the middle of it starts at its beginning.
	segmentEntries = 16 << 10
	segmentBytes   = 32 << 20 // of data
)

// appendLine adds the line of an entry to b.
func appendLine(b []byte, l *raft.Log) []byte {
	b = strconv.AppendUint(b, l.Index, 10)
	b = strconv.AppendUint(append(b, ' '), l.Term, 10)
	b = strconv.AppendUint(append(b, ' '), uint64(l.Type), 10)
	b = strconv.AppendInt(append(b, ' '), nanos(l.AppendedAt), 10)
	b = hex.AppendEncode(append(b, ' '), l.Extensions)
	if len(l.Data) < envelopeSize || bytes.IndexByte(l.Data[envelopeSize:], '\n') >= 0 {
		b = append(b, " - "...)
		return append(base64.StdEncoding.AppendEncode(b, l.Data), '\n')
	}
	b = hex.AppendEncode(append(b, ' '), l.Data[:envelopeSize])
	b = append(append(b, ' '), l.Data[envelopeSize:]...)
	return append(b, '\n')
}

var (
	errLine = errors.New("a line of it is no entry")
	errTorn = errors.New("its last line is torn")
)

// parseLine reads the line of an entry, without its end. The log shares no memory with it.
func parseLine(line []byte) (*raft.Log, error) {
	var field [6][]byte
	for i := range field {
		var ok bool
		if field[i], line, ok = bytes.Cut(line, []byte(" ")); !ok {
			return nil, errLine
		}
	}
	index, err1 := parseUint(field[0])
	term, err2 := parseUint(field[1])
	kind, err3 := parseUint(field[2])
	at, err4 := strconv.ParseInt(string(field[3]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || kind > 255 || len(field[4]) != 64 {
		return nil, errLine
	}
	l := &raft.Log{Index: index, Term: term, Type: raft.LogType(kind), Extensions: make([]byte, 32)}
	l.AppendedAt = moment(at)
	_, err := hex.Decode(l.Extensions, field[4])
	switch {
	case err != nil:
	case len(field[5]) == 1 && field[5][0] == '-':
		l.Data, err = base64.StdEncoding.AppendDecode(nil, line)
	case len(field[5]) == 2*envelopeSize:
		l.Data = make([]byte, envelopeSize+len(line))
		_, err = hex.Decode(l.Data, field[5])
		copy(l.Data[envelopeSize:], line)
	default:
		return nil, errLine
	}
	if err != nil {
		return nil, errLine
	}
	return l, nil
}

// nanos and moment carry the time that is not known, as of the first entry of all, as 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func parseUint(b []byte) (n uint64, err error) {
	if len(b) == 0 || len(b) > 19 {
		return 0, errLine
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, errLine
		}
		n = 10*n + uint64(c-'0')
	}
	return n, nil
}

// lines reads entries from index from to to, in order, and says which entry comes after the last whole line. Lines
// before from are passed over without a look at them.
func lines(r io.Reader, from, to uint64, f func(*raft.Log) error) error {
	b := bufio.NewReaderSize(r, lineBuffer)
	for {
		line, err := b.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			if err == io.EOF {
				err = errTorn
			}
			return err
		}
		if sp := bytes.IndexByte(line, ' '); sp > 0 {
			index, err := parseUint(line[:sp])
			if err == nil && index < from {
				continue
			}
			if err == nil && index > to {
				return nil
			}
		}
		l, err := parseLine(line[:len(line)-1])
		if err != nil {
			return err
		}
		if err := f(l); err != nil {
			return err
		}
	}
}

// callerError carries an error of a callback past the checks of what is read.
type callerError struct{ error }

func (e callerError) Unwrap() error { return e.error }

// read calls f for the entries of a segment from index from to to. That they follow each other by their hashes is for
// the caller to check; here they are all there, and the last one is the one that the manifest names.
func (s segment) read(dir string, from, to uint64, f func(*raft.Log) error) error {
	path := filepath.Join(dir, archiveName, s.name())
	from, to = max(from, s.first), min(to, s.last)
	if s.lost {
		return fmt.Errorf("%w: entries %d to %d were nowhere to be found when the journal was rebuilt", ErrMissing, s.first, s.last)
	}
	file, err := os.Open(path)
	if err != nil {
		return corrupt(path, "entries %d to %d cannot be read: %v", s.first, s.last, err)
	}
	defer file.Close()
	next := from
	bad := func(err error) error { return corrupt(path, "entry %d cannot be read: %v", next, err) }
	z, err := gzip.NewReader(bufio.NewReaderSize(file, 1<<16))
	if err != nil {
		return bad(err)
	}
	err = lines(z, from, to, func(l *raft.Log) error {
		if l.Index != next {
			return fmt.Errorf("entry %d stands in its place", l.Index)
		}
		if l.Index == s.last && string(l.Extensions) != string(s.out[:]) {
			return errors.New("it is not the one that the manifest names")
		}
		if err := f(l); err != nil {
			return callerError{err}
		}
		next++
		return nil
	})
	var own callerError
	switch {
	case errors.As(err, &own):
		return own.error
	case err != nil:
		return bad(err)
	case next <= to:
		return bad(io.ErrUnexpectedEOF)
	}
	return nil
}

// sink writes a file of the archive: compressed, hashed, synced, and under its name only when it is whole.
type sink struct {
	path string
	file *os.File
	hash hash.Hash
	z    *gzip.Writer
	size int64
}

func newSink(dir, name string) (*sink, error) {
	path := filepath.Join(dir, archiveName, name)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err // one that could not be finished
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o400)
	if err != nil {
		return nil, err
	}
	s := &sink{path: path, file: f, hash: sha256.New()}
	s.z, err = gzip.NewWriterLevel(s, gzip.BestSpeed)
	return s, err
}

// Write takes what was compressed.
func (s *sink) Write(b []byte) (int, error) {
	n, err := s.file.Write(b)
	s.hash.Write(b[:n])
	s.size += int64(n)
	return n, err
}

// finish gives the file its name. Its directory is synced as well, so that it is there before anything is deleted.
func (s *sink) finish() (sum [32]byte, err error) {
	err = errors.Join(s.z.Close(), s.file.Sync(), s.file.Close())
	if err != nil {
		return sum, errors.Join(err, os.Remove(s.path+".new"))
	}
	fault.Point("journal.before-seal")
	if err := os.Rename(s.path+".new", s.path); err != nil {
		return sum, err
	}
	s.hash.Sum(sum[:0])
	return sum, syncDir(filepath.Dir(s.path))
}

func (s *sink) cancel() error { return errors.Join(s.file.Close(), os.Remove(s.path+".new")) }
