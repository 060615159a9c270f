package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"groom/test/torture/mark"
)

// killing is one process that the harness ended, or had ended.
type killing struct {
	kind, attempt string
	at            int64
}

// span is a stretch of time, in nanoseconds of the boot clock.
type span struct{ from, to int64 }

// executioner carries out the steps, and keeps what it did: what the oracle may explain an end with.
type executioner struct {
	a      *agent
	host   *host
	reaper *reaper
	d      dirs

	kills    []killing
	count    map[string]int  // kills by kind
	cuts     []int64         // losses of power
	armed    []span          // in which shims died at points
	finished map[string]bool // attempts whose shim had gone by itself before a loss of power
}

func (x *executioner) living() []victim { return living(x.a.data, x.d.marks) }

func (x *executioner) killed(kind, attempt string) {
	x.kills = append(x.kills, killing{kind, attempt, mark.Boot()})
	x.count[kind]++
}

func (x *executioner) kill(v victim) {
	// The record comes first: the end may be seen before this returns.
	x.kills = append(x.kills, killing{v.kind, v.attempt, mark.Boot()})
	if v.send(x.a.data, x.d.marks, syscall.SIGKILL) {
		x.count[v.kind]++
	}
}

func (x *executioner) killOne(kind string, share float64) {
	if v, ok := pick(x.living(), kind, share); ok {
		x.kill(v)
	}
}

func (x *executioner) killGroom() {
	x.a.kill9()
	x.killed(ofGroom, "")
}

// carryOut does one step. An error is a finding: a groom that does not come back.
func (x *executioner) carryOut(s step) error {
	time.Sleep(s.pause)
	var err error
	switch s.kind {
	case stepShim:
		x.killOne(ofShim, s.share)
	case stepTask:
		x.killOne(ofTask, s.share)
	case stepChild:
		x.killOne(ofChild, s.share)
	case stepBoth:
		all := x.living()
		for kind, share := range map[string]float64{ofShim: s.share, ofTask: s.shares[0]} {
			if v, ok := pick(all, kind, share); ok {
				x.kill(v)
			}
		}
	case stepGroom:
		err = x.groom(s)
	case stepPoint:
		err = x.point(s)
	case stepNewborn:
		err = x.newborn(s)
	case stepFreeze:
		x.freeze(s)
	case stepPower:
		err = x.power(s)
	}
	if err == nil && s.await {
		err = x.a.ready()
	}
	return err
}

// groom kills the groom, what the plan says while it is down, and the groom again on its way up.
func (x *executioner) groom(s step) error {
	x.killGroom()
	time.Sleep(s.down / 2)
	for i, kind := range []string{ofShim, ofTask, ofChild} {
		if s.also[i] {
			x.killOne(kind, s.shares[i])
		}
	}
	time.Sleep(s.down / 2)
	for _, after := range s.early {
		if err := x.a.start(""); err != nil {
			return err
		}
		time.Sleep(after)
		x.a.kill9()
		x.killed("starting", "")
	}
	return x.a.start("")
}

// How long a groom has to come to the point at which it is to die.
const (
	pointPatience = 400 * time.Millisecond
	forkPatience  = 2 * time.Second // until there is something to launch
)

// point starts a groom that dies at a point, as do its shims at theirs.
func (x *executioner) point(s step) error {
	x.killGroom()
	from := mark.Boot()
	if err := x.a.start(s.point); err != nil {
		return err
	}
	if x.a.died(pointPatience) {
		x.count["point"]++
	} else {
		x.killGroom()
	}
	x.armed = append(x.armed, span{from, mark.Boot()})
	return x.a.start("")
}

// newborn kills the groom at the moment after a fork, and freezes the shim that it has just made: a host on which
// everything takes long. Then the shim wakes up, or it is killed after its task has begun, with the groom still down.
func (x *executioner) newborn(s step) error {
	x.killGroom()
	before := map[string]bool{}
	for _, v := range x.living() {
		before[v.attempt] = true
	}
	if err := x.a.start("supervisor.after-fork"); err != nil {
		return err
	}
	if s.nip {
		if x.a.died(forkPatience) {
			x.count["point"]++
			x.nip(before, s.down)
		} else {
			x.killGroom()
		}
		return x.a.start("")
	}
	frozen := x.freezeFirst(before)
	x.killGroom()
	if err := x.a.start(""); err != nil {
		return err
	}
	time.Sleep(s.down)
	for _, v := range frozen {
		v.send(x.a.data, x.d.marks, syscall.SIGCONT)
	}
	return nil
}

