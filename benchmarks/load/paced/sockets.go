package main

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

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
