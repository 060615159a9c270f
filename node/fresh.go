package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"groom/api"
	"groom/server/disk"
	"groom/server/home"
	"groom/supervisor"
)

// Clear empties a data directory that no process holds: what still runs below its local directories is killed, then the
// journals go, and last the groom's id. So the next start is a new groom to its master, which sees the lease of the old
// one end; a groom that kept its name and forgot what it had reported would not be believed. A kill halfway leaves
// tables without processes or an id without tables, and clearing again goes on from there.
func Clear(ctx context.Context, data string, localDirs []string, log *slog.Logger) error {
	h, err := home.Open(data)
	if err != nil {
		return err
	}
	defer h.Close()
	if len(localDirs) == 0 {
		localDirs = []string{h.Path("local")}
	}
	s := supervisor.New(supervisor.Options{Log: log})
	defer s.Close()
	for _, path := range localDirs {
		d, err := disk.New(path, h.ID)
		if err != nil {
			return err
		}
		if _, err := os.Stat(d.Attempts()); err != nil {
			continue // never used, or gone with what was in it
		}
		found, err := s.Orphans(ctx, d.Attempts(), func(api.AttemptID) bool { return false })
		if err != nil {
			return fmt.Errorf("clear %s: %w", path, err)
		}
		for _, o := range found {
			log.Info("clear", "attempt", o.ID, "killed", o.Killed, "words", o.Words)
		}
	}
	for _, name := range []string{"groom", "master", "id"} {
		if err := os.RemoveAll(h.Path(name)); err != nil {
			return fmt.Errorf("clear tables: %w", err)
		}
	}
	return nil
}
