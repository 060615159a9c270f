package job

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"groom/api"
)

// MaxTasks bounds the tasks of a job.
const MaxTasks = 10_000

// Defaults fills in what a spec leaves out.
func Defaults(s *api.JobSpec) {
	set(&s.Stop.Signal, "SIGTERM")
	set(&s.Stop.Grace, api.Duration(10*time.Second))
	set(&s.Restart.Limit, 3)
	set(&s.Restart.Backoff, api.Duration(time.Second))
	set(&s.Restart.MaxBackoff, api.Duration(time.Minute))
	set(&s.Restart.Policy, api.RestartOnFailure)
	set(&s.Restart.Healthy, api.Duration(10*time.Minute))
	set(&s.Restart.Unproven, api.UnprovenFails)
	set(&s.Ping.Period, api.Duration(time.Second))
	set(&s.Ping.Missed, 6)
	set(&s.Ping.First, 10)
	set(&s.Ping.Dump, "SIGQUIT")
	set(&s.Probe.Period, api.Duration(10*time.Second))
	set(&s.Probe.Timeout, api.Duration(2*time.Second))
	set(&s.Probe.Failures, 3)
	set(&s.Probe.Grace, api.Duration(30*time.Second))
	set(&s.Logs.MaxSize, 10<<20)
	set(&s.Logs.MaxFiles, 5)
	set(&s.Retention.Keep, api.Duration(24*time.Hour))
	set(&s.Retention.KeepFailed, api.Duration(7*24*time.Hour))
	set(&s.OnGroomLost, "wait")
	Complete(s)
}

// Complete fills in what follows from other fields.
func Complete(s *api.JobSpec) {
	s.Ping.Required = s.Ping.Required || s.Type == api.BSP
	if s.Restart.Policy == api.RestartNever {
		s.Restart.Limit = 1
	}
	for i := range s.Artifacts {
		if a := &s.Artifacts[i]; a.Source != "" {
			set(&a.Name, filepath.Base(a.Source))
		}
	}
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// finding is a mistake by the name of its field.
type finding struct{ field, words string }

var (
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)
	envPattern  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	sumPattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// check finds what is wrong with a complete spec.
func check(s *api.JobSpec) []finding {
	var found []finding
	bad := func(field, format string, args ...any) {
		found = append(found, finding{field, fmt.Sprintf(format, args...)})
	}
	if !namePattern.MatchString(s.Name) {
		bad("name", "want up to 63 letters, digits, dots, dashes and underscores, found %q", s.Name)
	}
	if s.Type != api.Plain && s.Type != api.BSP {
		bad("type", `want "plain" or "bsp", found %q`, s.Type)
	}
	if s.Tasks < 1 || s.Tasks > MaxTasks {
		bad("tasks", "want a number from 1 to %d, found %d", MaxTasks, s.Tasks)
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		bad("command", "want a program and its arguments, found none")
	}
	for i, arg := range s.Command {
		if strings.ContainsRune(arg, 0) {
			bad(fmt.Sprintf("command[%d]", i), "holds a zero byte, which no argument can")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		value := s.Env[name]
		switch {
		case !envPattern.MatchString(name):
			bad("env."+name, "is not a name of a variable")
		case strings.HasPrefix(name, "GROOM_"):
			bad("env."+name, "variables that begin with GROOM_ are groom's own")
		case strings.ContainsRune(value, 0):
			bad("env."+name, "holds a zero byte, which no variable can")
		}
	}
	checkArtifacts(s, bad)
	if s.SharedDir != "" && !filepath.IsAbs(s.SharedDir) {
		bad("shared_dir", "want an absolute path, found %q", s.SharedDir)
	}
	if s.Output != "" && !filepath.IsAbs(s.Output) {
		bad("output", "want an absolute path, found %q", s.Output)
	}
	if s.Output != "" && s.Type == api.Plain {
		bad("output", "only a bsp job has an output that is moved into place")
	}
	if unix.SignalNum(s.Stop.Signal) == 0 {
		bad("stop.signal", "want a signal such as SIGTERM, found %q", s.Stop.Signal)
	}
	checkBounds(s, bad)
	checkRestart(s, bad)
	checkProbe(s, bad)
	checkLimits(s, bad)
	if s.OnGroomLost != "wait" && s.OnGroomLost != "reschedule" {
		bad("on_groom_lost", `want "wait" or "reschedule", found %q`, s.OnGroomLost)
	}
	return found
}

func checkArtifacts(s *api.JobSpec, bad func(field, format string, args ...any)) {
	names := map[string]bool{}
	for i, a := range s.Artifacts {
		field := fmt.Sprintf("artifacts[%d]", i)
		if !filepath.IsAbs(a.Source) {
			bad(field+".source", "want the path of a file, found %q", a.Source)
		}
		if a.Name == "" || a.Name == "." || a.Name == ".." || strings.Contains(a.Name, "/") {
			bad(field+".name", "want a name without a directory, found %q", a.Name)
		}
		if names[a.Name] {
			bad(field+".name", "another artifact is named %q already", a.Name)
		}
		names[a.Name] = true
		if !sumPattern.MatchString(a.SHA256) {
			bad(field+".sha256", "want 64 hexadecimal digits in lower case, found %q", a.SHA256)
		}
		if a.Mode > 0o777 {
			bad(field+".mode", "want permission bits such as 0755, found %#o", a.Mode)
		}
	}
}

func checkBounds(s *api.JobSpec, bad func(field, format string, args ...any)) {
	durations := []struct {
		field    string
		value    api.Duration
		min, max time.Duration
	}{
		{"stop.grace", s.Stop.Grace, 0, 24 * time.Hour},
		{"restart.backoff", s.Restart.Backoff, 0, 24 * time.Hour},
		{"restart.max_backoff", s.Restart.MaxBackoff, time.Duration(max(0, s.Restart.Backoff)), 24 * time.Hour},
		{"restart.healthy", s.Restart.Healthy, 0, 365 * 24 * time.Hour},
		{"stop_after_disconnect", s.StopAfterDisconnect, 0, 365 * 24 * time.Hour},
		{"ping.period", s.Ping.Period, 10 * time.Millisecond, time.Hour},
		{"retention.keep", s.Retention.Keep, 0, 10 * 365 * 24 * time.Hour},
		{"retention.keep_failed", s.Retention.KeepFailed, 0, 10 * 365 * 24 * time.Hour},
	}
	for _, d := range durations {
		if v := time.Duration(d.value); v < d.min || v > d.max {
			bad(d.field, "want a duration from %s to %s, found %s", d.min, d.max, v)
		}
	}
	numbers := []struct {
		field           string
		value, min, max int64
	}{
		{"restart.limit", int64(s.Restart.Limit), 1, 1000},
		{"ping.missed", int64(s.Ping.Missed), 1, 10_000},
		{"ping.first", int64(s.Ping.First), 1, 10_000},
		{"logs.max_size", s.Logs.MaxSize, 4096, 1 << 40},
		{"logs.max_files", int64(s.Logs.MaxFiles), 1, 1000},
	}
	for _, n := range numbers {
		if n.value < n.min || n.value > n.max {
			bad(n.field, "want a number from %d to %d, found %d", n.min, n.max, n.value)
		}
	}
}
