package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/sys/unix"
)

const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// target is whom to ask, and what.
type target struct {
	grpc      bool
	address   unix.Sockaddr
	family    int
	authority string
	path      string
	headers   [][2]string
	bodies    [][]byte    // in turn; for gRPC messages
	inTurn    [][2]string // headers, of which each request has one
}

// parseTarget reads the -url. Only addresses are taken for hosts, so that nothing is resolved.
func parseTarget(text string) (target, error) {
	scheme, rest, found := strings.Cut(text, ":")
	kind, where, _ := strings.Cut(scheme, "+")
	t := target{grpc: kind == "grpc", path: "/"}
	if t.grpc {
		t.path = checkMethod
	}
	if !found || (kind != "grpc" && kind != "http") {
		return t, fmt.Errorf("found the url '%s', expected grpc://, grpc+unix:, http:// or http+unix:", text)
	}
	if where == "unix" {
		path, method, more := strings.Cut(rest, ":/")
		if more {
			t.path = "/" + method
		}
		t.address, t.family, t.authority = &unix.SockaddrUnix{Name: path}, unix.AF_UNIX, "localhost"
		return t, nil
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return t, err
	}
	if uri := parsed.RequestURI(); uri != "/" {
		t.path = uri
	}
	host, port, err := net.SplitHostPort(parsed.Host)
	if err != nil {
		return t, err
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	address, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil {
		return t, err
	}
	t.authority = parsed.Host
	if address.Addr().Is4() {
		t.address, t.family = &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}, unix.AF_INET
	} else {
		t.address, t.family = &unix.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}, unix.AF_INET6
	}
	return t, nil
}
