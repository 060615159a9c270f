package journal

import (
	"context"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// config is Raft's. Its timeouts are the defaults: one voter does not wait for them.
func (j *Journal) config(logger hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = voter
	c.Logger = logger
	// Whatever queued while the last sync ran is the next batch.
	c.MaxAppendEntries = inFlight
	c.BatchApplyCh = true
	c.NoLegacyTelemetry = true
	// Snapshots are asked for when they are due (keep.go), not looked for by a timer.
	c.SnapshotInterval = 24 * time.Hour
	c.SnapshotThreshold = math.MaxUint64
	c.TrailingLogs = j.o.trailing
	return c
}

// raftLogger passes what Raft says on to l. What Raft thinks worth knowing is of use only when looking for a fault.
func raftLogger(l *slog.Logger) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Debug})
	logger.RegisterSink(raftSink{l})
	return logger
}

type raftSink struct{ log *slog.Logger }

// Accept logs one line of Raft.
func (s raftSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	l := slog.LevelDebug
	switch level {
	case hclog.Warn:
		l = slog.LevelInfo
	case hclog.Error:
		l = slog.LevelError
	}
	s.log.Log(context.Background(), l, "raft: "+msg, args...)
}
