package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// crowd is the number of tasks that each contender runs.
const crowd = 50

// turns is how often each contender has its turn; they take turns, so that a noisy neighbour meets all of them.
const turns = 10

// settled is longer than any contender takes to believe in a task that it started, or waits between two starts of one.
const settled = 2 * time.Second

// contender is what keeps processes running: groom, or a peer.
type contender interface {
	name() string
	version() string         // of its package
	up() error               // starts the agent, with nothing to do
	gather() error           // asks for the crowd
	agent() int              // pid of the agent
	kill()                   // kills the agent alone
	helpers() ([]int, error) // pids of what is kept for the tasks, beside the agent
	again() error            // starts the killed agent, and returns when it says that it is ready
	down() error             // ends everything
}

// score is what was measured of a contender, a value a turn but for the crashes, of which a turn has several.
type score struct {
	started, crash, ready     []time.Duration
	helper, anonymous, all    []int64
	kept, doubled, unattended int // after the agent was killed, of all turns: same processes, second copies, ends that nobody saw
}

// crashes of a turn, each of another task.
const crashes = 3

// turn measures a contender once.
func turn(c contender, roll *call, s *score) (err error) {
	defer func() {
		if e := c.down(); err == nil {
			err = e
		}
	}()
	if err := c.up(); err != nil {
		return err
	}
	began := time.Now()
	if err := c.gather(); err != nil {
		return err
	}
	pids, err := roll.hear(crowd)
	if err != nil {
		return err
	}
	s.started = append(s.started, time.Since(began))
	time.Sleep(settled)
	for i := range crashes {
		took, next, err := crash(pids[i], roll)
		if err != nil {
			return err
		}
		pids[i] = next
		s.crash = append(s.crash, took)
	}
	if err := weigh(c, s); err != nil {
		return err
	}
	return bereave(c, roll, pids, s)
}

func crash(pid int, roll *call) (time.Duration, int, error) {
	began := time.Now()
	if err := end(pid); err != nil {
		return 0, 0, err
	}
	next, err := roll.hear(1)
	if err != nil {
		return 0, 0, err
	}
	return time.Since(began), next[0], nil
}

func weigh(c contender, s *score) error {
	anonymous, err := memory(c.agent(), "Anonymous:")
	if err != nil {
		return err
	}
	whole, err := memory(c.agent(), "Pss:")
	if err != nil {
		return err
	}
	pids, err := c.helpers()
	if err != nil {
		return err
	}
	var helpers int64
	for _, pid := range pids {
		n, err := memory(pid, "Pss:")
		if err != nil {
			return err
		}
		helpers += n
	}
	s.anonymous, s.helper, s.all = append(s.anonymous, anonymous), append(s.helper, helpers/crowd), append(s.all, whole+helpers)
	return nil
}

// bereave kills the agent, starts it again, and sees what became of the tasks: those that run on, second copies of
// them, and whether the end of one of them is still seen by anybody.
func bereave(c contender, roll *call, pids []int, s *score) error {
	c.kill()
	began := time.Now()
	if err := c.again(); err != nil {
		return err
	}
	s.ready = append(s.ready, time.Since(began))
	s.doubled += len(roll.within(crowd, settled))
	s.kept += len(asleep(pids))
	if err := end(pids[len(pids)-1]); err != nil {
		return err
	}
	if len(roll.within(1, settled)) == 0 {
		s.unattended++
	}
	return nil
}

// contest lets every contender that is installed take its turns.
func contest(all []contender, roll *call) (map[string]*score, error) {
	scores := map[string]*score{}
	for _, c := range all {
		scores[c.name()] = new(score)
	}
	for range turns {
		for _, c := range all {
			if err := turn(c, roll, scores[c.name()]); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name(), err)
			}
		}
	}
	return scores, nil
}

// peers are the columns of the table beside groom's.
var peers = []string{"supervisord", "s6"}

func contestRows(bin, dir string) ([]row, error) {
	roll, err := newCall(dir)
	if err != nil {
		return nil, err
	}
	groom, err := newAgent(bin, dir, crowd, roll)
	if err != nil {
		return nil, err
	}
	all := []contender{groom}
	if !installed("supervisord") || !installed("s6-svscan") {
		fmt.Println("a peer is not installed; hint: make bench-peers, or apt-get install supervisor s6")
	}
	if installed("supervisord") {
		s, err := newSupervisord(dir, roll)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if installed("s6-svscan") {
		s, err := newS6(dir, roll)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	scores, err := contest(all, roll)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		fmt.Printf("%s %s, %d turns\n", c.name(), c.version(), turns)
	}
	beside := func(show func(*score) string) string {
		var parts []string
		for _, name := range peers {
			if s := scores[name]; s != nil {
				parts = append(parts, name+" "+show(s))
			} else {
				parts = append(parts, name+" not installed")
			}
		}
		return strings.Join(parts, "; ")
	}
	g := scores[groom.name()]
	rows := []row{
		{
			what: "crash of a task to its new process", goal: "<= 10ms", met: median(g.crash) <= 10*time.Millisecond,
			got: ms(median(g.crash)), beside: beside(func(s *score) string { return ms(median(s.crash)) }),
		},
		{
			what: "50 tasks started, each journaled", goal: "<= 250ms", met: median(g.started) <= 250*time.Millisecond,
			got: ms(median(g.started)), beside: beside(func(s *score) string { return ms(median(s.started)) }),
		},
		{
			what: "helper memory per task (PSS)", goal: "<= 1 MiB", met: median(g.helper) <= 1<<20,
			got: kib(median(g.helper)), beside: beside(func(s *score) string { return kib(median(s.helper)) }),
		},
		{
			what: "agent's anonymous memory with 50 tasks", goal: "<= 40 MB", met: median(g.anonymous) <= 40e6,
			got: mb(median(g.anonymous)), beside: beside(func(s *score) string { return mb(median(s.anonymous)) }),
		},
		{
			what: "agent and helpers of 50 tasks together (PSS)", got: mb(median(g.all)),
			beside: beside(func(s *score) string { return mb(median(s.all)) }),
		},
		{
			what: "killed agent started again: 50 tasks adopted, ready", goal: "<= 150ms",
			met: median(g.ready) <= 150*time.Millisecond && g.kept == turns*crowd && g.doubled == 0 && g.unattended == 0,
			got: ms(median(g.ready)), beside: beside(func(s *score) string { return ms(median(s.ready)) }),
		},
		{
			what: "then: same processes, second copies, unseen ends", goal: fmt.Sprintf("%d, 0, 0 of %[1]d", turns*crowd),
			met: g.kept == turns*crowd && g.doubled == 0 && g.unattended == 0, got: g.after(), beside: beside((*score).after),
		},
	}
	return rows, nil
}

func (s *score) after() string {
	return fmt.Sprintf("%d, %d, %d of %d", s.kept, s.doubled, s.unattended, len(s.ready))
}

func end(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	return nil
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// packaged is the version of a package of the distribution.
func packaged(name string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", name).Output()
	if err != nil {
		return "of unknown version"
	}
	return string(out)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
func kib(n int64) string        { return fmt.Sprintf("%d KiB", n>>10) }
func mb(n int64) string         { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
