package main

import (
	"fmt"
	"hash/crc32"
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

// answered notes the answer to a request; a second one is left out.
func (l *loop) answered(number int, status int32, good bool, body []byte) {
	asked := &l.requests[number]
	if asked.latency != 0 {
		return
	}
	now := l.now()
	asked.latency, asked.status, asked.good = max(now-asked.due, 1), status, good
	asked.length, asked.crc = uint32(len(body)), crc32.ChecksumIEEE(body)
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
