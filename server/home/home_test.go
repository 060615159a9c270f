package home

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, dir string) *Home {
	t.Helper()
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWhatIsMadeAtTheFirstStartStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := open(t, dir)
	id, token, derived := first.ID, first.Token, first.Derive("attempt", "a")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	defer again.Close()
	if again.ID != id || again.Token != token || again.Derive("attempt", "a") != derived {
		t.Error("id, token or key changed between two starts")
	}
	if again.Derive("attempt", "b") == derived {
		t.Error("two purposes share a token")
	}
	for _, name := range []string{"", "token", "key", "id"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm()&0o066 != 0 { // to pass through is not to read
			t.Errorf("%q can be read by others: %v", name, st.Mode())
		}
	}
}

func TestOnlyOneProcessHoldsIt(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	defer h.Close()
	_, err := Open(dir)
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want ErrInUse", err)
	}
	if pid := strconv.Itoa(os.Getpid()); !strings.Contains(err.Error(), pid) {
		t.Errorf("%v: does not name pid %s", err, pid)
	}
}

func TestDamagedSecretIsNamedAndKept(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Close()
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir)
	if !errors.Is(err, ErrBadFile) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrBadFile naming %s", err, path)
	}
	if b, _ := os.ReadFile(path); string(b) != "short" {
		t.Error("a damaged key was replaced in silence")
	}
}

func TestSpecIsFoundByItsHashAndProven(t *testing.T) {
	h := open(t, t.TempDir())
	defer h.Close()
	hash, err := h.PutSpec([]byte(`{"name":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := h.PutSpec([]byte(`{"name":"a"}`)); err != nil || again != hash {
		t.Errorf("the same spec got %s, %v; want %s", again, err, hash)
	}
	got, err := h.Spec(hash)
	if err != nil || string(got) != `{"name":"a"}` {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.WriteFile(h.Path("specs", hash), []byte(`{"name":"b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Spec(hash); !errors.Is(err, ErrBadFile) {
		t.Errorf("an altered spec was read: %v", err)
	}
}

// A port left to chance is the same after a restart, unless somebody took it meanwhile.
func TestPortsAreKept(t *testing.T) {
	h := open(t, t.TempDir())
	defer h.Close()
	if got := h.Addrs(); len(got) != 0 {
		t.Errorf("a new directory keeps %v", got)
	}
	first, err := h.Listen("web", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr().String()
	if diff := cmp.Diff(map[string]string{"web": addr}, h.Addrs()); diff != "" {
		t.Error(diff)
	}
	other, err := h.Listen("web", "127.0.0.1:0")
	if err != nil || other.Addr().String() == addr {
		t.Fatalf("a taken port: %v, %v", other, err)
	}
	other.Close()
	first.Close()
	again, err := h.Listen("web", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.Addr().String(); got != other.Addr().String() {
		t.Errorf("listens on %s, the newest kept is %s", got, other.Addr())
	}
	if _, err := h.Listen("report", again.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that was asked for and is taken: %v", err)
	}
}

// Whoever holds the directory, another may look whose it is; and looking makes nothing.
func TestPeek(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Peek(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a directory that is not there: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("looking made it")
	}
	h := open(t, dir)
	defer h.Close()
	p, err := Peek(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != h.ID || p.Derive("attempt", "a") != h.Derive("attempt", "a") {
		t.Errorf("it is taken for %s, and is %s", p.ID, h.ID)
	}
	if err := os.WriteFile(h.Path("key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Peek(dir); !errors.Is(err, ErrBadFile) {
		t.Errorf("with a damaged key: %v", err)
	}
}
