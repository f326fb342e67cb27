package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var errAnswer = errors.New("no valid HTTP/1.1 answer")

// http1 has one request under way, or none. An answer needs a Content-Length or to be chunked.
type http1 struct {
	loop    *loop
	socket  *socket
	under   int // the number of the request under way, -1 for none
	in      []byte
	closing bool
}

func newHTTP1(l *loop, s *socket) *http1 {
	return &http1{loop: l, socket: s, under: -1}
}

// requests returns the requests that are sent in turn: as many as there are bodies, or headers that change.
func requests(t target) [][]byte {
	all := make([][]byte, max(len(t.bodies), len(t.inTurn), 1))
	for i := range all {
		headers, body := t.headers, []byte(nil)
		if len(t.inTurn) > 0 {
			headers = append(slices.Clip(headers), t.inTurn[i%len(t.inTurn)])
		}
		if len(t.bodies) > 0 {
			body = t.bodies[i%len(t.bodies)]
		}
		all[i] = requestBytes(t, headers, body)
	}
	return all
}

func requestBytes(t target, headers [][2]string, body []byte) []byte {
	method := "GET"
	if body != nil {
		method = "POST"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\n", method, t.path)
	host := true
	for _, header := range headers {
		host = host && !strings.EqualFold(header[0], "host")
	}
	if host {
		fmt.Fprintf(&text, "Host: %s\r\n", t.authority)
	}
	for _, header := range headers {
		fmt.Fprintf(&text, "%s: %s\r\n", header[0], header[1])
	}
	if body != nil {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	return append([]byte(text.String()+"\r\n"), body...)
}

func (h *http1) ready() bool    { return true }
func (h *http1) room() bool     { return h.under < 0 && !h.closing }
func (h *http1) finished() bool { return h.under < 0 && h.closing }

func (h *http1) unanswered() []int {
	if h.under < 0 {
		return nil
	}
	return []int{h.under}
}

func (h *http1) abandon(int) bool { return true }

func (h *http1) send(number int) {
	h.under = number
	h.socket.out = append(h.socket.out, h.loop.payloads[number%len(h.loop.payloads)]...)
}

func (h *http1) receive(data []byte) error {
	h.in = append(h.in, data...)
	for len(h.in) > 0 {
		if h.under < 0 {
			return errAnswer // to nothing that was asked
		}
		got, size, err := parseAnswer(h.in)
		if err != nil || size == 0 {
			return err
		}
		if got.status >= 200 { // 100 and 103 come before the answer
			h.loop.answered(h.under, got.status, got.status < 300, got.body)
			h.under, h.closing = -1, got.last
		}
		h.in = h.in[:copy(h.in, h.in[size:])]
	}
	return nil
}

// answer is an HTTP/1.1 answer. last: the server closes the connection after it.
type answer struct {
	status int32
	last   bool
	body   []byte
}

// parseAnswer returns the answer at the begin of data and its size there; 0: more must come.
func parseAnswer(data []byte) (answer, int, error) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return answer{}, 0, nil
	}
	line, headers, _ := bytes.Cut(data[:end], []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return answer{}, 0, errAnswer
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return answer{}, 0, errAnswer
	}
	got := answer{status: int32(status)}
	length, chunked := -1, false
	for len(headers) > 0 {
		line, headers, _ = bytes.Cut(headers, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return answer{}, 0, errAnswer
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("connection")):
			got.last = bytes.EqualFold(value, []byte("close"))
		}
	}
	rest := data[end+4:]
	switch {
	case status < 200 || status == 204 || status == 304:
		return got, end + 4, nil
	case chunked:
		body, size, err := parseChunks(rest)
		if err != nil || size == 0 {
			return answer{}, 0, err
		}
		got.body = body
		return got, end + 4 + size, nil
	case length < 0:
		return answer{}, 0, errAnswer
	case len(rest) < length:
		return answer{}, 0, nil
	}
	got.body = rest[:length]
	return got, end + 4 + length, nil
}

// parseChunks returns a chunked body and its size on the wire; 0: more must come. Trailers are not understood.
func parseChunks(data []byte) ([]byte, int, error) {
	var body []byte
	for at := 0; ; {
		line, _, found := bytes.Cut(data[at:], []byte("\r\n"))
		if !found {
			return nil, 0, nil
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 31)
		if err != nil {
			return nil, 0, errAnswer
		}
		begin := at + len(line) + 2
		at = begin + int(size) + 2
		if len(data) < at {
			return nil, 0, nil
		}
		if data[at-2] != '\r' || data[at-1] != '\n' {
			return nil, 0, errAnswer
		}
		if size == 0 {
			return body, at, nil
		}
		body = append(body, data[begin:at-2]...)
	}
}
