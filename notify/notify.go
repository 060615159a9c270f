// Package notify tells the service manager that started this process how the process is: systemd's protocol, a datagram
// of lines to the socket that NOTIFY_SOCKET names.
package notify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience bounds one message. A manager that does not read must not hold up the process that it is to watch.
const patience = time.Second

// Manager is who started the process. A nil Manager is nobody: telling it anything does nothing.
type Manager struct {
	addr     *net.UnixAddr
	watchdog time.Duration

	mu     sync.Mutex
	status string // the newest that was told
}

// Take reads who started the process, nil when nobody wants to know, and removes the variables that say so: what this
// process starts must not speak for it.
func Take() (*Manager, error) {
	name, usec, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(v) // fails for no valid name
	}
	if name == "" {
		return nil, nil
	}
	if name[0] != '/' && name[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET=%q: want a path, or @ and a name", name)
	}
	m := &Manager{addr: &net.UnixAddr{Name: name, Net: "unixgram"}}
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return m, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 {
		return m, fmt.Errorf("WATCHDOG_USEC=%q: want microseconds", usec)
	}
	m.watchdog = time.Duration(n) * time.Microsecond
	return m, nil
}

// Watchdog is how often the manager wants to hear that the process is well, 0 when it does not.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready says that the process does what it is for.
func (m *Manager) Ready() error { return m.send("READY=1") }

// Stopping says that the process is about to end because it was asked to.
func (m *Manager) Stopping() error { return m.send("STOPPING=1") }

// Well feeds the watchdog.
func (m *Manager) Well() error { return m.send("WATCHDOG=1") }

// Extend asks for more time to start, from now on.
func (m *Manager) Extend(d time.Duration) error {
	return m.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// Status tells in words what the process does, unless that is what it told last.
func (m *Manager) Status(words string) error {
	if m == nil {
		return nil
	}
	words = strings.Join(strings.Fields(words), " ") // one line
	m.mu.Lock()
	defer m.mu.Unlock()
	if words == m.status {
		return nil
	}
	err := m.send("STATUS=" + words)
	if err == nil {
		m.status = words
	}
	return err
}

// send opens a socket for each message: a manager that was started again meanwhile listens on a new one.
func (m *Manager) send(line string) error {
	if m == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, m.addr)
	if err != nil {
		return fmt.Errorf("reach service manager: %w", err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(patience)) // a socket takes deadlines
	if _, err := conn.Write([]byte(line + "\n")); err != nil {
		return fmt.Errorf("tell service manager: %w", err)
	}
	return nil
}
