package web

import (
	"bytes"
	"context"
	"unicode/utf8"

	"groom/api"
)

// logShown is how much of a stream a page shows at once, in bytes.
const logShown = 64 << 10

// logPage is a part of the streams of one attempt, the newest unless told.
type logPage struct {
	api.TaskView
	N        int // of the attempt
	Attempts []api.AttemptView
	AID      api.AttemptID
	Streams  []logPart
	Follow   bool   // the newest part is shown, and the attempt goes on
	After    string // where following goes on, as the id of an event
	Only     string // the one stream that is asked for
}

// logPart is what is shown of one stream.
type logPart struct {
	Stream string `json:"stream"`
	Offset int64  `json:"offset"` // where the text begins
	Next   int64  `json:"next"`   // where it ends
	Gap    int64  `json:"gap,omitempty"`
	Text   string `json:"text"`
	End    bool   `json:"end,omitempty"` // there will not be more
	More   bool   `json:"-"`             // there is more already
}

// Earlier is where the part before this one begins.
func (p logPart) Earlier() int64 { return max(0, p.Offset-logShown) }

func (p logPage) twin() any {
	return struct {
		Attempt api.AttemptID `json:"attempt,omitempty"`
		Streams []logPart     `json:"streams"`
	}{p.AID, p.Streams}
}

func newLogPage(ctx context.Context, v Views, d api.TaskDetail, n int, q logQuery) (logPage, error) {
	p := logPage{TaskView: d.TaskView, N: n, Attempts: d.Attempts, Streams: []logPart{}, Only: q.stream}
	if n == 0 {
		return p, nil // not started yet
	}
	p.AID = q.attempt
	if !q.from {
		q.offset = -logShown
	}
	after := seen{}
	for _, name := range streams {
		if q.stream != "" && q.stream != name {
			continue
		}
		part, err := readPart(ctx, v, q, name)
		if err != nil {
			return p, err
		}
		p.Streams = append(p.Streams, part)
		after[name] = uint64(part.Next)
		p.Follow = p.Follow || !part.End
	}
	p.Follow = p.Follow && !q.from
	p.After = after.String()
	return p, nil
}

// readPart reads at most logShown bytes. What begins within a line begins with the next one.
func readPart(ctx context.Context, v Views, q logQuery, stream string) (logPart, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	part := logPart{Stream: stream}
	chunks, err := v.Logs(ctx, q.attempt, stream, q.offset, false)
	if err != nil {
		return part, err
	}
	var text []byte
	first := true
	for c, err := range chunks {
		if err != nil {
			return part, err
		}
		if first {
			part.Offset, part.Gap, part.Next, first = c.Offset, c.Gap, c.Offset, false
		}
		part.End = c.End
		if room := logShown - len(text); len(c.Data) > room || c.Offset != part.Next {
			// It is full, or a gap comes: the next part begins there.
			if c.Offset == part.Next {
				text = append(text, c.Data[:room]...)
				part.Next += int64(room)
			}
			part.More, part.End = true, false
			break
		}
		text = append(text, c.Data...)
		part.Next = c.Offset + int64(len(c.Data))
	}
	if i := bytes.IndexByte(text, '\n'); !q.from && part.Offset > 0 && part.Gap == 0 && i >= 0 {
		text, part.Offset = text[i+1:], part.Offset+int64(i)+1
	}
	if !part.End {
		whole := wholeRunes(text)
		part.Next -= int64(len(text) - len(whole))
		text = whole
	}
	part.Text = readable(text)
	return part, nil
}

// wholeRunes leaves out the beginning of a character at the end of b: its rest comes with the next piece.
func wholeRunes(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// readable is text for a page: what is not UTF-8 shows as a mark.
func readable(b []byte) string { return string(bytes.ToValidUTF8(b, []byte("\uFFFD"))) }
