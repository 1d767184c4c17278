package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// secureTransport uses the HTTPS client of the standard library for both protocols. Real clients of the sidecar use such a
// library, and the cost of the client must be comparable for both protocols.
func secureTransport(load options) (*http.Transport, error) {
	pem, err := os.ReadFile(load.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + load.ca)
	}
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: roots},
		DisableCompression: true,
		DialContext:        (&slowDialer{load.rate > 0 || load.link > 0 || load.hostLink > 0}).dial,
		ForceAttemptHTTP2:  load.http2,
	}
	if !load.http2 {
		// An empty map disables HTTP/2 (net/http, Transport.TLSNextProto), but the handshake must not offer it either.
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return transport, nil
}

type slowDialer struct{ isSlow bool }

func (d *slowDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, network, address)
	if err == nil && d.isSlow {
		conn.(*net.TCPConn).SetReadBuffer(bufferSize)
	}
	return conn, err
}

// getSecurely sends one request over HTTPS. Each client has its own connection.
func (c *client) getSecurely(address string, result *tally) error {
	if c.secure == nil {
		transport, err := secureTransport(c.load)
		if err != nil {
			return err
		}
		c.secure = transport
	}
	began := time.Now()
	deadline := began.Add(patience)
	if !c.cutOff.IsZero() {
		deadline = c.cutOff
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if c.load.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.load.token)
	}
	response, err := c.secure.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		io.Copy(io.Discard, response.Body)
		return fmt.Errorf("status %d", response.StatusCode)
	}
	if isHTTP2 := response.ProtoMajor == 2; isHTTP2 != c.load.http2 {
		return errors.New("answered by " + response.Proto)
	}
	if response.ContentLength < 0 {
		return errors.New("no Content-Length")
	}
	return c.readBody(response.Body, response.ContentLength, nil, began, result)
}
