package node

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"groom/notify"
)

const (
	// statusEvery is how often the service manager is told how the process is, where it does not want to know more
	// often. What did not change is not told again.
	statusEvery = 5 * time.Second
	// startPatience is what a start that gets on may take until it is heard of again.
	startPatience = time.Minute
	// startEvery bounds how often a start is heard of.
	startEvery = 250 * time.Millisecond
)

// teller tells the service manager how the process is. Without a manager it does nothing, and takes no time.
type teller struct {
	m    *notify.Manager
	log  *slog.Logger
	life context.Context // done when the process was asked to end

	toldPhase string // of the start; only the goroutine that replays changes these two
	toldAt    time.Time

	unhear func() bool // forgets about the end of the context
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// newTeller begins with the start: a process that was asked to end says so from then on.
func newTeller(ctx context.Context, o Options) *teller {
	t := &teller{m: o.Manager, log: o.Log, life: ctx, stop: func() {}, unhear: func() bool { return true }}
	if t.m != nil {
		t.unhear = context.AfterFunc(ctx, func() {
			t.heed(t.m.Stopping())
			t.heed(t.m.Status("ending"))
		})
	}
	return t
}

// starting is told by a start each time that it got on. One that gets on may take long; one that hangs is not given
// more time.
func (t *teller) starting(phase string, applied, last uint64) {
	if t.m == nil || phase == t.toldPhase && time.Since(t.toldAt) < startEvery {
		return
	}
	t.toldPhase, t.toldAt = phase, time.Now()
	words := "starting: " + phase
	if last > 0 {
		words += fmt.Sprintf(", entry %d of %d", applied, last)
	}
	t.heed(t.m.Extend(startPatience))
	t.heed(t.m.Status(words))
}

// ready says that the process does what it is for, and from now on how it goes.
func (t *teller) ready(n *Node) {
	if t.m == nil {
		return
	}
	t.heed(t.m.Ready())
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.wg.Go(func() { t.follow(ctx, n) })
}

// follow feeds the watchdog for as long as the process really gets on with its work. The manager starts a process that
// hangs anew, and its tasks live on.
func (t *teller) follow(ctx context.Context, n *Node) {
	every, patience := statusEvery, statusEvery
	if dog := t.m.Watchdog(); dog > 0 {
		// Where the host is so slow that all takes seconds, each look may take half of what the watchdog grants.
		every, patience = min(every, dog/2), dog/2
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		words := n.words()
		if t.life.Err() != nil {
			words = "ending; " + words
		}
		err := n.alive(ctx, patience)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.log.Error("no progress; the watchdog is not fed", "err", err)
			words = "no progress: " + err.Error()
		case t.m.Watchdog() > 0:
			t.heed(t.m.Well())
		}
		t.heed(t.m.Status(words))
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (n *Node) alive(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if n.Groom != nil {
		if err := n.Groom.Alive(ctx); err != nil {
			return err
		}
	}
	if n.Master != nil {
		return n.Master.Alive(ctx)
	}
	return nil
}

func (n *Node) words() string {
	var words []string
	if n.Groom != nil {
		words = append(words, n.Groom.Words())
	}
	if n.Master != nil {
		words = append(words, "a master for grooms")
		if s := n.Master.Status(); s.Health != "ok" && s.Health != "" {
			words[len(words)-1] += ": " + string(s.Health)
		}
	}
	return strings.Join(words, "; ")
}

// heed notes that the manager could not be told. The process goes on: its manager may be starting anew.
func (t *teller) heed(err error) {
	if err != nil {
		t.log.Warn("tell service manager", "err", err)
	}
}

// close ends what ready began.
func (t *teller) close() {
	t.stop()
	t.unhear()
	t.wg.Wait()
}
