package master

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"groom/api"
	"groom/server/home"
)

// shelf keeps the specs of the master's jobs by their hash. It stands beside the groom's, since a groom in the same
// data directory clears away what none of its own rows names.
type shelf struct {
	home *home.Home
	// mu keeps a spec that is about to be named by an entry from being cleared away with a job that had the same.
	mu sync.Mutex
}

const shelfDir = "submitted"

func openShelf(h *home.Home) (*shelf, error) {
	s := &shelf{home: &home.Home{Dir: h.Path(shelfDir)}}
	for _, dir := range []string{s.home.Dir, s.home.Path("specs")} {
		if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
			return nil, fmt.Errorf("make directory of specs: %w", err)
		}
	}
	// The names are durable before any spec relies on them.
	for _, dir := range []string{h.Dir, s.home.Dir} {
		if err := home.SyncDir(dir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// spec reads a job's spec back.
func (s *shelf) spec(hash string) (api.JobSpec, error) {
	var spec api.JobSpec
	b, err := s.home.Spec(hash)
	if err != nil {
		return spec, err
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return spec, fmt.Errorf("decode spec: %w", err)
	}
	return spec, nil
}

// sweep removes the specs that are not named.
func (s *shelf) sweep(named []string) error {
	entries, err := os.ReadDir(s.home.Path("specs"))
	if err != nil {
		return fmt.Errorf("read directory of specs: %w", err)
	}
	for _, e := range entries {
		if slices.Contains(named, strings.TrimSuffix(e.Name(), ".tmp")) && !strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if err := s.home.Drop("specs", e.Name()); err != nil {
			return err
		}
	}
	return nil
}
