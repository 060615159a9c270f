package graph

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
)

// ErrFormat is returned when a file of vertices or edges does not hold what it should. The error names file and line.
var ErrFormat = errors.New("bad graph file")

// lines calls f with the fields of each line. A last line without its end is an error: the file was cut there, and what
// is left of the line may look like a whole one.
func lines(path string, f func(line int, fields [][]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open graph: %w", err)
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<20)
	var fields [4][]byte
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s:%d: the last line %q has no end: the file is truncated: %w", path, n, line, ErrFormat)
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%s:%d: a line of more than %d bytes: %w", path, n, 1<<20, ErrFormat)
		case err != nil:
			return fmt.Errorf("read graph: %w", err)
		}
		if err := f(n, split(line[:len(line)-1], fields[:0])); err != nil {
			return fmt.Errorf("%s:%d: %q: %w", path, n, bytes.TrimSpace(line), err)
		}
	}
}

// split cuts a line at its blanks, into one field more than any line may have at most.
func split(line []byte, fields [][]byte) [][]byte {
	for len(fields) < cap(fields) {
		for len(line) > 0 && blank(line[0]) {
			line = line[1:]
		}
		if len(line) == 0 {
			break
		}
		n := 1
		for n < len(line) && !blank(line[n]) {
			n++
		}
		fields = append(fields, line[:n])
		line = line[n:]
	}
	return fields
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// vertexID reads an unsigned decimal number of 64 bits.
func vertexID(b []byte) (uint64, error) {
	if len(b) == 0 || len(b) > 20 {
		return 0, badID(b)
	}
	v := uint64(0)
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || v > (math.MaxUint64-d)/10 {
			return 0, badID(b)
		}
		v = 10*v + d
	}
	return v, nil
}

func badID(b []byte) error {
	return fmt.Errorf("%q is not an unsigned number of 64 bits: %w", b, ErrFormat)
}

func weight(b []byte) (float64, error) {
	w, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(w) {
		return 0, fmt.Errorf("weight %q is not a number: %w", b, ErrFormat)
	}
	return w, nil
}
