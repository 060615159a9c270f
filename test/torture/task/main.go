// Task is a program with every bad habit, which leaves a mark of each of its executions. The torture runs it.
//
//	task MARKS HABIT MS CODE [ARG...]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"groom/test/torture/mark"
)

// childLife bounds what a child that nobody ends lives.
const childLife = 2 * time.Minute

type task struct {
	marks string
	ms    time.Duration
	code  int
	args  []string
}

// habits are what a task may do. Each ends the process.
var habits = map[string]func(task){
	"plain":    func(t task) { t.live(t.begin(mark.Main)) },
	"at-once":  func(t task) { t.begin(mark.Main).Exit(t.code) },
	"ignore":   func(t task) { deaf(); t.live(t.begin(mark.Main)) },
	"setsid":   setsid,
	"fork-2":   fork2,
	"middle":   middle,
	"child":    func(t task) { deaf(); t.begin(mark.Child).Live(childLife) },
	"chain":    chain,
	"link":     link,
	"close":    closeAll,
	"flood":    flood,
	"litter":   litter,
	"exec":     execute,
	"in-group": inGroup,
	"stand":    stand,
}

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: task MARKS HABIT MS CODE [ARG...]")
		os.Exit(98)
	}
	ms, err1 := strconv.Atoi(os.Args[3])
	code, err2 := strconv.Atoi(os.Args[4])
	habit, ok := habits[os.Args[2]]
	if err1 != nil || err2 != nil || !ok {
		fmt.Fprintln(os.Stderr, "task: bad arguments", os.Args)
		os.Exit(98)
	}
	habit(task{os.Args[1], time.Duration(ms) * time.Millisecond, code, os.Args[5:]})
}

func (t task) begin(kind string) *mark.Mark {
	m, err := mark.Begin(t.marks, os.Getenv("GROOM_TASK"), os.Getenv("GROOM_ATTEMPT"), kind)
	if err != nil {
		fmt.Fprintln(os.Stderr, "task:", err)
		os.Exit(97)
	}
	return m
}

func (t task) live(m *mark.Mark) {
	m.Live(t.ms)
	m.Exit(t.code)
}

// deaf ignores what can be ignored.
func deaf() {
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGPIPE)
}

func (t task) spawn(habit string, attr *syscall.SysProcAttr, more ...int) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", t.marks, habit, "0", "0")
	cmd.SysProcAttr = attr
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // it keeps the pipes open
	for _, n := range more {
		cmd.Args = append(cmd.Args, strconv.Itoa(n))
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "task: spawn:", err)
	}
	return cmd
}

func inGroup(t task) {
	m := t.begin(mark.Main)
	t.spawn("child", nil)
	t.live(m)
}

// setsid leaves a child in a session of its own.
func setsid(t task) {
	m := t.begin(mark.Main)
	t.spawn("child", &syscall.SysProcAttr{Setsid: true})
	t.live(m)
}

// fork2 leaves a grandchild whose parent has gone.
func fork2(t task) {
	m := t.begin(mark.Main)
	_ = t.spawn("middle", &syscall.SysProcAttr{Setsid: true}).Wait()
	t.live(m)
}

func middle(t task) {
	t.spawn("child", &syscall.SysProcAttr{Setsid: true})
	os.Exit(0)
}

// chain leaves a child that goes on in another process all the time: by the time that it is looked at, it is gone.
func chain(t task) {
	m := t.begin(mark.Main)
	t.spawn("link", &syscall.SysProcAttr{Setsid: true})
	t.live(m)
}

// chainLinks bounds a chain: twenty milliseconds each.
const chainLinks = 500

func link(t task) {
	deaf()
	var m *mark.Mark
	left, fd := chainLinks, 0
	if len(t.args) == 2 {
		left, _ = strconv.Atoi(t.args[0])
		fd, _ = strconv.Atoi(t.args[1])
		m = mark.Take(fd)
	} else {
		m = t.begin(mark.Child)
		fd = m.Hand()
	}
	m.Live(20 * time.Millisecond)
	if left == 0 {
		os.Exit(0)
	}
	args := []string{"chain", t.marks, "link", "0", "0", strconv.Itoa(left - 1), strconv.Itoa(fd)}
	// The next one inherits the locked file: the mark is held as long as any link lives.
	_, err := syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		os.Exit(97)
	}
	os.Exit(0)
}

// closeAll closes every descriptor it was given before it does anything.
func closeAll(t task) {
	_ = unix.CloseRange(0, 250, 0)
	t.live(t.begin(mark.Main))
}

// flood writes as fast as it is read, mostly without a newline.
func flood(t task) {
	m := t.begin(mark.Main)
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i)
	}
	sent := 0
	for end := time.Now().Add(t.ms); time.Now().Before(end) && sent < 32<<20; sent += 2 * len(block) {
		_, _ = os.Stdout.Write(block)
		_, _ = os.Stderr.Write(block)
		m.Live(0)
	}
	m.Exit(t.code)
}

// litter leaves links to what is not its own in its working directory, and a directory that it closed.
func litter(t task) {
	m := t.begin(mark.Main)
	if len(t.args) > 0 {
		_ = os.Symlink(t.args[0], "foreign")
		_ = os.Mkdir("closed", 0o700)
		_ = os.Symlink(t.args[0], "closed/foreign")
		_ = os.Chmod("closed", 0)
	}
	t.live(m)
}

// stand tells every signal that reaches it, and ends by none that it can catch. It is a bystander, and makes no mark.
func stand(task) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals)
	for s := range signals {
		if s != unix.SIGURG { // the runtime's own
			fmt.Println(s)
		}
	}
}

// execute becomes another program, and keeps its mark.
func execute(t task) {
	t.begin(mark.Main).Hand()
	err := syscall.Exec(t.args[0], t.args, os.Environ())
	fmt.Fprintln(os.Stderr, "task: exec:", err)
	os.Exit(97)
}
