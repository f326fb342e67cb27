# The way that OPA's documentation shows: the client against every network of the list.
package envoy.authz

client := trim_space(elements[count(elements) - 1]) if {
	elements := split(input.attributes.request.http.headers["x-forwarded-for"], ",")
}

default allow := false

allow if count(net.cidr_contains_matches(data.networks, client)) == 0
