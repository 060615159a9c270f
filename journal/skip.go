package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// kindSkip is the journal's own entry that overrides another one.
const kindSkip = 2

// override is its body: from the next start on, the entry with that index and hash is not applied, by any build.
type override struct {
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
	Who   string `json:"who"`
	Why   string `json:"why"`
	Build string `json:"build,omitempty"`
	Said  string `json:"said"` // what the build said about the entry that it could not apply
}

// Skip records that the entry which put the journal into safe mode shall not be applied: who decided it, why, and which
// entry by its hash. It is an entry like any other, in the chain and in the archive, and every replay honours it. It
// takes effect at the next start, which goes on behind the entry. What was decided on top of it is refused where it no
// longer fits, as by a stale revision.
func (j *Journal) Skip(ctx context.Context, index uint64, who, why string) error {
	poison, hash, bad := j.fsm.poisoned()
	switch {
	case bad == nil:
		return errors.New("skip: the journal is not in safe mode, so there is no entry to skip")
	case index != poison:
		return fmt.Errorf("skip entry %d: it is entry %d that cannot be applied", index, poison)
	case who == "" || why == "":
		return fmt.Errorf("skip entry %d: it has to say who decides that, and why", index)
	}
	o := override{Index: index, Hash: hexHash(hash), Who: who, Why: why, Build: j.o.Build, Said: firstLine(bad.Error())}
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("skip entry %d: %w", index, err)
	}
	if err := j.enter(ctx); err != nil {
		return err
	}
	_, err = j.handOver(Record{Kind: kindSkip, Version: 1, Body: body}, true).Wait(ctx)
	if errors.Is(err, ErrSafeMode) && !errors.Is(err, ErrUnknownOutcome) {
		return nil // it is durable; like everything behind the entry, it waits for the next start
	}
	return err
}

func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' {
			return s[:i]
		}
	}
	return s
}

// skipOf is the override that an entry is, if it is one.
func skipOf(l *raft.Log) (skip, bool) {
	if l.Type != raft.LogCommand {
		return skip{}, false
	}
	r, err := unseal(l.Data)
	if err != nil || r.Kind != kindSkip || r.Version != 1 {
		return skip{}, false
	}
	var o override
	if json.Unmarshal(r.Body, &o) != nil || len(o.Hash) != 64 {
		return skip{}, false
	}
	return skip{index: o.Index, hash: unhexHash(o.Hash), by: l.Index}, true
}

// skipsOf are overrides by entry.
func skipsOf(all []skip) map[uint64]skip {
	m := map[uint64]skip{}
	for _, s := range all {
		m[s.index] = s
	}
	return m
}
