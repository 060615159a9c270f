package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func dir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := New(path, "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCheck(t *testing.T) {
	cases := []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    error // nil: usable
	}{
		{"a directory that is not there is made", func(*testing.T, string) {}, nil},
		{"a file stands in its place", func(t *testing.T, path string) { put(t, path) }, os.ErrExist},
		{"a kill between mkdir and mark", func(t *testing.T, path string) { mkdir(t, filepath.Join(path, "groom-0123456789abcdef")) }, nil},
		{"a stranger's directory of that name", func(t *testing.T, path string) {
			mkdir(t, filepath.Join(path, "groom-0123456789abcdef"))
			put(t, filepath.Join(path, "groom-0123456789abcdef", "thesis.tex"))
		}, ErrForeign},
		{"a probe that a kill left", func(t *testing.T, path string) {
			if err := dir(t, path).Check(0); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(path, "groom-0123456789abcdef", "probe"))
		}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "local")
			c.prepare(t, path)
			d := dir(t, path)
			err := d.Check(0)
			if c.want == nil && err != nil || c.want != nil && err == nil {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if errors.Is(c.want, ErrForeign) && !errors.Is(err, ErrForeign) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if d.Status().OK != (c.want == nil) {
				t.Errorf("status is %+v", d.Status())
			}
		})
	}
}

func TestFailedDirectoryComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local")
	put(t, path)
	d := dir(t, path)
	if d.Check(ProbeAge) == nil {
		t.Fatal("a file passes for a directory")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Glance(); err != nil {
		t.Errorf("it does not come back: %v", err)
	}
}

func TestForeignFilesBesideItStay(t *testing.T) {
	path := t.TempDir()
	foreign := filepath.Join(path, "thesis.tex")
	put(t, foreign)
	if err := dir(t, path).Check(0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("the foreign file: %v", err)
	}
}

func put(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}
