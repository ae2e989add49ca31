package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// clientConn is the client's end of a keep-alive connection. It reads no more of an answer than its status and its length:
// the load generator shares its cores with what it measures, so what it spends is taken from both sides.
type clientConn struct {
	conn   net.Conn
	reader *bufio.Reader
}

func newClientConn(conn net.Conn) *clientConn {
	return &clientConn{conn: conn, reader: bufio.NewReader(conn)}
}

// interrupt ends an exchange that waits.
func (c *clientConn) interrupt() { _ = c.conn.SetDeadline(time.Unix(1, 0)) } // fails only on a closed connection

func (c *clientConn) close() error { return c.conn.Close() }

// errRefused is matched by the error of an exchange that was answered 503.
var errRefused = errors.New("refused for now")

// exchange sends a request and reads its answer to the end. An answer with another status is an error that holds the
// beginning of its body.
func (c *clientConn) exchange(request []byte, want int) error {
	// A server may refuse, and stop reading, before the request is sent as a whole; its answer tells more than the error.
	_, sendErr := c.conn.Write(request)
	status, length, err := c.readHead()
	if err != nil {
		return fmt.Errorf("read an answer: %w", errors.Join(sendErr, err))
	}
	if status != want {
		beginning, err := io.ReadAll(io.LimitReader(c.reader, int64(min(length, 500))))
		if status == http.StatusServiceUnavailable {
			err = errors.Join(errRefused, err)
		}
		return errors.Join(fmt.Errorf("answered %d, not %d: %s", status, want, beginning), err)
	}
	if _, err := c.reader.Discard(length); err != nil {
		return fmt.Errorf("read an answer's body: %w", err)
	}
	return nil
}

// readHead reads status line and header fields (RFC 9112). An answer without a length is an error: both servers send one.
func (c *clientConn) readHead() (status, length int, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
				return 0, 0, fmt.Errorf("%.40q is no status line", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, 0, fmt.Errorf("status line %.40q: %w", line, err)
			}
			continue
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, 0, fmt.Errorf("header field %.60q: %w", line, err)
			}
		}
	}
	if length < 0 {
		return 0, 0, fmt.Errorf("an answer %d %s without a length", status, http.StatusText(status))
	}
	return status, length, nil
}
