// Command hung says that it is there, and then does nothing for ever.
package main

import (
	"os"
	"time"
)

func main() { waitForWhatNeverComes() }

//go:noinline
func waitForWhatNeverComes() {
	_ = os.WriteFile("ready", []byte("ready\n"), 0o600)
	time.Sleep(1 << 62)
}
