package server

import (
	"context"
	"fmt"

	"groom/api"
	"groom/fsm"
)

// Alive returns nil while the groom gets on with its work: its journal turns, its tables can be read, and its
// reconciler comes round. In safe mode there is no reconciler. Looking changes nothing.
func (g *Groom) Alive(ctx context.Context) error {
	if err := g.journal.Turns(ctx); err != nil {
		return err
	}
	g.machine.View(func() {}) // one that hangs in an entry keeps the caller from telling that all is well
	if g.safe() || g.journal.Stats().Health != string(api.HealthOK) {
		return nil
	}
	select {
	case g.looks <- struct{}{}:
		return nil
	case <-ctx.Done():
		if g.journal.Stats().Health != string(api.HealthOK) {
			return nil // it waits for space, to record something
		}
		return fmt.Errorf("wait for reconciler: %w", ctx.Err())
	}
}

// Words is the state of the groom in a line. It asks no file system, which could hang.
func (g *Groom) Words() string {
	tasks := 0
	g.machine.View(func() {
		for _, a := range g.state.Attempts.All() {
			if a.State != fsm.AttemptEnded {
				tasks++
			}
		}
	})
	words := fmt.Sprintf("%d tasks run", tasks)
	if tasks == 1 {
		words = "1 task runs"
	}
	if s := g.journal.Stats(); s.Health != string(api.HealthOK) {
		return fmt.Sprintf("%s; %s: %s", words, s.Health, s.Reason)
	}
	if why := g.link.trouble(); why != "" {
		return words + "; " + why
	}
	if _, reached, _ := g.link.master(); !reached {
		return words + "; no master was reached yet"
	}
	return words + "; the master answers"
}
