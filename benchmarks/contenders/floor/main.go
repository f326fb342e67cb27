// Answers every check of Envoy with the same message: what it costs to ask at all, with grpc-go.
//
//	floor 127.0.0.1:0 [answer]
//
// The answer is a file with a serialized CheckResponse; without one it is empty, which Envoy takes as OK. Prints
// the address it listens on once it serves. Ends by SIGTERM.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

type server struct {
	auth.UnimplementedAuthorizationServer
	answer *auth.CheckResponse
}

func (s server) Check(context.Context, *auth.CheckRequest) (*auth.CheckResponse, error) {
	return s.answer, nil
}

func main() {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		log.Fatal("expected the address to listen on, and a file with the answer or none")
	}
	answer := &auth.CheckResponse{}
	if len(os.Args) == 3 {
		message, err := os.ReadFile(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		if err := proto.Unmarshal(message, answer); err != nil {
			log.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	service := grpc.NewServer()
	auth.RegisterAuthorizationServer(service, server{answer: answer})
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(service.Serve(listener))
}
