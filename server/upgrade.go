package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"groom/api"
)

// upgrade turns a request into a stream of frames in both directions.
func upgrade(w http.ResponseWriter, r *http.Request, protocol string) (io.ReadWriteCloser, error) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), protocol) {
		return nil, api.Problemf(api.CodeInvalid, "no upgrade to %s asked for", protocol).
			WithHint("send Connection: Upgrade and Upgrade: %s", protocol)
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("answer upgrade: %w", err)
	}
	return &stream{Conn: conn, r: buffered.Reader}, nil
}

// stream reads what came together with the request first.
type stream struct {
	net.Conn
	r *bufio.Reader
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// askUpgrade asks the other side of a connection for a stream.
func askUpgrade(conn net.Conn, host, path string, header http.Header) (io.ReadWriteCloser, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+host+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header = header
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("ask for upgrade: %w", err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // for the error alone
		return nil, fmt.Errorf("no upgrade: %s: %s", resp.Status, body)
	}
	return &stream{Conn: conn, r: r}, nil
}
