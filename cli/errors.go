package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"groom/api"
	"groom/job"
	"groom/journal"
	"groom/node"
	"groom/server"
	"groom/server/home"
)

// Exit statuses. They are part of the interface: see docs/cli.md.
const (
	exitOK          = 0
	exitFailed      = 1   // the job failed, or what was asked for could not be done
	exitUsage       = 2   // the command line or the job file is wrong
	exitNoAgent     = 3   // nobody answers at the address
	exitDiffers     = 3   // of journal redecide, which asks nobody: a decision would differ
	exitNotRun      = 4   // the job was killed or stopped before its end
	exitUnfit       = 5   // of doctor: a check failed
	exitInterrupted = 130 // by SIGINT or SIGTERM
)

// failure is an error with the exit status that it means and, where there is one, the command that helps.
type failure struct {
	err  error
	hint string
	code int
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, err error, hint string, args ...any) error {
	return &failure{err: err, hint: fmt.Sprintf(hint, args...), code: code}
}

func usage(cmd *cobra.Command, err error) error {
	return fail(exitUsage, err, "%s --help", cmd.CommandPath())
}

// tell prints an error as people read it, with a hint, and returns the exit status.
func tell(w io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = explain(cmd, err)
	}
	if text := f.Error(); text != "" {
		for line := range strings.Lines(text) {
			fmt.Fprintf(w, "groom: error: %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	if f.hint != "" {
		fmt.Fprintf(w, "groom: hint: %s\n", f.hint)
	}
	return f.code
}

// explain finds the hint for an error of the packages below.
func explain(cmd *cobra.Command, err error) *failure {
	f := &failure{err: err, code: exitFailed}
	problem, isProblem := errors.AsType[*api.Problem](err)
	_, isAddr := errors.AsType[*net.AddrError](err)
	_, isMistake := errors.AsType[*job.Mistake](err)
	switch {
	case strings.HasPrefix(err.Error(), "unknown command"):
		f.code, f.hint = exitUsage, cmd.CommandPath()+" --help"
	case isMistake:
		f.code, f.hint = exitUsage, "docs/job.md describes every field; check the file with groom job validate FILE"
	case isProblem:
		f.hint = problem.Hint
		if problem.Code == api.CodeToken && f.hint == "" {
			f.hint = "name the agent's data directory with --data, or its token with --token-file"
		}
	case isAddr:
		f.code, f.hint = exitUsage, "an address is HOST:PORT, such as 127.0.0.1:40015"
	case errors.Is(err, home.ErrInUse):
		f.hint = "stop that process, or give this one a data directory of its own with --data"
	case errors.Is(err, server.ErrNoDirectory):
		f.hint = "make room, or name another directory with --local-dir"
	case errors.Is(err, node.ErrExposed):
		f.hint = "listen on 127.0.0.1, or add --insecure if everybody who reaches that address may be trusted"
	case errors.Is(err, syscall.EADDRINUSE):
		f.hint = "name another port, see the -addr flags of " + cmd.CommandPath() + " --help; :0 takes any that is free"
	case errors.Is(err, journal.ErrCorrupt):
		where := journalOf(cmd, err)
		f.hint = "groom journal verify" + where + " says what is not as it was written, groom journal rebuild" + where + " makes it whole from its archive"
	case errors.Is(err, journal.ErrSafeMode):
		f.hint = "a build that knows the entry can go on; where there is none, groom journal skip INDEX --why TEXT overrides it, on record"
	case errors.Is(err, home.ErrSandbox):
		f.hint = "look at it with groom journal state --data DIR, or name another directory with --data"
	case errors.Is(err, journal.ErrNoSpace), errors.Is(err, syscall.ENOSPC):
		f.hint = "make room on the file system of the data directory, then start again"
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		f.hint = "name a directory that can be written to with --data"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.code, f.hint = exitNoAgent, "start one with groom agent, or name its address with --addr"
	}
	return f
}

// journalOf is how a command names the journal that an error speaks of. The error has the path of its file.
func journalOf(cmd *cobra.Command, err error) string {
	data := defaultData()
	if flag := cmd.Flags().Lookup("data"); flag != nil && flag.Value.String() != "" {
		data = flag.Value.String()
	}
	if abs, err := filepath.Abs(data); err == nil {
		data = abs
	}
	of := "groom"
	if strings.Contains(err.Error(), filepath.Join(data, "master")) {
		of = "master"
	}
	return fmt.Sprintf(" --data %s --of %s", strconv.Quote(data), of)
}
