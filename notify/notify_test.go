package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manager listens as a service manager does.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func hear(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(b[:n]), "\n")
}

func take(t *testing.T, socket, usec, pid string) (*Manager, error) {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", usec)
	t.Setenv("WATCHDOG_PID", pid)
	return Take()
}

func TestEachMessageIsHeard(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@groom-notify-%d", os.Getpid())} {
		t.Run(name[:1], func(t *testing.T) {
			conn := manager(t, name)
			m, err := take(t, name, "", "")
			if err != nil {
				t.Fatal(err)
			}
			cases := []struct {
				tell func() error
				want string
			}{
				{m.Ready, "READY=1"},
				{m.Well, "WATCHDOG=1"},
				{m.Stopping, "STOPPING=1"},
				{func() error { return m.Extend(30 * time.Second) }, "EXTEND_TIMEOUT_USEC=30000000"},
				{func() error { return m.Status("replaying\nREADY=1") }, "STATUS=replaying READY=1"},
			}
			for _, c := range cases {
				if err := c.tell(); err != nil {
					t.Fatal(err)
				}
				if got := hear(t, conn); got != c.want {
					t.Errorf("heard %q, want %q", got, c.want)
				}
			}
		})
	}
}

// Tasks that a groom starts get what is left of its environment.
func TestTakeRemovesTheVariables(t *testing.T) {
	if _, err := take(t, "/run/systemd/notify", "1000", "1"); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if value, ok := os.LookupEnv(v); ok {
			t.Errorf("%s=%s is left", v, value)
		}
	}
}

func TestWatchdog(t *testing.T) {
	cases := []struct {
		name, usec, pid string
		want            time.Duration
		bad             bool
	}{
		{"none", "", "", 0, false},
		{"of this process", "30000000", fmt.Sprint(os.Getpid()), 30 * time.Second, false},
		{"of whoever was started", "30000000", "", 30 * time.Second, false},
		{"of another process", "30000000", "1", 0, false},
		{"not a number", "soon", "", 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := take(t, "/run/systemd/notify", c.usec, c.pid)
			if (err != nil) != c.bad || m.Watchdog() != c.want {
				t.Errorf("got %v, %v; want %v", m.Watchdog(), err, c.want)
			}
		})
	}
}

// A process that nobody watches tells nobody.
func TestNobodyListens(t *testing.T) {
	m, err := take(t, "", "1000", "")
	if err != nil || m != nil {
		t.Fatalf("got %v, %v", m, err)
	}
	for _, err := range []error{m.Ready(), m.Well(), m.Stopping(), m.Status("well"), m.Extend(time.Second)} {
		if err != nil {
			t.Error(err)
		}
	}
	if m.Watchdog() != 0 {
		t.Error("nobody has a watchdog")
	}
	if _, err := take(t, "vsock:2:1234", "", ""); err == nil {
		t.Error("an address that is no unix socket is taken for one")
	}
}

func TestStatusIsToldOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn := manager(t, name)
	m, err := take(t, name, "", "")
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	for _, words := range []string{"one", "one", "two", "one"} {
		if err := m.Status(words); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Ready(); err != nil {
		t.Fatal(err)
	}
	for len(heard) == 0 || heard[len(heard)-1] != "READY=1" {
		heard = append(heard, hear(t, conn))
	}
	if diff := cmp.Diff([]string{"STATUS=one", "STATUS=two", "STATUS=one", "READY=1"}, heard); diff != "" {
		t.Error(diff)
	}
}

// A manager that reads nothing does not hold up the groom for ever, and one that has gone is an error.
func TestManagerThatDoesNotRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn := manager(t, name)
	m, err := take(t, name, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 { // more than any queue of datagrams takes
		if err = m.Well(); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a time-out", err)
	}
	conn.Close()
	if err := m.Well(); err == nil {
		t.Error("a manager that has gone was told")
	}
}
