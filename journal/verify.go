package journal

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
)

// VerifyOptions say how much is proven.
type VerifyOptions struct {
	// Machine makes a new machine. It is called for each copy of the tables that is compared with the replay.
	Machine func() Machine
	// Deep replays from the oldest anchor, or the first entry, instead of the oldest snapshot.
	Deep bool
	// Progress, when not nil, tells how far the proof is.
	Progress func(index, last uint64)
}

// Finding is something that is not as it was written.
type Finding struct {
	Index uint64 // of the entry, or of the one after which a snapshot or an anchor stands; 0 when it is none's
	File  string // in the journal's directory
	What  string
}

func (f Finding) String() string {
	if f.Index == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.What)
	}
	return fmt.Sprintf("%s, entry %d: %s", f.File, f.Index, f.What)
}

// Report is what a proof has seen. Nothing is wrong when there are no findings.
type Report struct {
	First, Last  uint64 // entries whose chain was checked
	ReplayedFrom uint64 // the tables were replayed from after this entry; 0 is the beginning
	Segments     int
	Anchors      int
	Snapshots    int
	Checkpoints  int
	Findings     []Finding
	Notes        []string // known and recorded: entries that were skipped, or are missing since a rebuild
	Took         time.Duration
}

// Err is ErrCorrupt with the first finding, or nil.
func (r Report) Err() error {
	if len(r.Findings) == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %s", ErrCorrupt, r.Findings[0])
	if n := len(r.Findings) - 1; n > 0 {
		err = fmt.Errorf("%w, and %d more findings", err, n)
	}
	return err
}

// Verify proves the journal: every link of the chain, every segment of the archive, every digest, that snapshots and
// anchors hold what the replay gives, and that no entries are gone from its end. It goes on after a finding where it
// can. The error is that the proof could not be made; what it found is in the report.
func (h *History) Verify(o VerifyOptions) (Report, error) {
	began := time.Now()
	r := Report{First: h.stats.First, Last: h.stats.Last}
	if err := h.prove(o.Machine()); err != nil {
		r.Findings = append(r.Findings, Finding{File: dbName, What: err.Error()})
	}
	r.Took = time.Since(began)
	return r, nil
}

func (h *History) prove(m Machine) error {
	if err := h.Replay(m, 0); err != nil {
		return err
	}
	last, tip, err := readTail(h.dir)
	if err != nil || last == 0 {
		return err
	}
	if last > h.stats.Last {
		return corrupt(filepath.Join(h.dir, dbName), "it ends at entry %d, and once held entry %d", h.stats.Last, last)
	}
	return h.walk(last, last, func(l *raft.Log) error {
		if [32]byte(l.Extensions) != tip {
			return corrupt(h.db.Path(), "entry %d is not the one that was once there", last)
		}
		return nil
	})
}
