// Package home is the data directory of one process: its lock, its secrets, the addresses it keeps, and files that are
// named by their content.
package home

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Errors of a data directory.
var (
	// ErrInUse is returned when a living process holds the data directory.
	ErrInUse = errors.New("data directory in use")
	// ErrBadFile is returned when a file of the data directory does not hold what it should.
	ErrBadFile = errors.New("file damaged")
	// ErrSandbox is returned when the data directory is a fork of a history, on which nothing may run.
	ErrSandbox = errors.New("a fork of a history, to look at; nothing runs on it")
)

// SandboxName is the file that marks a fork.
const SandboxName = "sandbox"

// Home is a data directory that this process holds.
//
//	DATA/sandbox  there in a fork of a history: nothing may run on it
//	DATA/lock     held for the life of the process; its text says by which pid
//	DATA/id       random, made at the first start
//	DATA/token    what the CLI of the same user shows to be let in
//	DATA/key      what tokens of tasks and epochs are derived from
//	DATA/addrs    where the servers listened last
//	DATA/groom    the groom's journal      DATA/master  the master's
//	DATA/specs    job files by their SHA-256
//	DATA/secrets  one file an epoch
//	DATA/steps    supersteps of each job
//	DATA/local    the default local directory
type Home struct {
	Dir   string
	ID    string // 16 hexadecimal digits
	Token string

	key  []byte
	lock *os.File
}

// lockPatience covers a predecessor that is dying: a child it was about to start can hold its lock for a moment.
const lockPatience = 2 * time.Second

// Open makes the directory if need be and takes it for this process. The error names the pid that holds it.
func Open(dir string) (*Home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	if mark, err := os.ReadFile(filepath.Join(dir, SandboxName)); err == nil {
		return nil, fmt.Errorf("%s is %s: %w", dir, strings.TrimSpace(string(mark)), ErrSandbox)
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := takeLock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	h := &Home{Dir: dir, lock: lock}
	if err := h.load(); err != nil {
		lock.Close()
		return nil, err
	}
	return h, nil
}

// Peek reads who a data directory belongs to, whoever holds it, and changes nothing. The error is os.ErrNotExist where
// no process has started yet.
func Peek(dir string) (*Home, error) {
	h := &Home{Dir: dir}
	id, err := readSecret(h.Path("id"), 8)
	if err != nil {
		return nil, err
	}
	key, err := readSecret(h.Path("key"), 32)
	if err != nil {
		return nil, err
	}
	h.ID, h.key = id, []byte(key)
	return h, nil
}

func (h *Home) load() error {
	id, err := h.secret("id", 8)
	if err != nil {
		return err
	}
	token, err := h.secret("token", 32)
	if err != nil {
		return err
	}
	key, err := h.secret("key", 32)
	if err != nil {
		return err
	}
	h.ID, h.Token, h.key = id, token, []byte(key)
	for _, sub := range []string{"specs", "secrets", "steps", "local"} {
		if err := makeDir(h.Path(sub)); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	return h.letPass()
}

// letPass lets other users pass through to what is theirs, where there can be tasks of other users at all: to their
// working directories and to the socket for reports. What else is here is closed, each by its own mode.
func (h *Home) letPass() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, dir := range []string{h.Dir, h.Path("local")} {
		info, err := os.Stat(dir)
		if err == nil {
			err = os.Chmod(dir, info.Mode().Perm()|0o011)
		}
		if err != nil {
			return fmt.Errorf("open data directory to tasks: %w", err)
		}
	}
	return nil
}

// makeDir makes a directory that only its owner sees, durable together with its name.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of data directory: %w", err)
	}
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(deadline) {
			pid, _ := os.ReadFile(path) // the text is only for people
			f.Close()
			return nil, fmt.Errorf("%s is held by pid %s: %w", filepath.Dir(path), bytes.TrimSpace(pid), ErrInUse)
		}
	}
	// A kill between these two leaves an empty text: the lock itself is what counts.
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return f, nil
}

// secret reads the random text in a file, and makes it at the first start.
func (h *Home) secret(name string, size int) (string, error) {
	text, err := readSecret(h.Path(name), size)
	if errors.Is(err, os.ErrNotExist) {
		raw := make([]byte, size)
		_, _ = rand.Read(raw) // never fails
		text = hex.EncodeToString(raw)
		return text, WriteFile(h.Path(name), []byte(text+"\n"))
	}
	return text, err
}

func readSecret(path string, size int) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	text := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != size {
		return "", fmt.Errorf("%s: want %d hexadecimal digits: %w", path, 2*size, ErrBadFile)
	}
	return text, nil
}

// Close gives the directory back.
func (h *Home) Close() error { return h.lock.Close() }

// Path is a path below the data directory.
func (h *Home) Path(parts ...string) string {
	return filepath.Join(append([]string{h.Dir}, parts...)...)
}

// Derive makes a token for a purpose from the key: the same after every restart, and never stored.
func (h *Home) Derive(purpose ...string) string {
	mac := hmac.New(sha256.New, h.key)
	mac.Write([]byte(strings.Join(purpose, "\x00")))
	return hex.EncodeToString(mac.Sum(nil))
}
