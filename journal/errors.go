package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrNoSpace is returned when there is no room to make a journal, or to open one before the context ends.
	ErrNoSpace = errors.New("no space for the journal")
	// ErrUnknownOutcome is returned when the record may or may not be durable; only the journal, read again, can say.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrSafeMode is returned while the journal holds an entry that this build cannot apply.
	ErrSafeMode = errors.New("journal in safe mode")
	// ErrTooLarge is returned for a record beyond 64 KiB with its envelope.
	ErrTooLarge = errors.New("entry too large")
	// ErrClosed is returned after Close; nothing was written.
	ErrClosed = errors.New("journal closed")
	// ErrCorrupt is returned when the journal is not what was once written.
	ErrCorrupt = errors.New("journal altered or cut")
	// ErrMissing is returned for entries that retention has dropped, or that a rebuild did not find.
	ErrMissing = errors.New("entries missing")
	// ErrInUse is returned when another process holds the journal.
	ErrInUse = errors.New("journal in use")
)

// full wraps an error of an operation, as ErrNoSpace when the disk or a quota is full.
func full(op string, err error) error {
	if noSpace(err) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %s: %w; free some and start again", ErrNoSpace, op, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// definite says that a commit failed for want of space before anything of it counted. bbolt writes pages through
// WriteAt, whose errors carry the operation; an error of a sync comes bare, and after it the outcome is unknown, for
// want of space as for anything else.
func definite(err error) bool {
	if errors.Is(err, berrors.ErrMaxSizeReached) {
		return true
	}
	var path *fs.PathError
	return errors.As(err, &path) && (path.Op == "write" || path.Op == "truncate") && noSpace(err)
}

// openError says in the journal's words why bbolt did not open a file.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: another process holds %s", ErrInUse, path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return corrupt(path, "it is no bbolt file: %v", err)
	}
	return full("open journal", err)
}

// corrupt says what is wrong with a file of the journal, and what can be done.
func corrupt(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s; put back an unaltered copy of the directory, make it whole from its archive (groom journal rebuild), or "+
		"move it away to start without its history",
		ErrCorrupt, path, fmt.Sprintf(format, args...))
}
