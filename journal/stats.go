package journal

import (
	"os"
	"path/filepath"
	"time"
)

// The degrees of a journal's health.
const (
	healthOK      = "ok"
	healthNoSpace = "nospace"
	healthSafe    = "safe-mode"
)

// Stats are the figures of a journal.
type Stats struct {
	First, Last, Applied, Snapshot uint64
	Records                        uint64 // applied since open, and counted in all (see Total)
	Total                          uint64
	FileBytes                      int64
	ChainTip                       [32]byte
	Replayed                       uint64        // entries applied while opening
	OpenTook                       time.Duration // open, chain check, replay, barrier
	Health                         string        // "ok", "nospace", "safe-mode"
	Reason                         string
}

// Stats tells how the journal is. It is cheap enough for every page and every beat.
func (j *Journal) Stats() Stats {
	s := Stats{First: 1, Replayed: j.replayed, OpenTook: j.took, Health: healthOK}
	s.Last, s.ChainTip = j.guard.position()
	s.FileBytes = fileBytes(j.o.Dir)
	if why := j.space.reason(); why != nil {
		s.Health, s.Reason = healthNoSpace, why.Error()
	}
	j.fsm.mu.Lock()
	defer j.fsm.mu.Unlock()
	s.Applied, s.Snapshot = j.fsm.applied, j.fsm.snapshot
	s.Records, s.Total = j.fsm.fresh, j.fsm.player.records
	if j.fsm.bad != nil {
		s.Health, s.Reason = healthSafe, safeMode(j.fsm.bad).Error()
	}
	return s
}

func fileBytes(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, dbName))
	if err != nil {
		return 0
	}
	return info.Size()
}
