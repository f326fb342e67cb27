// Reads objects of the Gateway API as a stream of YAML, and prints the CiliumEnvoyConfig that Cilium's operator makes of
// them. Built in this folder, in some ten minutes, as a program for CILIUM of the tests:
//
//	cp "$(go mod download -json github.com/cilium/cilium@v1.20.2 | sed -n 's/.*"Dir": "\(.*\)",/\1/p')/go.sum" .
//	go build -mod=mod -o FILE .
package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/cilium/cilium/operator/pkg/model"
	"github.com/cilium/cilium/operator/pkg/model/ingestion"
	"github.com/cilium/cilium/operator/pkg/model/translation"
	gatewayapi "github.com/cilium/cilium/operator/pkg/model/translation/gateway-api"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	input := ingestion.Input{}
	decoder := yaml.NewYAMLOrJSONDecoder(os.Stdin, 4096)
	for {
		var raw map[string]any
		if err := decoder.Decode(&raw); err == io.EOF {
			break
		} else {
			check(err)
		}
		text, err := sigsyaml.Marshal(raw)
		check(err)
		switch raw["kind"] {
		case "GatewayClass":
			check(sigsyaml.UnmarshalStrict(text, &input.GatewayClass))
		case "Gateway":
			check(sigsyaml.UnmarshalStrict(text, &input.Gateway))
		case "HTTPRoute":
			var route gatewayv1.HTTPRoute
			check(sigsyaml.UnmarshalStrict(text, &route))
			input.HTTPRoutes = append(input.HTTPRoutes, route)
		case "Service":
			var service corev1.Service
			check(sigsyaml.UnmarshalStrict(text, &service))
			input.Services = append(input.Services, service)
		case "ReferenceGrant":
			var grant gatewayv1.ReferenceGrant
			check(sigsyaml.UnmarshalStrict(text, &grant))
			input.ReferenceGrants = append(input.ReferenceGrants, grant)
		}
	}
	source := model.FullyQualifiedResource{
		Name: input.Gateway.Name, Namespace: input.Gateway.Namespace, Group: "gateway.networking.k8s.io", Version: "v1", Kind: "Gateway",
	}
	for _, listener := range input.Gateway.Spec.Listeners {
		input.MergedListeners = append(input.MergedListeners, ingestion.ListenerWithContext{Listener: listener, Source: source})
	}
	m := ingestion.GatewayAPI(slog.New(slog.NewTextHandler(os.Stderr, nil)), input)
	config := translation.Config{}
	config.IPConfig.IPv4Enabled = true
	config.OriginalIPDetectionConfig.UseRemoteAddress = true // as the operator sets it
	config.ServiceConfig.ExternalTrafficPolicy = "Cluster"
	cec, _, _, err := gatewayapi.NewTranslator(translation.NewCECTranslator(config), config).Translate(m)
	check(err)
	out, err := sigsyaml.Marshal(cec)
	check(err)
	os.Stdout.Write(out)
}
