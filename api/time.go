package api

import (
	"fmt"
	"time"
)

// Duration is a time.Duration written as text ("1m30s") in JSON and YAML.
type Duration time.Duration

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration %q: want a number with a unit, such as 10s or 1m30s", b)
	}
	*d = Duration(v)
	return nil
}

// Seconds is the duration as a number of seconds.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }

func (d Duration) String() string { return time.Duration(d).String() }

// Moment is a point in time as the journal keeps it: wall clock for people, and the clock of one boot, which never
// steps and which runs on while the host sleeps, for deadlines.
type Moment struct {
	Wall time.Time     `json:"wall"`              // UTC, without a monotonic reading
	Boot time.Duration `json:"boot"`              // CLOCK_BOOTTIME in nanoseconds
	ID   string        `json:"boot_id,omitempty"` // boot id of the host, which says to which boot Boot belongs
}

// Add is the moment d later on both clocks.
func (m Moment) Add(d time.Duration) Moment {
	return Moment{Wall: m.Wall.Add(d), Boot: m.Boot + d, ID: m.ID}
}

// Until is the time from now to m. Within one boot the boot clock decides, so that a stepped wall clock changes
// nothing; a moment from another boot is recomputed by the wall clock.
func (m Moment) Until(now Moment) time.Duration {
	if m.ID == now.ID {
		return m.Boot - now.Boot
	}
	return m.Wall.Sub(now.Wall)
}

// IsZero says that the moment was never set.
func (m Moment) IsZero() bool { return m.Wall.IsZero() }
