package job

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"groom/api"
)

// Rlimits names the limits that a job may set, as setrlimit(2) does in capitals.
var Rlimits = []string{"as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack"}

var umaskPattern = regexp.MustCompile(`^0?[0-7]{3}$`)

func checkRestart(s *api.JobSpec, bad func(field, format string, args ...any)) {
	switch r := s.Restart; {
	case r.Policy != api.RestartOnFailure && r.Policy != api.RestartAlways && r.Policy != api.RestartNever:
		bad("restart.policy", "want %q, %q or %q, found %q", api.RestartOnFailure, api.RestartAlways, api.RestartNever, r.Policy)
	case r.Policy == api.RestartAlways && s.Type == api.BSP:
		bad("restart.policy", "a bsp job ends when its peers are done: want %q or %q", api.RestartOnFailure, api.RestartNever)
	case r.Policy == api.RestartNever && r.Limit != 1:
		bad("restart.limit", "with the policy %q it is 1, found %d", api.RestartNever, r.Limit)
	}
	if u := s.Restart.Unproven; u != api.UnprovenFails && u != api.UnprovenRestarts {
		bad("restart.unproven", "want %q or %q, found %q", api.UnprovenFails, api.UnprovenRestarts, u)
	}
	if s.Ping.Dump != api.DumpNone && unix.SignalNum(s.Ping.Dump) == 0 {
		bad("ping.dump", "want a signal such as SIGQUIT, or %q, found %q", api.DumpNone, s.Ping.Dump)
	}
}

func checkProbe(s *api.JobSpec, bad func(field, format string, args ...any)) {
	p := s.Probe
	if !p.On() {
		return
	}
	ways := 0
	if len(p.Exec) > 0 {
		ways++
		if p.Exec[0] == "" {
			bad("probe.exec", "want a program and its arguments, found none")
		}
		for _, arg := range p.Exec {
			if strings.ContainsRune(arg, 0) {
				bad("probe.exec", "holds a zero byte, which no argument can")
			}
		}
	}
	// What a probe asks is in $GROOM_INDEX and the variables of the job as well, so only the form is known here.
	if p.HTTP != "" {
		ways++
		u, err := url.Parse(plain(p.HTTP))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http":
			bad("probe.http", "want an address such as http://127.0.0.1:8080/healthz, found %q", p.HTTP)
		case !loopback(u.Hostname()):
			bad("probe.http", "want an address on loopback, found %q", p.HTTP)
		}
	}
	if p.TCP != "" {
		ways++
		host, _, err := net.SplitHostPort(plain(p.TCP))
		switch {
		case err != nil:
			bad("probe.tcp", "want an address such as 127.0.0.1:8080, found %q", p.TCP)
		case !loopback(host):
			bad("probe.tcp", "want an address on loopback, found %q", p.TCP)
		}
	}
	if ways > 1 {
		bad("probe", "want one of exec, http and tcp, found %d", ways)
	}
	for _, d := range []struct {
		field    string
		value    api.Duration
		min, max time.Duration
	}{
		{"probe.period", p.Period, 100 * time.Millisecond, time.Hour},
		{"probe.timeout", p.Timeout, 10 * time.Millisecond, time.Hour},
		{"probe.grace", p.Grace, 0, 24 * time.Hour},
	} {
		if v := time.Duration(d.value); v < d.min || v > d.max {
			bad(d.field, "want a duration from %s to %s, found %s", d.min, d.max, v)
		}
	}
	if p.Failures < 1 || p.Failures > 1000 {
		bad("probe.failures", "want a number from 1 to 1000, found %d", p.Failures)
	}
}

var variable = regexp.MustCompile(`\$\{?[A-Za-z_][A-Za-z0-9_]*\}?`)

// plain is an address with a digit in place of each variable.
func plain(address string) string { return variable.ReplaceAllString(address, "1") }

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func checkLimits(s *api.JobSpec, bad func(field, format string, args ...any)) {
	for _, who := range []struct{ field, name string }{{"user", s.User}, {"group", s.Group}} {
		if strings.ContainsAny(who.name, ":\x00\n") {
			bad(who.field, "want a name or a number, found %q", who.name)
		}
	}
	if s.Umask != "" && !umaskPattern.MatchString(s.Umask) {
		bad("umask", `want octal digits such as "0027", found %q`, s.Umask)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Rlimits)) {
		if !slices.Contains(Rlimits, name) {
			bad("rlimits."+name, "is not a limit; known are %s", strings.Join(Rlimits, ", "))
		} else if _, _, err := ParseRlimit(s.Rlimits[name]); err != nil {
			bad("rlimits."+name, "%v", err)
		}
	}
	if s.OOMScore < -1000 || s.OOMScore > 1000 {
		bad("oom_score", "want a number from -1000 to 1000, found %d", s.OOMScore)
	}
	if m := s.Resources.Memory; m != 0 && m < 1<<20 {
		bad("resources.memory", "want %d bytes at least, found %d", 1<<20, m)
	}
	if c := s.Resources.CPU; c < 0 || c > 1<<12 || c > 0 && c < 0.01 {
		bad("resources.cpu", "want a number of cores such as 0.5, found %v", c)
	}
	if p := s.Resources.Pids; p < 0 || p > 1<<22 {
		bad("resources.pids", "want a number of processes, found %d", p)
	}
}

// ParseRlimit reads "soft", or "soft:hard"; "unlimited" is the largest number.
func ParseRlimit(text string) (soft, hard uint64, err error) {
	first, second, both := strings.Cut(text, ":")
	if !both {
		second = first
	}
	if soft, err = parseLimit(first); err == nil {
		hard, err = parseLimit(second)
	}
	if err != nil || soft > hard {
		return 0, 0, fmt.Errorf(`want "soft" or "soft:hard", each a number or unlimited, found %q`, text)
	}
	return soft, hard, nil
}

func parseLimit(text string) (uint64, error) {
	if text == "unlimited" {
		return unix.RLIM_INFINITY, nil
	}
	return strconv.ParseUint(text, 10, 64)
}
