# The list sorted into buckets by the first two groups of an address, or the first one; wider networks are in `wide`.
#
#	{"buckets": {"203.0": ["203.0.113.0/24"], "2001:db8": ["2001:db8::/48"], "10": ["10.0.0.0/9"]}, "wide": ["2000::/3"]}
package envoy.authz

client := trim_space(elements[count(elements) - 1]) if {
	elements := split(input.attributes.request.http.headers["x-forwarded-for"], ",")
}

first_two := concat(".", array.slice(split(client, "."), 0, 2)) if not contains(client, ":")

first_two := concat(":", [group(groups[0]), group(groups[1])]) if {
	contains(client, ":")
	groups := split(client, ":")
}

first := split(client, ".")[0] if not contains(client, ":")

first := group(split(client, ":")[0]) if contains(client, ":")

# An empty group is a part of `::`, and so 0.
group("") := "0"

group(text) := text if text != ""

denied if {
	count(net.cidr_contains_matches(data.buckets[first_two], client)) > 0
}

denied if {
	count(net.cidr_contains_matches(data.buckets[first], client)) > 0
}

denied if {
	count(net.cidr_contains_matches(data.wide, client)) > 0
}

default allow := false

allow if not denied
