package main

import (
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// settings are those of the command line.
type settings struct {
	rate        float64 // a second; 0: a closed loop
	length      time.Duration
	connections int
	most        int
	streams     int
	timeout     time.Duration
}

// request is one request and what became of it. due, sent: ns since the begin.
type request struct {
	due, sent, latency int64 // latency 0: not known yet
	status             int32 // of HTTP, for gRPC the grpc-status; -1: no answer
	length             uint32
	crc                uint32
	good               bool
}

// link speaks a protocol over one connection. It does no I/O: bytes to send are appended to its socket's out.
type link interface {
	ready() bool                     // the handshake is over
	room() bool                      // can take a request now
	send(number int)                 // puts a request into out
	receive(data []byte) error       // takes what came, and tells the loop of answers; an error ends the connection
	finished() bool                  // takes no more requests, and has none under way: to be closed
	unanswered() []int               // requests under way
	abandon(number int) (close bool) // gives up on one; close: the connection can serve no other before its answer
}

// socket is a connection. out: bytes not yet taken by the kernel.
type socket struct {
	fd      int
	out     []byte
	dirty   bool // has new bytes in out
	waiting bool // for the kernel to take more
	link    link
}

// loop sends and receives everything, in one thread: it sleeps until a request is due (a timer file descriptor, exact
// to microseconds, which a sleep is not) or something came, whichever is first.
type loop struct {
	settings
	target
	poll, timer int
	begin       time.Time
	epoch       int64 // the begin in ns since 1970
	sockets     map[int]*socket
	order       []*socket // all of them, for gRPC in turn, for HTTP the last that became idle first
	payloads    [][]byte  // as they are sent, in turn: HTTP requests, or gRPC messages with their prefix
	idle        []*socket // HTTP only: those that may have room
	dirty       []*socket
	turn        int
	requests    []request
	total       int // of an open loop
	oldest      int // no request before this one is under way
	fullUntil   int64
	full        bool
	waited      int
	opened      int
	done        int
	last        int64
	started     bool
	lost        error // why a connection was lost, the last time
	fatal       error
	buffer      []byte
}

const (
	burst     = 64 // requests that are sent before answers are looked at again, when behind
	patience  = 10 * time.Second
	lateStart = 5 * time.Millisecond
)

func newLoop(to target, with settings) *loop {
	l := &loop{settings: with, target: to, sockets: map[int]*socket{}, buffer: make([]byte, 1<<18)}
	expected := 1 << 20
	if with.rate > 0 {
		l.total = max(int(with.rate*with.length.Seconds()+0.5), 1)
		expected = l.total
	}
	l.requests = make([]request, 0, expected)
	if to.grpc {
		l.payloads = framed(to.bodies)
	} else {
		l.payloads = requests(to)
	}
	return l
}

// now returns ns since the begin.
func (l *loop) now() int64 { return int64(time.Since(l.begin)) }

// due returns when a request of an open loop is due.
func (l *loop) due(number int) int64 { return int64(float64(number) / l.rate * 1e9) }

func (l *loop) run() error {
	var err error
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	if err := l.watch(unix.EPOLL_CTL_ADD, l.timer, unix.EPOLLIN); err != nil {
		return err
	}
	l.begin = time.Now()
	if err := l.connect(); err != nil {
		return err
	}
	l.started = true
	l.begin = time.Now().Add(lateStart)
	l.epoch = l.begin.UnixNano()
	for l.fatal == nil && !l.over() {
		now := l.now()
		more := l.sendDue(now)
		l.flush()
		l.giveUp(l.now())
		if l.over() {
			break
		}
		if err := l.wait(more); err != nil {
			return err
		}
	}
	return l.fatal
}

// connect opens the first connections, and waits until all have shaken hands.
func (l *loop) connect() error {
	for range l.connections {
		if _, err := l.open(); err != nil {
			return err
		}
	}
	l.flush()
	for l.now() < int64(patience) {
		ready := 0
		for _, s := range l.order {
			if s.link.ready() {
				ready++
			}
		}
		if ready == l.connections {
			return nil
		}
		if len(l.order) < l.connections {
			return fmt.Errorf("a connection was lost before the begin: %w", l.lost)
		}
		if err := l.step(10); err != nil {
			return err
		}
		l.flush()
	}
	return fmt.Errorf("no connection within %v", patience)
}

// over returns whether nothing more is to be sent, and nothing awaited.
func (l *loop) over() bool { return l.allSent(l.now()) && l.done == len(l.requests) }

func (l *loop) allSent(now int64) bool {
	if l.rate > 0 {
		return len(l.requests) == l.total
	}
	return now >= int64(l.length)
}

// sendDue sends what is due, and returns whether more could be sent at once.
func (l *loop) sendDue(now int64) bool {
	if l.full {
		l.fullUntil, l.full = now, false
	}
	for range burst {
		number := len(l.requests)
		if l.allSent(now) {
			return false
		}
		due := now
		if l.rate > 0 {
			due = l.due(number)
		}
		if due > now || now < 0 {
			return false
		}
		if due+int64(l.timeout) <= now { // not sent in time
			l.requests = append(l.requests, request{due: due, sent: now})
			l.answered(number, -1, false, nil)
			l.waited++
			continue
		}
		s, err := l.withRoom()
		if err != nil && l.rate == 0 {
			l.fatal = err
			return false
		}
		if err != nil {
			l.requests = append(l.requests, request{due: due, sent: now})
			l.answered(number, -1, false, nil)
			continue
		}
		if s == nil {
			l.full = l.rate > 0 // in a closed loop that is how it should be
			return false
		}
		if due < l.fullUntil {
			l.waited++
		}
		now = l.now()
		if l.rate == 0 {
			due = now
		}
		l.requests = append(l.requests, request{due: due, sent: now, status: -1})
		s.link.send(number)
		l.touch(s)
	}
	return true
}

// withRoom returns a connection that can take a request, a new one where that is allowed; nil where it has to wait.
func (l *loop) withRoom() (*socket, error) {
	if l.grpc {
		for range l.order {
			l.turn = (l.turn + 1) % len(l.order)
			if s := l.order[l.turn]; s.link.room() {
				return s, nil
			}
		}
		if len(l.order) < l.connections { // one was closed by the server
			return l.open()
		}
		return nil, nil
	}
	for len(l.idle) > 0 {
		s := l.idle[len(l.idle)-1]
		l.idle = l.idle[:len(l.idle)-1]
		if l.sockets[s.fd] == s && s.link.room() {
			return s, nil
		}
	}
	most := l.most
	if l.rate == 0 {
		most = l.connections
	}
	if len(l.order) < most {
		return l.open()
	}
	return nil, nil
}

// open makes a connection; nil where the server has too many to accept already.
func (l *loop) open() (*socket, error) {
	fd, err := unix.Socket(l.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if l.family != unix.AF_UNIX {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	// Before the begin we wait for the connection. Later it is made while others work, and a refusal comes as an event.
	if err = unix.SetNonblock(fd, l.started); err == nil {
		err = unix.Connect(fd, l.address)
	}
	if err == unix.EAGAIN && len(l.order) > 0 { // a unix socket's queue is full: not now, another will be free first
		unix.Close(fd)
		return nil, nil
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	s := &socket{fd: fd}
	if l.grpc {
		s.link = newHTTP2(l, s)
	} else {
		s.link = newHTTP1(l, s)
		if !l.started {
			l.idle = append(l.idle, s)
		}
	}
	l.opened++
	l.sockets[fd] = s
	l.order = append(l.order, s)
	l.touch(s)
	return s, l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN)
}

func (l *loop) watch(how, fd int, what uint32) error {
	return unix.EpollCtl(l.poll, how, fd, &unix.EpollEvent{Events: what, Fd: int32(fd)})
}

// touch remembers that a connection has something to send.
func (l *loop) touch(s *socket) {
	if !s.dirty && len(s.out) > 0 {
		s.dirty = true
		l.dirty = append(l.dirty, s)
	}
}

// flush gives the kernel what is to be sent.
func (l *loop) flush() {
	for _, s := range l.dirty {
		s.dirty = false
		if l.sockets[s.fd] == s && !s.waiting {
			l.write(s)
		}
	}
	l.dirty = l.dirty[:0]
}

func (l *loop) write(s *socket) {
	written := 0
	for written < len(s.out) {
		n, err := unix.Write(s.fd, s.out[written:])
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			l.lose(s, err)
			return
		}
		written += n
	}
	s.out = s.out[:copy(s.out, s.out[written:])]
	if waiting := len(s.out) > 0; waiting != s.waiting {
		s.waiting = waiting
		events := uint32(unix.EPOLLIN)
		if waiting {
			events |= unix.EPOLLOUT
		}
		_ = l.watch(unix.EPOLL_CTL_MOD, s.fd, events)
	}
}

// wait sleeps until a request is due, the oldest one has timed out, or something came. more: only look.
func (l *loop) wait(more bool) error {
	if more {
		return l.step(0)
	}
	now := l.now()
	wake := int64(1) << 62
	switch {
	case l.rate > 0 && !l.full && !l.allSent(now):
		wake = l.due(len(l.requests))
	case l.rate == 0 && !l.allSent(now):
		wake = int64(l.length)
		if now < 0 {
			wake = 0
		}
	}
	if l.oldest < len(l.requests) {
		wake = min(wake, l.requests[l.oldest].due+int64(l.timeout))
	}
	if wake <= now {
		return l.step(0)
	}
	// Relative to now; zero would switch the timer off.
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(wake - now)}
	if err := unix.TimerfdSettime(l.timer, 0, &at, nil); err != nil {
		return err
	}
	return l.step(-1)
}

// step waits for events, at most so many milliseconds (-1: for ever), and handles them.
func (l *loop) step(milliseconds int) error {
	var events [128]unix.EpollEvent
	n, err := unix.EpollWait(l.poll, events[:], milliseconds)
	if err == unix.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	for _, event := range events[:n] {
		s := l.sockets[int(event.Fd)]
		if s == nil { // the timer, or a connection that was lost a moment ago
			continue
		}
		if event.Events&unix.EPOLLOUT != 0 {
			l.write(s)
		}
		if event.Events&^unix.EPOLLOUT != 0 && l.sockets[s.fd] == s {
			l.read(s)
		}
	}
	return nil
}

func (l *loop) read(s *socket) {
	n, err := unix.Read(s.fd, l.buffer)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	switch {
	case err == nil && n == 0:
		err = io.EOF
	case err == nil:
		err = s.link.receive(l.buffer[:n])
	}
	if err != nil || s.link.finished() {
		l.lose(s, err)
		return
	}
	if !l.grpc && s.link.room() {
		l.idle = append(l.idle, s)
	}
	l.touch(s)
}

// lose closes a connection. Its requests will have no answer.
func (l *loop) lose(s *socket, why error) {
	l.lost = why
	for _, number := range s.link.unanswered() {
		l.answered(number, -1, false, nil)
	}
	delete(l.sockets, s.fd)
	for i, other := range l.order {
		if other == s {
			l.order = append(l.order[:i], l.order[i+1:]...)
			break
		}
	}
	l.turn = 0
	unix.Close(s.fd)
}

// answered notes the answer to a request; a second one is left out.
func (l *loop) answered(number int, status int32, good bool, body []byte) {
	one := &l.requests[number]
	if one.latency != 0 {
		return
	}
	now := l.now()
	one.latency, one.status, one.good = max(now-one.due, 1), status, good
	one.length, one.crc = uint32(len(body)), crc32.ChecksumIEEE(body)
	l.last = now
	l.done++
	for l.oldest < len(l.requests) && l.requests[l.oldest].latency != 0 {
		l.oldest++
	}
}

// giveUp ends the requests whose time is over.
func (l *loop) giveUp(now int64) {
	for l.oldest < len(l.requests) && l.requests[l.oldest].due+int64(l.timeout) <= now {
		number := l.oldest
		for _, s := range l.order {
			if slices.Contains(s.link.unanswered(), number) {
				l.answered(number, -1, false, nil)
				if s.link.abandon(number) {
					l.lose(s, nil)
				}
				break
			}
		}
		l.answered(number, -1, false, nil)
	}
}