// freezeFirst looks at the groom's children, and once the groom has died at those that it left to this process, without
// a pause until the first new shim executes, and stops it before it has done much: it has one millisecond for that.
func (x *executioner) freezeFirst(before map[string]bool) []victim {
	dead := 0
	for deadline := time.Now().Add(forkPatience); time.Now().Before(deadline) && dead < 10; {
		of := x.a.cur.pid
		if x.a.cur.ended() {
			of = os.Getpid()
			dead++
		}
		for _, pid := range childrenOf(of) {
			v, ok := identify(pid, x.a.data, x.d.marks)
			if ok && v.kind == ofShim && !before[v.attempt] && v.send(x.a.data, x.d.marks, syscall.SIGSTOP) {
				x.count["frozen"]++
				return []victim{v}
			}
		}
	}
	return nil
}

// nip waits until the task of a newborn shim has begun, and kills the shim, which ends the task: no groom ever saw it.
func (x *executioner) nip(before map[string]bool, within time.Duration) {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, v := range x.living() {
			if v.kind != ofShim || before[v.attempt] {
				continue
			}
			marks, _ := filepath.Glob(filepath.Join(x.d.marks, "*", v.attempt+"."+mark.Main+".*"))
			if len(marks) > 0 && mark.Held(marks[0]) {
				x.kill(v)
				return
			}
		}
	}
}

// freeze stops a process for a while, as a host does that swaps or sleeps.
func (x *executioner) freeze(s step) {
	kind := []string{ofGroom, ofShim, ofTask}[int(s.share*3)%3]
	x.count["frozen"]++
	if kind == ofGroom {
		x.a.send(syscall.SIGSTOP)
		defer x.a.send(syscall.SIGCONT)
	} else if v, ok := pick(x.living(), kind, s.shares[0]); ok && v.send(x.a.data, x.d.marks, syscall.SIGSTOP) {
		defer v.send(x.a.data, x.d.marks, syscall.SIGCONT)
	}
	time.Sleep(s.down)
}

// power takes the power from the machine: what was not synced is lost, and every process ends. Before it, the groom is
// away for a while, so that some tasks end, and their shims, and nobody is there to see it.
func (x *executioner) power(s step) error {
	if err := x.a.ready(); err != nil {
		return err
	}
	time.Sleep(s.down)
	x.killGroom()
	before := x.shims()
	for deadline := time.Now().Add(2 * s.down); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if now := x.shims(); len(now) < len(before) {
			for attempt := range before {
				if !now[attempt] {
					x.finished[attempt] = true // if it was killed, that stands in the records
				}
			}
			break
		}
	}
	if err := x.host.cut(); err != nil {
		return err
	}
	x.cuts = append(x.cuts, mark.Boot())
	x.count["power"]++
	if err := x.host.restore(x.reaper, x.killAll); err != nil {
		return err
	}
	return x.a.start("")
}

// shims names the attempts whose shims live.
func (x *executioner) shims() map[string]bool {
	found := map[string]bool{}
	for _, v := range x.living() {
		if v.kind == ofShim {
			found[v.attempt] = true
		}
	}
	return found
}

// killAll ends every process of the machine. Between its fork and its exec a process does not show what it is: only
// several looks in a row that find nothing are an end.
func (x *executioner) killAll() error {
	x.a.kill9()
	quiet := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		all := x.living()
		if quiet++; len(all) > 0 {
			quiet = 0
		}
		if quiet == 4 {
			return nil
		}
		for _, v := range all {
			v.send(x.a.data, x.d.marks, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("processes do not end: %v", x.living())
}

// dirs is where a round keeps what.
type dirs struct {
	run, marks, foreign, outputs string
	task, pi                     string // programs
}

func makeDirs(run, bin string) (dirs, error) {
	d := dirs{
		run: run, marks: filepath.Join(run, "marks"), foreign: filepath.Join(run, "foreign"), outputs: filepath.Join(run, "outputs"),
		task: filepath.Join(bin, "task"), pi: filepath.Join(bin, "pi"),
	}
	for _, dir := range []string{d.marks, d.foreign, d.outputs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d dirs) output(job int) string { return filepath.Join(d.outputs, fmt.Sprint(job)) }
