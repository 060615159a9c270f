package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Host says which boot of the host, and which pid namespace of it, this process lives in. A journaled intent carries
// both: where either has changed, no process of then is alive.
func Host() (bootID string, pidns uint64, err error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, fmt.Errorf("read boot id: %w", err)
	}
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", 0, fmt.Errorf("read pid namespace: %w", err)
	}
	pidns, err = strconv.ParseUint(strings.Trim(link, "pid:[]"), 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("read pid namespace: %w", err)
	}
	return strings.TrimSpace(string(b)), pidns, nil
}
