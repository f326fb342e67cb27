// A client of Check with grpc-go; see ../README.md for what it does and prints.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	workers = 8
	pause   = 5 * time.Millisecond // of a worker, between calls
)

type report struct {
	Calls      int      `json:"calls"`
	Wrong      int      `json:"wrong"`
	Failed     []string `json:"failed"`
	Cancelled  int      `json:"cancelled"`
	Expired    int      `json:"expired"`
	Compressed int      `json:"compressed"`
	lock       sync.Mutex
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("expected TARGET ALLOWED DENIED")
	}
	requests := []*auth.CheckRequest{request(os.Args[2]), request(os.Args[3])}
	alive := keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}
	connection, err := grpc.NewClient("passthrough:///"+os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithKeepaliveParams(alive))
	if err != nil {
		log.Fatal(err)
	}
	client := auth.NewAuthorizationClient(connection)
	ending, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	found := &report{Failed: []string{}}
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for number := worker; ending.Err() == nil; number += workers {
				found.ask(client, requests[number%2], number)
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
	line, _ := json.Marshal(found)
	fmt.Println(string(line))
}

func (r *report) ask(client auth.AuthorizationClient, request *auth.CheckRequest, number int) {
	limit := 10 * time.Second
	var options []grpc.CallOption
	switch {
	case number%23 == 0:
		limit = time.Millisecond
	case number%11 == 0:
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if number%17 == 0 {
		time.AfterFunc(time.Duration(number%3)*200*time.Microsecond, cancel)
	}
	answer, err := client.Check(ctx, request, options...)
	r.note(number, answer.GetStatus().GetCode(), err, len(options) > 0)
}

func (r *report) note(number int, code int32, err error, compressed bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.Calls++
	switch kind := status.Code(err); {
	case kind == codes.Canceled && number%17 == 0:
		r.Cancelled++
	case kind == codes.DeadlineExceeded && number%23 == 0:
		r.Expired++
	case err != nil:
		r.Failed = append(r.Failed, err.Error())
	case code != []int32{int32(codes.OK), int32(codes.PermissionDenied)}[number%2]:
		r.Wrong++
	case compressed:
		r.Compressed++
	}
	if r.Calls%200 == 0 {
		fmt.Println("calls", r.Calls)
	}
}

func request(text string) *auth.CheckRequest {
	message, err := hex.DecodeString(text)
	if err != nil {
		log.Fatal(err)
	}
	request := &auth.CheckRequest{}
	if err := proto.Unmarshal(message, request); err != nil {
		log.Fatal(err)
	}
	return request
}
