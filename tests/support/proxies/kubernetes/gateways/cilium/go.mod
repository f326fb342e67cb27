module gatewayapi

go 1.26.0

require github.com/cilium/cilium v1.20.2

replace sigs.k8s.io/mcs-api/controllers => ./mcs
