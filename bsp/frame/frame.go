// Package frame encodes the frames of the BSP control stream, which package api describes, for both of its ends.
package frame

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"groom/api"
)

// Limit bounds the body of a frame, in bytes: a table of peers or of counts is far smaller.
const Limit = 16 << 20

// ErrSize is returned when a frame is empty, or larger than Limit.
var ErrSize = errors.New("bad frame size")

const head = 5 // uint32 length of type and body, then the type

// Append adds a frame with this body, as JSON, to b.
func Append(b []byte, t api.FrameType, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return b, fmt.Errorf("encode frame: %w", err)
	}
	if len(text) > Limit {
		return b, fmt.Errorf("encode frame of %d bytes: %w", len(text), ErrSize)
	}
	return AppendRaw(b, t, text), nil
}

// AppendRaw adds a frame with a body that is JSON already, and within Limit.
func AppendRaw(b []byte, t api.FrameType, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(body)))
	b = append(b, byte(t))
	return append(b, body...)
}

// Read reads one frame. It returns io.EOF only between frames.
func Read(r io.Reader) (api.FrameType, []byte, error) {
	var h [head]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[:])
	if n < 1 || n-1 > Limit {
		return 0, nil, fmt.Errorf("read frame of %d bytes: %w", n, ErrSize)
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	return api.FrameType(h[4]), body, nil
}
