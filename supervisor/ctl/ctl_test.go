package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		text string
		want Record
		err  error
	}{
		{"version 1", "v=1\npid=7\n", Record{{"v", "1"}, {"pid", "7"}}, nil},
		{"a future version and unknown keys", "v=12\nmood=good\npid=7\n", Record{{"v", "12"}, {"mood", "good"}, {"pid", "7"}}, nil},
		{"a key without a value", "v=1\nby=\n", Record{{"v", "1"}, {"by", ""}}, nil},
		{"a value with an equals sign", "v=1\nenv=A=B=C\n", Record{{"v", "1"}, {"env", "A=B=C"}}, nil},
		{"escapes", `v=1` + "\n" + `arg=a\nb\\n` + "\n", Record{{"v", "1"}, {"arg", "a\nb\\n"}}, nil},
		{"no last newline", "v=1\npid=7", Record{{"v", "1"}, {"pid", "7"}}, nil},
		{"empty", "", nil, ErrNotRecord},
		{"no version", "pid=7\n", nil, ErrNotRecord},
		{"zero bytes, as a loss of power leaves them", "\x00\x00\x00\x00", nil, ErrNotRecord},
		{"a line that is cut", "v=1\npid=7\nsta", nil, ErrNotRecord},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.text))
			if diff := cmp.Diff(c.want, got); diff != "" || !errors.Is(err, c.err) {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestEveryValueComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Record
		for range rapid.IntRange(0, 5).Draw(t, "lines") {
			value := string(rapid.SliceOf(rapid.Byte()).Draw(t, "value"))
			r = r.Add(rapid.StringMatching(`[a-z]+`).Draw(t, "key"), value)
		}
		got, err := Parse(r.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(Record{{"v", Version}}, r...), got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestValues(t *testing.T) {
	r := Record{}.Add("arg", "a").Add("pid", "7").Add("arg", "b").Add("bad", "x")
	if r.Get("arg") != "b" || r.Get("none") != "" || r.Int("pid") != 7 || r.Int("bad") != 0 || r.Int("none") != 0 {
		t.Errorf("%v", r)
	}
	if diff := cmp.Diff([]string{"a", "b"}, r.All("arg")); diff != "" {
		t.Error(diff)
	}
}

func sealed(text string) string { return text + fmt.Sprintf("sum=%016x\n", Sum([]byte(text))) }

func TestReadExit(t *testing.T) {
	good := sealed("v=1\nid=x\nstatus=256\n")
	for _, c := range []struct {
		name string
		text string
		err  error
	}{
		{"whole", good, nil},
		{"a future version and unknown keys", sealed("v=2\nstatus=0\nmood=good\n"), nil},
		{"a step that failed", sealed("v=1\nstep=exec\nerrno=2\n"), nil},
		{"something after the sum", good + "x=1\n", ErrTorn},
		{"no sum", "v=1\nstatus=0\n", ErrTorn},
		{"another sum", sealed("v=1\nstatus=0\n")[:25] + "0000000\n", ErrTorn},
		{"empty", "", ErrTorn},
		{"neither status nor step must not read as 0", sealed("v=1\nid=x\n"), ErrNotRecord},
		{"a status that is no number must not read as 0", sealed("v=1\nstatus=zero\n"), ErrNotRecord},
		{"a sum over what is no record", sealed("status=0\n"), ErrNotRecord},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := withFile(t, Exit, c.text)
			if _, err := ReadExit(dir); !errors.Is(err, c.err) {
				t.Errorf("got %v, want %v", err, c.err)
			}
		})
	}
	if _, err := ReadExit(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
}

// Whatever byte the disk loses or turns, the record is not believed.
func TestEveryCutAndFlipIsSeen(t *testing.T) {
	good := sealed("v=1\nid=attempt\npid=77\nstatus=256\nstarted=1\nended=2\n")
	for i := range len(good) {
		for name, text := range map[string]string{
			"cut":  good[:i],
			"flip": good[:i] + string(rune(good[i]^1)) + good[i+1:],
		} {
			if _, err := ReadExit(withFile(t, Exit, text)); err == nil {
				t.Errorf("%s at %d is believed: %q", name, i, text)
			}
		}
	}
}

func withFile(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestClaimIsMadeOnce(t *testing.T) {
	dir := withFile(t, Spec, "v=1\n")
	if claimed, err := Claimed(dir); claimed || err != nil {
		t.Fatalf("before: %v, %v", claimed, err)
	}
	for range 2 { // as after a kill between the claim and the journal
		if ours, err := Forbid(dir); !ours || err != nil {
			t.Fatalf("forbid: %v, %v", ours, err)
		}
	}
	if claimed, err := Claimed(dir); claimed || err != nil {
		t.Errorf("a groom's claim: %v, %v", claimed, err)
	}
	if _, err := os.OpenFile(filepath.Join(dir, Claim), os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a shim could claim: %v", err)
	}
	for _, text := range []string{"v=1\n", ""} { // whole, and killed in between
		dir := withFile(t, Claim, text)
		if claimed, err := Claimed(dir); !claimed || err != nil {
			t.Errorf("a shim's claim %q: %v, %v", text, claimed, err)
		}
		if ours, err := Forbid(dir); ours || err != nil {
			t.Errorf("forbid after a shim's claim %q: %v, %v", text, ours, err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := withFile(t, Spec, "v=1\n")
	if _, err := Held(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no lock: %v", err)
	}
	fd, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TakeLock(dir); err == nil {
		t.Error("taken twice")
	}
	if held, err := Held(dir); !held || err != nil {
		t.Errorf("while it is held: %v, %v", held, err)
	}
	// A copy, as a shim inherits it, keeps the lock when the first is closed.
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	if held, err := Held(dir); !held || err != nil {
		t.Errorf("held by a copy: %v, %v", held, err)
	}
	_ = unix.Close(copied)
	if held, err := Held(dir); held || err != nil {
		t.Errorf("free: %v, %v", held, err)
	}
	if ok, err := Has(dir, Lock); !ok || err != nil {
		t.Errorf("has lock: %v, %v", ok, err)
	}
	if ok, err := Has(dir, Exit); ok || err != nil {
		t.Errorf("has exit: %v, %v", ok, err)
	}
}
