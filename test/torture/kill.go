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
		x.killGroom()
	}
	return x.a.start("")
}

// pointPatience is how long a groom has to come to the point at which it is to die.
const pointPatience = 600 * time.Millisecond

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

// newborn kills the groom at the moment after a fork, and freezes the shim that it had just made: a host on which
// everything takes long. Then the shim wakes up, or it is killed after its task has begun, with the groom still down.
func (x *executioner) newborn(s step) error {
	x.killGroom()
	before := map[int]bool{}
	for _, pid := range x.reaper.left() {
		before[pid] = true
	}
	if err := x.a.start("supervisor.after-fork"); err != nil {
		return err
	}
	if !x.a.died(pointPatience) {
		x.killGroom()
		return x.a.start("")
	}
	x.count["point"]++
	var frozen []int
	for _, pid := range x.reaper.left() {
		if !before[pid] && syscall.Kill(pid, syscall.SIGSTOP) == nil { // a child of this process: the number is its own
			frozen = append(frozen, pid)
		}
	}
	wake := func() {
		for _, pid := range frozen {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	if s.nip {
		wake()
		x.nip(frozen, s.down)
		return x.a.start("")
	}
	if err := x.a.start(""); err != nil {
		return err
	}
	x.count["frozen"] += len(frozen)
	time.Sleep(s.down)
	wake()
	return nil
}

// nip waits until the task of a newborn shim has begun, and kills the shim, which ends the task: no groom ever saw it.
func (x *executioner) nip(shims []int, within time.Duration) {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, pid := range shims {
			v, ok := identify(pid, x.a.data, x.d.marks)
			if !ok || v.kind != ofShim {
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
	x.killGroom()
	shims := map[string]int{}
	for _, v := range x.living() {
		if v.kind == ofShim {
			shims[v.attempt] = v.pid
		}
	}
	time.Sleep(s.down)
	for _, v := range x.living() {
		if v.kind == ofShim {
			delete(shims, v.attempt)
		}
	}
	for attempt := range shims {
		x.finished[attempt] = true // and was not killed, or a kill stands in the records
	}
	if err := x.host.cut(); err != nil {
		return err
	}
	x.cuts = append(x.cuts, mark.Boot())
	x.count["power"]++
	if err := x.killAll(); err != nil {
		return err
	}
	if err := x.host.restore(x.reaper); err != nil {
		return err
	}
	return x.a.start("")
}

// killAll ends every process of the machine.
func (x *executioner) killAll() error {
	x.a.kill9()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		all := x.living()
		if len(all) == 0 {
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
