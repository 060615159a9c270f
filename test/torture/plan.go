package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"groom/api"
	"groom/job"
)

// step is one cycle of the torture: something is killed, in a way that the seed decides. Which process it hits depends
// on what lives by then; the plan holds the share of the list that is chosen.
type step struct {
	kind   string
	pause  time.Duration // before it
	share  float64
	shares [3]float64 // of the further victims, while the groom is down
	also   [3]bool    // a shim, a task, a child
	down   time.Duration
	early  []time.Duration // kills of the groom on its way up, each so long after its start
	point  string
	await  bool // that the groom serves before the next step
	nip    bool // the newborn shim is killed, instead of woken again
}

// The kinds of step.
const (
	stepGroom   = "groom"   // kill the groom, maybe others while it is down, maybe itself again while it starts
	stepShim    = "shim"    // kill a shim; its task dies with it
	stepTask    = "task"    // kill a task
	stepChild   = "child"   // kill what a task made
	stepBoth    = "both"    // kill a shim and a task of another attempt at the same moment
	stepPoint   = "point"   // have the groom, or its shims, die at a point of the code
	stepNewborn = "newborn" // kill the groom right after a fork, and freeze the shim that it had just made
	stepFreeze  = "freeze"  // freeze groom, shim or task for a while
	stepPower   = "power"   // the machine loses its power
)

// weights say how often each kind of step comes.
var weights = []struct {
	kind   string
	weight int
}{
	{stepGroom, 30}, {stepShim, 14}, {stepTask, 20}, {stepChild, 8}, {stepBoth, 6}, {stepPoint, 10}, {stepNewborn, 8}, {stepFreeze, 4},
}

// powerWeight is that of a loss of power, on a host where that can be had.
const powerWeight = 10

// points are the places in the code at which a process dies when it is told to.
var points = []string{
	"home.before-rename", "journal.before-store", "journal.after-store", "journal.before-tail", "journal.after-tail",
	"server.before-committed", "server.before-move",
	"shim.before-claim", "shim.before-end", "shim.before-exit", "shim.before-rename", "shim.before-shim", "shim.before-spec",
	"shim.before-start", "shim.before-task",
	"supervisor.after-fork", "supervisor.after-order", "supervisor.before-ended", "supervisor.before-fork", "supervisor.before-lock",
	"supervisor.before-look", "supervisor.before-mkdir", "supervisor.before-order", "supervisor.before-remove",
	"supervisor.before-second-look", "supervisor.before-spec", "supervisor.before-started", "supervisor.before-sweep-kill",
}

// deepFreeze is longer than a groom waits for a shim to come to life.
const deepFreeze = 6 * time.Second

// planOf draws the steps of one round from its seed.
func planOf(seed uint64, n int, power bool) []step {
	rng := rand.New(rand.NewPCG(seed, 1))
	total := 0
	if power {
		total = powerWeight
	}
	for _, w := range weights {
		total += w.weight
	}
	steps := make([]step, n)
	for i := range steps {
		steps[i] = draw(rng, total)
	}
	return steps
}

func draw(rng *rand.Rand, total int) step {
	s := step{
		kind: stepPower, pause: upTo(rng, 60*time.Millisecond), share: rng.Float64(), down: upTo(rng, 60*time.Millisecond),
		await: rng.IntN(10) < 5, nip: rng.IntN(2) == 0,
	}
	at := rng.IntN(total)
	for _, w := range weights {
		if at -= w.weight; at < 0 {
			s.kind = w.kind
			break
		}
	}
	for i := range s.also {
		s.also[i], s.shares[i] = rng.IntN(3) == 0, rng.Float64()
	}
	for rng.IntN(5) < 2 && len(s.early) < 4 {
		s.early = append(s.early, upTo(rng, 150*time.Millisecond))
	}
	s.point = fmt.Sprintf("%s#%d", points[rng.IntN(len(points))], 1+rng.IntN(4))
	switch {
	case s.kind == stepNewborn && rng.IntN(25) == 0:
		s.down, s.nip = deepFreeze, false
	case s.kind == stepNewborn || s.kind == stepFreeze:
		s.down = 200*time.Millisecond + upTo(rng, 500*time.Millisecond)
	case s.kind == stepPower:
		s.down = upTo(rng, 300*time.Millisecond)
	}
	return s
}

func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }

// missing is a command that no host has.
const missing = "no-such-command-of-the-torture"

// jobOf draws job number i of a round. Its spec is the same however often it is handed in.
func jobOf(seed uint64, i int, d dirs) api.JobSpec {
	spec := drawn(seed, i, d)
	job.Defaults(&spec)
	return spec
}

func drawn(seed uint64, i int, d dirs) api.JobSpec {
	rng := rand.New(rand.NewPCG(seed, 1000+uint64(i)))
	ms := 20 + rng.IntN(600)
	code := []int{0, 0, 0, 1, 3, 42, 255}[rng.IntN(7)]
	spec := api.JobSpec{
		Name: fmt.Sprintf("j%d", i), Type: api.Plain, Tasks: 1 + rng.IntN(3),
		Env:     map[string]string{envMarks: d.marks},
		Stop:    api.Stop{Signal: "SIGTERM", Grace: api.Duration(50*time.Millisecond + upTo(rng, 200*time.Millisecond))},
		Restart: api.Restart{Limit: 1 + rng.IntN(3), Backoff: api.Duration(20 * time.Millisecond), MaxBackoff: api.Duration(200 * time.Millisecond)},
		Logs:    api.Logs{MaxSize: 64 << 10, MaxFiles: 2},
	}
	habits := []string{
		"plain", "plain", "at-once", "at-once", "ignore", "setsid", "fork-2", "chain", "close", "flood", "litter", "in-group", "long", "missing", "bsp",
	}
	habit := habits[rng.IntN(len(habits))]
	switch habit {
	case "long": // until somebody ends it
		habit, ms = "setsid", 120_000
	case "missing":
		spec.Command = []string{missing}
		return spec
	case "bsp":
		spec.Type, spec.Output, spec.Restart = api.BSP, d.output(i), api.Restart{Limit: 3}
		spec.Config = map[string]string{"samples": "200000"}
		spec.Command = []string{d.task, d.marks, "exec", "0", "0", d.pi}
		return spec
	}
	spec.Command = []string{d.task, d.marks, habit, fmt.Sprint(ms), fmt.Sprint(code), d.foreign}
	return spec
}
