// Package ctl is the layout of an attempt's directory, and the files in it that the groom and the shim exchange.
//
//	ctl/    0700, the groom's: spec, lock, claim, shim, start, sock, exit
//	log/    stdout.<offset> and stderr.<offset>, named by the offset of their first byte
//	work/   the task's working directory
package ctl

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Directories and files of an attempt, relative to its directory.
const (
	Dir   = "ctl"
	Log   = "log"
	Work  = "work"
	Spec  = "ctl/spec"
	Lock  = "ctl/lock"
	Claim = "ctl/claim"
	Shim  = "ctl/shim"
	Start = "ctl/start"
	Exit  = "ctl/exit"
	Sock  = "sock" // relative to Dir
)

// Version is the version of every file written here. Readers take the keys they know of any version.
const Version = "1"

var (
	// ErrTorn is returned when a record's checksum does not match.
	ErrTorn = errors.New("record is torn")
	// ErrNotRecord is returned when a file is not in lines of key=value that begin with a version, or is an exit
	// record that tells no end.
	ErrNotRecord = errors.New("not a record")
)

// Record is a file of lines key=value. A key may come more than once; Get answers the last.
type Record []Pair

// Pair is one line of a record.
type Pair struct{ Key, Value string }

// Add appends a line.
func (r Record) Add(key, value string) Record { return append(r, Pair{key, value}) }

// Get is the value of a key, or "".
func (r Record) Get(key string) string {
	for i := len(r) - 1; i >= 0; i-- {
		if r[i].Key == key {
			return r[i].Value
		}
	}
	return ""
}

// All is every value of a key, in order.
func (r Record) All(key string) []string {
	var values []string
	for _, p := range r {
		if p.Key == key {
			values = append(values, p.Value)
		}
	}
	return values
}

// Int is the value of a key as a number, 0 when it is absent.
func (r Record) Int(key string) int64 {
	n, err := strconv.ParseInt(r.Get(key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Bytes writes the record, with its version first.
func (r Record) Bytes() []byte {
	var b strings.Builder
	b.WriteString("v=" + Version + "\n")
	escape := strings.NewReplacer("\\", `\\`, "\n", `\n`)
	for _, p := range r {
		b.WriteString(p.Key + "=" + escape.Replace(p.Value) + "\n")
	}
	return []byte(b.String())
}

// Parse reads a record of any version.
func Parse(b []byte) (Record, error) {
	if !strings.HasPrefix(string(b), "v=") {
		return nil, ErrNotRecord
	}
	var r Record
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok {
			return nil, ErrNotRecord
		}
		r = r.Add(key, unescape(value))
	}
	return r, nil
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			if c = s[i]; c == 'n' {
				c = '\n'
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Read reads a record of the attempt in dir.
func Read(dir, name string) (Record, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	r, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return r, nil
}

// ReadExit reads the exit record and checks its sum. A record without a valid sum proves nothing, and one with neither
// a wait status nor the step that failed must not be taken for a code of 0.
func ReadExit(dir string) (Record, error) {
	b, err := os.ReadFile(filepath.Join(dir, Exit))
	if err != nil {
		return nil, fmt.Errorf("read exit record: %w", err)
	}
	at := strings.LastIndex(string(b), "\nsum=") + 1
	if at == 0 || string(b[at:]) != fmt.Sprintf("sum=%016x\n", Sum(b[:at])) {
		return nil, fmt.Errorf("read exit record: %w", ErrTorn)
	}
	r, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read exit record: %w", err)
	}
	if _, err := strconv.ParseUint(r.Get("status"), 10, 32); err != nil && r.Get("step") == "" {
		return nil, fmt.Errorf("read exit record: %w", ErrNotRecord)
	}
	return r, nil
}

// Sum is the checksum that closes an exit record: FNV-1a over every byte before its own line.
func Sum(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

// Has says whether a file of the attempt exists. An error other than its absence is told, never guessed away.
func Has(dir, name string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", name, err)
	}
	return true, nil
}
