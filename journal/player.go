package journal

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/hashicorp/raft"
)

// checkpointEvery is how many applied records lie between two digests. It is part of the format: a replay takes its
// digests after the same records as the process that recorded them.
const checkpointEvery = 4096

// digestAt is a digest that was taken after an entry, and waits for the checkpoint that records it.
type digestAt struct {
	At     uint64 `json:"at"`
	Digest string `json:"digest"`
}

// checkpoint is the body of the journal's own entry. It is proposed after its digest was taken, and other records may
// come between, so it names the entry after which the digest was taken.
type checkpoint struct {
	digestAt
	Records uint64 `json:"records"` // applied up to there
	Build   string `json:"build,omitempty"`
}

// player applies records to a machine, live and offline alike.
type player struct {
	m       Machine
	every   uint64
	records uint64 // applied from the first entry on
	skips   map[uint64]skip
	due     []digestAt // oldest first; all but the newest were proposed before, or their process was killed
}

// apply applies one entry that is a command. An error says that this build cannot apply it; what the machine holds then is
// what it held before, unless the error comes from a panic.
func (p *player) apply(l *raft.Log) (result any, err error) {
	index := l.Index
	if s, ok := p.skips[index]; ok && string(s.hash[:]) == string(l.Extensions) {
		return nil, nil
	}
	r, err := unseal(l.Data)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("entry %d of kind %s: panic: %v\n%s", index, p.kind(r.Kind), v, debug.Stack())
		}
	}()
	if r.Kind < firstKind {
		return nil, p.own(index, r)
	}
	if result, err = p.m.Apply(index, r.Kind, r.Version, r.Body); err != nil {
		return nil, fmt.Errorf("entry %d of kind %s: %w", index, p.kind(r.Kind), err)
	}
	p.records++
	if p.records%p.every == 0 {
		digest := p.m.Digest()
		p.due = append(p.due, digestAt{index, hex.EncodeToString(digest[:])})
	}
	return result, nil
}

func (p *player) kind(kind uint16) string {
	if name := p.m.KindName(kind); name != "" {
		return name
	}
	return fmt.Sprint(kind)
}

// own applies an entry of the journal itself.
func (p *player) own(index uint64, r Record) error {
	if (r.Kind == kindSkip || r.Kind == kindRebuilt) && r.Version == 1 {
		return nil // a skip is known before the entry that it speaks of is met
	}
	if r.Kind != kindCheckpoint || r.Version != 1 {
		return fmt.Errorf("entry %d is the journal's own, of kind %d version %d, which this build does not know",
			index, r.Kind, r.Version)
	}
	var c checkpoint
	if err := json.Unmarshal(r.Body, &c); err != nil {
		return fmt.Errorf("entry %d: decode checkpoint: %w", index, err)
	}
	for i, d := range p.due {
		if d.At != c.At {
			continue
		}
		if d.Digest != c.Digest {
			return fmt.Errorf("after entry %d the tables hash to %s, but to %s when they were recorded by build %q: "+
				"this build replays history differently", c.At, d.Digest, c.Digest, c.Build)
		}
		p.due = append([]digestAt(nil), p.due[i+1:]...)
		return nil
	}
	return fmt.Errorf("entry %d records a digest after entry %d, where this build takes none", index, c.At)
}
