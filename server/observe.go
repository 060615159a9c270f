package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"groom/api"
	"groom/clock"
	"groom/fsm"
	"groom/fsm/table"
	"groom/journal"
)

// observe is the one way by which the tables change: decide on the tables as they are, record the decision, and
// decide again when another entry was faster. When it returns nil, the journal holds what followed from the
// observation, if anything did.
func (g *Groom) observe(ctx context.Context, o fsm.Observation) error {
	_, err := g.observeAt(ctx, o)
	return err
}

// observeAt returns the index of the entry as well, 0 when there was nothing to record.
func (g *Groom) observeAt(ctx context.Context, o fsm.Observation) (uint64, error) {
	for {
		now, seed := clock.Now(), rand.Uint64()
		var dec fsm.Decision
		var err error
		g.machine.View(func() { dec, err = fsm.Decide(g.state, o, now, seed) })
		if err != nil {
			return 0, err
		}
		if len(dec.Changes) == 0 {
			return 0, nil
		}
		body, err := fsm.Record(o, dec, now, seed)
		if errors.Is(err, fsm.ErrTooLarge) {
			return g.observeHalves(ctx, o, err)
		}
		if err != nil {
			return 0, err
		}
		g.beforeRecord(ctx, dec)
		receipt, err := g.journal.Propose(ctx, journal.Record{Kind: o.Kind(), Version: 1, Body: body})
		if err != nil {
			return 0, err
		}
		if _, stale := receipt.Result.(*table.Stale); !stale {
			return receipt.Index, nil
		}
	}
}

// observeHalves records in two entries what is too large for one. A kill between them leaves the first: whoever made
// the observation has had no answer, and makes it again.
func (g *Groom) observeHalves(ctx context.Context, o fsm.Observation, tooLarge error) (uint64, error) {
	var first, rest fsm.Observation
	var ok bool
	g.machine.View(func() { first, rest, ok = fsm.Halve(g.state, o) })
	if !ok {
		return 0, tooLarge
	}
	if _, err := g.observeAt(ctx, first); err != nil {
		return 0, err
	}
	return g.observeAt(ctx, rest)
}

// insist observes until the journal takes it or the groom stops: for what has happened already and cannot be taken
// back, such as the end of a process. A kill meanwhile loses nothing, since the exit record stays.
func (g *Groom) insist(ctx context.Context, o fsm.Observation) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := g.observe(ctx, o)
		switch {
		case err == nil:
			return
		case errors.Is(err, fsm.ErrUnknown):
			g.log.Error("record observation", "kind", fsm.Kinds()[o.Kind()], "err", err)
			return
		case ctx.Err() != nil:
			return
		}
		g.log.Warn("record observation; trying again", "kind", fsm.Kinds()[o.Kind()], "err", err, "wait", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// host is what tells one run of a machine, or of a container, from another.
type host struct {
	BootID string
	PIDNS  uint64
}

func thisHost() (host, error) {
	if clock.BootID() == "" {
		return host{}, errors.New("read boot id: /proc/sys/kernel/random/boot_id cannot be read")
	}
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/pid", &st); err != nil {
		return host{}, fmt.Errorf("read pid namespace: %w", err)
	}
	return host{BootID: clock.BootID(), PIDNS: st.Ino}, nil
}

func hostStatus() api.HostStatus {
	var s api.HostStatus
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		s.Load1 = float64(info.Loads[0]) / (1 << 16)
		s.MemTotal = info.Totalram * uint64(info.Unit)
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
				kb, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
				s.MemFree = kb << 10
			}
		}
	}
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		s.CPUs = set.Count()
	}
	return s
}
