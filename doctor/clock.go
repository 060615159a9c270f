package doctor

import (
	"time"

	"golang.org/x/sys/unix"

	"groom/clock"
)

// clocks looks at the three clocks that groom reads. newest is the newest time that a groom has written down here.
func clocks(newest time.Time) []Check {
	var mono unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) // every Linux that groom runs on has it
	slept := clock.Boot() - time.Duration(mono.Nano())
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx) // without a mode it only reads
	return []Check{judgeBoot(clock.Boot(), slept), judgeWall(time.Now(), newest), judgeNTP(state, tx, err)}
}

func judgeBoot(since, slept time.Duration) Check {
	figures := map[string]float64{"up_seconds": since.Seconds(), "slept_seconds": slept.Seconds()}
	if slept > time.Second {
		return ok("boot clock", "up for %s, of which the host slept %s", since.Round(time.Second), slept.Round(time.Second)).with(figures)
	}
	return ok("boot clock", "up for %s, and did not sleep", since.Round(time.Second)).with(figures)
}

// wallSlack is how far the newest record may be ahead without a word.
const wallSlack = 2 * time.Second

const setClock = "timedatectl set-ntp true, or set the clock with date -s"

func judgeWall(now, newest time.Time) Check {
	text := now.UTC().Format(time.RFC3339)
	switch {
	case now.Year() < 2024:
		return bad("wall clock", setClock, "%s: it was never set", text)
	case !newest.IsZero() && newest.Sub(now) > wallSlack:
		return warn("wall clock", setClock, "%s, and the newest record here is from %s: it was set back by %s since; deadlines of this boot are not touched by that",
			text, newest.UTC().Format(time.RFC3339), newest.Sub(now).Round(time.Second))
	case newest.IsZero():
		return ok("wall clock", "%s; nothing was recorded here yet", text)
	}
	return ok("wall clock", "%s; the newest record here is %s old", text, now.Sub(newest).Round(time.Second))
}

func judgeNTP(state int, tx unix.Timex, err error) Check {
	switch {
	case err != nil:
		return warn("clock sync", "timedatectl status", "the kernel does not tell whether the clock is synchronised: %v", err)
	case state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0:
		return warn("clock sync", "timedatectl set-ntp true", "nobody keeps the wall clock right; times of several hosts cannot be compared")
	}
	return ok("clock sync", "synchronised, within %s", (time.Duration(tx.Maxerror) * time.Microsecond).Round(time.Millisecond)).
		with(map[string]float64{"max_error_us": float64(tx.Maxerror)})
}
