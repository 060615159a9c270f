// Package clock reads the clocks of the host: the wall clock for people, and the boot clock for deadlines.
package clock

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"groom/api"
)

// Now is the present on both clocks.
func Now() api.Moment {
	return api.Moment{Wall: time.Now().UTC().Round(0), Boot: Boot(), ID: BootID()}
}

// Boot is the time since the host was started (CLOCK_BOOTTIME). It runs on while the host sleeps, and never steps.
func Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("read boot clock: %v", err)) // every Linux that groom runs on has it
	}
	return time.Duration(ts.Nano())
}

// BootID tells one boot of the host from another. It is empty where the kernel does not tell: deadlines go by the wall
// clock then.
var BootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // empty says so
	return strings.TrimSpace(string(b))
})
