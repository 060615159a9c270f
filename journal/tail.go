package journal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"groom/fault"
)

// witness records how far the log has come: after an opening, at each checkpoint, and at the end. Without it, a log
// whose newest entries were lost would look like a log that never had them. Where it cannot be written, the older
// one stays true.
func (j *Journal) witness() {
	last, tip := j.guard.position()
	fault.Point("journal.before-tail")
	if err := writeWhole(j.o.Dir, tailName, tailText(last, tip)); err != nil {
		j.o.Log.Warn("record how far the journal has come", "err", err)
	}
	fault.Point("journal.after-tail")
}

func tailText(last uint64, tip [32]byte) []byte {
	return fmt.Appendf(nil, "v=1 last=%d tip=%s\n", last, hex.EncodeToString(tip[:]))
}

// readTail returns 0 when nothing is recorded yet.
func readTail(dir string) (last uint64, tip [32]byte, err error) {
	path := filepath.Join(dir, tailName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, tip, nil
	}
	if err != nil {
		return 0, tip, fmt.Errorf("read tail: %w", err)
	}
	var sum []byte
	if _, err := fmt.Sscanf(string(b), "v=1 last=%d tip=%x\n", &last, &sum); err != nil || len(sum) != len(tip) {
		return 0, tip, fmt.Errorf("%w: %s does not say how far the log had come; remove it if nothing else was touched",
			ErrCorrupt, path)
	}
	return last, [32]byte(sum), nil
}
