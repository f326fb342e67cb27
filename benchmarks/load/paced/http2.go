package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// The part of RFC 9113 that a gRPC client needs.
const (
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagAck        = 0x1 // of SETTINGS and PING
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingTableSize    = 0x1
	settingPush         = 0x2
	settingStreams      = 0x3
	settingWindow       = 0x4
	settingFrameSize    = 0x5
	usualWindow         = 65535
	usualFrameSize      = 16384
	usualTableSize      = 4096
	ourWindow           = 1 << 24 // bytes that the server may send on a stream
	ourConnectionWindow = 1 << 30
	refillWindow        = 1 << 29
	errorCancel         = 8
	lastStream          = 1<<31 - 1
	framePrefix         = 5 // bytes of gRPC before a message
)

var errFrame = errors.New("a malformed HTTP/2 frame")

// stream is a request under way.
type stream struct {
	number int
	http   string
	status string
	data   []byte
}

// http2 has as many requests under way as the server allows, or -streams.
type http2 struct {
	loop    *loop
	socket  *socket
	longest int64 // bytes of the longest message, with its gRPC prefix
	in      []byte

	streams  map[uint32]*stream
	spare    []*stream
	next     uint32
	settled  bool // the server's settings are known
	draining bool
	most     int
	frame    int   // bytes of a frame that the server takes
	initial  int64 // window of a stream
	window   int64 // of the connection: bytes that we may send
	received int64 // since the connection's window was last refilled

	encoded  bytes.Buffer
	encoder  *hpack.Encoder
	decoder  *hpack.Decoder
	fields   []hpack.HeaderField
	block    []byte // header block under way
	blockFor uint32
	blockEnd bool // it ends its stream
	current  *stream
}

func newHTTP2(l *loop, s *socket) *http2 {
	h := &http2{
		loop: l, socket: s, streams: map[uint32]*stream{}, next: 1, most: l.streams,
		frame: usualFrameSize, initial: usualWindow, window: usualWindow,
	}
	for _, message := range l.payloads {
		h.longest = max(h.longest, int64(len(message)))
	}
	h.encoder = hpack.NewEncoder(&h.encoded)
	h.decoder = hpack.NewDecoder(usualTableSize, h.field)
	h.fields = []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: l.path},
		{Name: ":authority", Value: l.authority},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
	}
	for _, header := range l.headers {
		h.fields = append(h.fields, hpack.HeaderField{Name: header[0], Value: header[1]})
	}
	s.out = append(s.out, preface...)
	settings := setting(setting(nil, settingPush, 0), settingWindow, ourWindow)
	h.put(frameSettings, 0, 0, settings)
	h.put(frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, ourConnectionWindow))
	return h
}

// framed returns messages as gRPC puts them on the wire; without any, the empty one.
func framed(messages [][]byte) [][]byte {
	if len(messages) == 0 {
		messages = [][]byte{nil}
	}
	all := make([][]byte, len(messages))
	for i, message := range messages {
		all[i] = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	}
	return all
}

func setting(to []byte, name uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(to, name), value)
}

// put appends a frame to what is to be sent.
func (h *http2) put(kind, flags byte, on uint32, payload []byte) {
	size := len(payload)
	h.socket.out = append(h.socket.out, byte(size>>16), byte(size>>8), byte(size), kind, flags)
	h.socket.out = binary.BigEndian.AppendUint32(h.socket.out, on)
	h.socket.out = append(h.socket.out, payload...)
}

func (h *http2) ready() bool    { return h.settled }
func (h *http2) finished() bool { return h.draining && len(h.streams) == 0 }

func (h *http2) room() bool {
	if h.settled && h.initial < h.longest {
		h.loop.fatal = fmt.Errorf("the server takes %d bytes on a stream at first, expected %d", h.initial, h.longest)
	}
	return !h.draining && len(h.streams) < h.most && min(h.initial, h.window) >= h.longest
}

func (h *http2) unanswered() []int {
	numbers := make([]int, 0, len(h.streams))
	for call := range maps.Values(h.streams) {
		numbers = append(numbers, call.number)
	}
	return numbers
}

func (h *http2) abandon(number int) bool {
	for id, call := range h.streams {
		if call.number == number {
			delete(h.streams, id)
			h.put(frameReset, 0, id, binary.BigEndian.AppendUint32(nil, errorCancel))
			h.loop.touch(h.socket)
			break
		}
	}
	return false
}

func (h *http2) send(number int) {
	var call *stream
	if last := len(h.spare) - 1; last >= 0 {
		call, h.spare = h.spare[last], h.spare[:last]
		*call = stream{number: number, data: call.data[:0]}
	} else {
		call = &stream{number: number}
	}
	id := h.next
	h.next += 2
	h.draining = h.next > lastStream-2
	h.streams[id] = call
	h.encoded.Reset()
	for _, field := range h.fields {
		_ = h.encoder.WriteField(field) // into memory: cannot fail
	}
	h.put(frameHeaders, flagEndHeaders, id, h.encoded.Bytes())
	rest := h.loop.payloads[number%len(h.loop.payloads)]
	h.window -= int64(len(rest))
	for len(rest) > h.frame {
		h.put(frameData, 0, id, rest[:h.frame])
		rest = rest[h.frame:]
	}
	h.put(frameData, flagEndStream, id, rest)
}

