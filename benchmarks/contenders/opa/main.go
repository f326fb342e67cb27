// Answers the checks of Envoy by a Rego policy: OPA's own engine behind grpc-go, and nothing that would cost more.
//
//	opa 127.0.0.1:0 policy.rego data.json
//
// The query, prepared once, is data.envoy.authz.allow. The input has the names that opa-envoy-plugin gives it, but only
// the headers and the peer of the request, put together without JSON; no decision log, no metrics. So this is what OPA
// can do at best: the plugin turns all of the request into JSON and back, and logs. The data is kept as the terms that
// the engine works on, as `opa run --optimize-store-for-read-performance` does.
//
// Prints the address it listens on once it serves. Ends by SIGTERM.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

type server struct {
	auth.UnimplementedAuthorizationServer
	allow rego.PreparedEvalQuery
}

// Check answers with status 0 or 7, and with an error, which Envoy takes as such, where the policy has no answer.
func (s *server) Check(ctx context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	result, err := s.allow.Eval(ctx, rego.EvalParsedInput(input(request)))
	if err != nil {
		return nil, err
	}
	if len(result) != 1 {
		return nil, fmt.Errorf("found %d results, expected one", len(result))
	}
	code := codes.PermissionDenied
	if result.Allowed() {
		code = codes.OK
	}
	return &auth.CheckResponse{Status: &status.Status{Code: int32(code)}}, nil
}

// input returns {"attributes": {"source": {"address": ...}, "request": {"http": {"headers": {...}}}}}.
func input(request *auth.CheckRequest) ast.Value {
	attributes := request.GetAttributes()
	headers := ast.NewObject()
	for name, value := range attributes.GetRequest().GetHttp().GetHeaders() {
		headers.Insert(ast.StringTerm(name), ast.StringTerm(value))
	}
	peer := ast.StringTerm(attributes.GetSource().GetAddress().GetSocketAddress().GetAddress())
	address := nested(peer, "address", "socketAddress", "address")
	return ast.NewObject(
		[2]*ast.Term{ast.StringTerm("attributes"), ast.ObjectTerm(
			[2]*ast.Term{ast.StringTerm("source"), address},
			[2]*ast.Term{ast.StringTerm("request"), nested(ast.NewTerm(headers), "headers", "http")},
		)},
	)
}

// nested returns an object with the value at the end of a path, the innermost name first.
func nested(value *ast.Term, names ...string) *ast.Term {
	for _, name := range names {
		value = ast.ObjectTerm([2]*ast.Term{ast.StringTerm(name), value})
	}
	return value
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("expected the address to listen on, a policy and its data")
	}
	allow, err := prepare(os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	service := grpc.NewServer()
	auth.RegisterAuthorizationServer(service, &server{allow: allow})
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(service.Serve(listener))
}

func prepare(policy, data string) (rego.PreparedEvalQuery, error) {
	module, err := os.ReadFile(policy)
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	text, err := os.ReadFile(data)
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	var values map[string]any
	if err := json.Unmarshal(text, &values); err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	store := inmem.NewFromObjectWithOpts(values, inmem.OptReturnASTValuesOnRead(true))
	query := rego.New(rego.Query("data.envoy.authz.allow"), rego.Module(policy, string(module)), rego.Store(store))
	return query.PrepareForEval(context.Background())
}
