package frame

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"groom/api"
)

func TestFrames(t *testing.T) {
	var b []byte
	for step := range 3 {
		var err error
		if b, err = Append(b, api.FrameArrive, api.Arrive{Step: step}); err != nil {
			t.Fatal(err)
		}
	}
	r := bytes.NewReader(b)
	for step := range 3 {
		kind, body, err := Read(r)
		if err != nil || kind != api.FrameArrive || !strings.Contains(string(body), `"step":`+string(rune('0'+step))) {
			t.Errorf("frame %d: type %d, %s, %v", step, kind, body, err)
		}
	}
	if _, _, err := Read(r); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
	if _, err := Append(nil, api.FrameArrive, func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestTornFrames(t *testing.T) {
	whole := AppendRaw(nil, api.FrameHello, []byte("{}"))
	for n := 1; n < len(whole); n++ {
		if _, _, err := Read(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d: %v", n, len(whole), err)
		}
	}
	for name, b := range map[string][]byte{
		"empty":     {0, 0, 0, 0, 1},
		"too large": {1, 0, 0, 2, 1},
	} {
		if _, _, err := Read(bytes.NewReader(b)); !errors.Is(err, ErrSize) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