func (h *http2) receive(data []byte) error {
	if len(h.in) > 0 {
		h.in = append(h.in, data...)
		data = h.in
	}
	for len(data) >= 9 {
		size := 9 + int(data[0])<<16 + int(data[1])<<8 + int(data[2])
		if size > 9+usualFrameSize {
			return errFrame
		}
		if len(data) < size {
			break
		}
		if err := h.take(data[3], data[4], binary.BigEndian.Uint32(data[5:])&lastStream, data[9:size]); err != nil {
			return err
		}
		data = data[size:]
	}
	h.in = append(h.in[:0], data...)
	return nil
}

// take handles one frame.
func (h *http2) take(kind, flags byte, on uint32, payload []byte) error {
	switch kind {
	case frameData:
		return h.takeData(flags, on, payload)
	case frameHeaders:
		payload, err := unpadded(flags, payload)
		if err != nil {
			return err
		}
		if flags&flagPriority != 0 {
			if len(payload) < 5 {
				return errFrame
			}
			payload = payload[5:]
		}
		h.block, h.blockFor, h.blockEnd = append(h.block[:0], payload...), on, flags&flagEndStream != 0
		return h.endBlock(flags)
	case frameContinuation:
		h.block = append(h.block, payload...)
		return h.endBlock(flags)
	case frameReset:
		h.end(on)
	case frameSettings:
		return h.takeSettings(flags, payload)
	case framePing:
		if flags&flagAck == 0 {
			h.put(framePing, flagAck, 0, payload)
		}
	case frameGoAway:
		if len(payload) < 8 {
			return errFrame
		}
		h.draining = true
		last := binary.BigEndian.Uint32(payload) & lastStream
		for id := range h.streams {
			if id > last {
				h.end(id)
			}
		}
	case frameWindowUpdate:
		if len(payload) != 4 {
			return errFrame
		}
		if on == 0 {
			h.window += int64(binary.BigEndian.Uint32(payload) & lastStream)
		}
	case framePushPromise:
		return errFrame
	}
	return nil
}

func unpadded(flags byte, payload []byte) ([]byte, error) {
	if flags&flagPadded == 0 {
		return payload, nil
	}
	if len(payload) < 1 || len(payload)-1 < int(payload[0]) {
		return nil, errFrame
	}
	return payload[1 : len(payload)-int(payload[0])], nil
}

func (h *http2) takeData(flags byte, on uint32, payload []byte) error {
	if h.received += int64(len(payload)); h.received > refillWindow {
		h.put(frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(h.received)))
		h.received = 0
	}
	payload, err := unpadded(flags, payload)
	if err != nil {
		return err
	}
	if call := h.streams[on]; call != nil {
		call.data = append(call.data, payload...)
	}
	if flags&flagEndStream != 0 {
		h.end(on)
	}
	return nil
}

func (h *http2) takeSettings(flags byte, payload []byte) error {
	if flags&flagAck != 0 {
		return nil
	}
	for ; len(payload) >= 6; payload = payload[6:] {
		value := binary.BigEndian.Uint32(payload[2:])
		switch binary.BigEndian.Uint16(payload) {
		case settingTableSize:
			h.encoder.SetMaxDynamicTableSizeLimit(value)
		case settingStreams:
			h.most = min(h.loop.streams, int(value))
		case settingWindow:
			h.initial = int64(value)
		case settingFrameSize:
			h.frame = int(value)
		}
	}
	h.settled = true
	h.put(frameSettings, flagAck, 0, nil)
	return nil
}

// endBlock reads a header block once all of it is there. Blocks of streams given up must be read too: their fields
// go into the table that later blocks refer to.
func (h *http2) endBlock(flags byte) error {
	if flags&flagEndHeaders == 0 {
		return nil
	}
	h.current = h.streams[h.blockFor]
	if _, err := h.decoder.Write(h.block); err != nil {
		return err
	}
	if err := h.decoder.Close(); err != nil {
		return err
	}
	if h.blockEnd {
		h.end(h.blockFor)
	}
	return nil
}

func (h *http2) field(field hpack.HeaderField) {
	switch {
	case h.current == nil:
	case field.Name == ":status":
		h.current.http = field.Value
	case field.Name == "grpc-status":
		h.current.status = field.Value
	}
}

// end takes what came on a stream for the answer; a reset stream has no grpc-status. The body is the message.
func (h *http2) end(id uint32) {
	call := h.streams[id]
	if call == nil {
		return
	}
	delete(h.streams, id)
	status, err := strconv.Atoi(call.status)
	if err != nil {
		status = -1
	}
	good := status == 0 && call.http == "200" && len(call.data) >= framePrefix
	h.loop.answered(call.number, int32(status), good, call.data[min(framePrefix, len(call.data)):])
	h.spare = append(h.spare, call)
}
