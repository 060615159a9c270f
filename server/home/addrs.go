package home

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
)

// Listen opens a server's listener. A port that is left to chance (":0") is kept in the data directory and taken again
// by the next start, since living tasks were told of it.
func (h *Home) Listen(server, addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address of the %s server: %w", server, err)
	}
	addrs := h.Addrs()
	if port == "0" {
		if keptHost, _, err := net.SplitHostPort(addrs[server]); err == nil && keptHost == host {
			if l, err := net.Listen("tcp", addrs[server]); err == nil {
				return l, nil
			}
			// Somebody else has it by now: any other will do.
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s server: %w", server, err)
	}
	addrs = maps.Clone(addrs)
	addrs[server] = l.Addr().String()
	// A kill before this is written costs the port number: nobody was told of it yet.
	if err := h.keepAddrs(addrs); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Addrs is where the servers of the process listen, or listened last, by the name of the server.
func (h *Home) Addrs() map[string]string { return ReadAddrs(h.Dir) }

// ReadAddrs is where the servers of the process that holds a data directory listen, for the CLI of the same user.
func ReadAddrs(dir string) map[string]string {
	addrs := map[string]string{}
	if b, err := os.ReadFile(addrsPath(dir)); err == nil {
		_ = json.Unmarshal(b, &addrs) // a damaged file costs a port number, no more
	}
	return addrs
}

func addrsPath(dir string) string { return (&Home{Dir: dir}).Path("addrs") }

func (h *Home) keepAddrs(addrs map[string]string) error {
	b, err := json.MarshalIndent(addrs, "", "  ")
	if err != nil {
		return fmt.Errorf("encode addresses: %w", err)
	}
	if old, err := os.ReadFile(h.Path("addrs")); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return WriteFile(h.Path("addrs"), b)
}
