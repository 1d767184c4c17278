package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	bufferSize = 256 << 10
	// The bytes that a slow client reads at once. A tenth of a second at 256 KiB/s would be 26 KiB.
	slowRead = 16 << 10
	// The bytes that a client takes of a shared link at once.
	linkRead = 64 << 10
	patience = 120 * time.Second
)

var (
	errNotTheBytes = errors.New("wrong digest of the body")
	errRefused     = errors.New("status 503")
)

type client struct {
	load    options
	buffer  []byte
	conn    net.Conn
	host    string
	secure  *http.Transport
	cutOff  time.Time
	hashing hash.Hash
	began   time.Time
	links   *links
	// The link of the requested host.
	link *link
}

func newClient(load options, began time.Time, shared *links) *client {
	one := &client{load: load, buffer: make([]byte, bufferSize), began: began, links: shared}
	if load.rate > 0 {
		one.buffer = one.buffer[:slowRead]
	} else if shared != nil {
		one.buffer = one.buffer[:linkRead]
	}
	if load.cutOff > 0 {
		one.cutOff = began.Add(load.cutOff)
	}
	if load.sha256 != "" {
		one.hashing = sha256.New()
	}
	return one
}

func (c *client) run(work *queue, result *tally) {
	defer c.hangUp()
	for {
		index, more := work.take()
		if !more {
			return
		}
		if !c.fetch(c.load.urls[index%len(c.load.urls)], result) {
			return
		}
	}
}

func (c *client) runPlan(urls []string, result *tally) {
	defer c.hangUp()
	for _, address := range urls {
		if !c.fetch(address, result) {
			return
		}
	}
}

// fetch returns false if the client was cut off.
func (c *client) fetch(address string, result *tally) bool {
	err := c.get(address, result)
	for c.load.retries && errors.Is(err, errRefused) {
		result.retried++
		time.Sleep(time.Second)
		err = c.get(address, result)
	}
	switch {
	case err == nil:
		result.requests++
		result.finishedMs += float64(time.Since(c.began).Microseconds()) / 1000
	case !c.cutOff.IsZero() && isTimeout(err) && !time.Now().Before(c.cutOff):
		result.cutOff++
		return false
	default:
		result.failures++
		result.failure = err
		c.hangUp()
	}
	return true
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// get sends one request, on the connection of the previous request if it is still open.
func (c *client) get(address string, result *tally) error {
	target, err := url.Parse(address)
	if err != nil {
		return err
	}
	if c.links != nil {
		c.link = c.links.of(target.Host)
	}
	if target.Scheme == "https" {
		return c.getSecurely(address, result)
	}
	if err := c.dial(target.Host); err != nil {
		return err
	}
	began := time.Now()
	deadline := began.Add(patience)
	if !c.cutOff.IsZero() {
		deadline = c.cutOff
	}
	c.conn.SetDeadline(deadline)
	request := "GET " + target.RequestURI() + " HTTP/1.1\r\nHost: " + target.Host + "\r\n\r\n"
	if _, err := c.conn.Write([]byte(request)); err != nil {
		return err
	}
	length, rest, closes, err := c.readHead()
	if err != nil {
		// The body of a refusal is not read.
		c.hangUp()
		return err
	}
	if err := c.readBody(c.conn, length, rest, began, result); err != nil {
		return err
	}
	if closes {
		c.hangUp()
	}
	return nil
}

func (c *client) dial(host string) error {
	if c.conn != nil && c.host == host {
		return nil
	}
	c.hangUp()
	conn, err := net.DialTimeout("tcp", host, patience)
	if err != nil {
		return err
	}
	if c.load.rate > 0 || c.links != nil {
		// A small receive buffer: otherwise the kernel would read fast for a slow client.
		conn.(*net.TCPConn).SetReadBuffer(bufferSize)
	}
	c.conn, c.host = conn, host
	return nil
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
	if c.secure != nil {
		c.secure.CloseIdleConnections()
	}
}

// readHead returns the announced length and the bytes of the body that came with the head.
func (c *client) readHead() (length int64, rest []byte, closes bool, err error) {
	filled := 0
	for {
		count, err := c.conn.Read(c.buffer[filled:])
		filled += count
		if end := bytes.Index(c.buffer[:filled], []byte("\r\n\r\n")); end >= 0 {
			length, closes, err := parseHead(string(c.buffer[:end]))
			return length, c.buffer[end+4 : filled], closes, err
		}
		if err != nil {
			return 0, nil, false, err
		}
		if filled == len(c.buffer) {
			return 0, nil, false, errors.New("incomplete head")
		}
	}
}

func parseHead(head string) (length int64, closes bool, err error) {
	lines := strings.Split(head, "\r\n")
	if strings.HasPrefix(lines[0], "HTTP/1.1 503 ") {
		return 0, false, errRefused
	}
	if !strings.HasPrefix(lines[0], "HTTP/1.1 200 ") {
		return 0, false, fmt.Errorf("status %q", lines[0])
	}
	length = -1
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.ParseInt(value, 10, 64); err != nil {
				return 0, false, err
			}
		case "connection":
			closes = strings.EqualFold(value, "close")
		}
	}
	if length < 0 {
		return 0, false, errors.New("no Content-Length")
	}
	return length, closes, nil
}

// readBody reads exactly the announced length. A connection that ends before is an error.
func (c *client) readBody(body io.Reader, length int64, rest []byte, began time.Time, result *tally) error {
	if int64(len(rest)) > length {
		return errors.New("more bytes than announced")
	}
	if c.hashing != nil {
		c.hashing.Reset()
	}
	first := true
	started := time.Now()
	chunk := rest
	for read := int64(0); ; {
		if first && (len(chunk) > 0 || length == 0) {
			first = false
			result.firstByteMs = append(result.firstByteMs, float64(time.Since(began).Microseconds())/1000)
		}
		read += int64(len(chunk))
		result.bytes += int64(len(chunk))
		if c.hashing != nil {
			c.hashing.Write(chunk)
		}
		if read == length {
			break
		}
		c.pace(started, read, len(chunk))
		count, err := body.Read(c.buffer[:min(int64(len(c.buffer)), length-read)])
		chunk = c.buffer[:count]
		if count == 0 && err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", read, length, err)
		}
	}
	if c.hashing != nil && hex.EncodeToString(c.hashing.Sum(nil)) != c.load.sha256 {
		return errNotTheBytes
	}
	return nil
}
