// Decides every check of Envoy by a list of networks, with grpc-go and the routing table of gaissmai/bart: what a
// program in Go needs that answers what authz answers, and does nothing else: no policy, log, metric or reload.
//
//	trie 127.0.0.1:0 networks.txt [allow deny]
//
// networks.txt has a network a line: who is in one is denied. The client is the last address of X-Forwarded-For, as
// Envoy appends it; without that header, the address of the connection. allow and deny are files with a serialized
// CheckResponse; without them the answers are an empty OK and a 403. Prints the address it listens on once it serves.
// Ends by SIGTERM.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	types "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/gaissmai/bart"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

type server struct {
	auth.UnimplementedAuthorizationServer
	denied      bart.Lite
	allow, deny *auth.CheckResponse
}

func (s *server) Check(_ context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	client, err := netip.ParseAddr(clientOf(request.GetAttributes()))
	if err != nil || s.denied.Contains(client.Unmap()) {
		return s.deny, nil
	}
	return s.allow, nil
}

func clientOf(about *auth.AttributeContext) string {
	forwarded := about.GetRequest().GetHttp().GetHeaders()["x-forwarded-for"]
	if forwarded == "" {
		return about.GetSource().GetAddress().GetSocketAddress().GetAddress()
	}
	return strings.TrimSpace(forwarded[strings.LastIndexByte(forwarded, ',')+1:])
}

func main() {
	if len(os.Args) != 3 && len(os.Args) != 5 {
		log.Fatal("expected the address to listen on, a file with networks, and two files with answers or none")
	}
	service := &server{allow: &auth.CheckResponse{}, deny: forbidden()}
	if err := service.read(os.Args[2]); err != nil {
		log.Fatal(err)
	}
	if len(os.Args) == 5 {
		service.allow, service.deny = message(os.Args[3]), message(os.Args[4])
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	auth.RegisterAuthorizationServer(grpcServer, service)
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(grpcServer.Serve(listener))
}

func (s *server) read(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		network, err := netip.ParsePrefix(lines.Text())
		if err != nil {
			return err
		}
		s.denied.Insert(network)
	}
	return lines.Err()
}

func message(path string) *auth.CheckResponse {
	content, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	answer := &auth.CheckResponse{}
	if err := proto.Unmarshal(content, answer); err != nil {
		log.Fatal(err)
	}
	return answer
}

func forbidden() *auth.CheckResponse {
	denied := &auth.DeniedHttpResponse{Status: &types.HttpStatus{Code: types.StatusCode_Forbidden}}
	return &auth.CheckResponse{
		Status:       &status.Status{Code: int32(code.Code_PERMISSION_DENIED)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: denied},
	}
}
