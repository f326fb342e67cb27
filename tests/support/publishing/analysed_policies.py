"""Policies whose snapshots the commands of the analysis compare."""

from __future__ import annotations

CREATED = 1_790_000_000
MADE = "2026-09-21T14:13:20Z"
AT = "2026-12-01T00:00:00Z"


OLD = """\
version: 1
applications:
  shop: {}
  admin: {default: deny}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24], reason: office, author: ops}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], reason: abuse, author: ops}
  - {id: gone, list: deny, networks: [198.51.100.9], reason: abuse, author: ops}
"""


NEW = """\
version: 1
applications:
  shop: {mode: safe_blocking}
  admin: {default: deny}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24], reason: the office, author: ops}
  - {id: bad, list: deny, networks: [203.0.113.0/25, 203.0.114.0/23], expires: 2037-01-01T00:00:00Z,
     reason: abuse, author: ops}
  - {id: scrapers, list: deny, networks: ["2001:db8:5c::/62"], applications: [shop], reason: scrapers, author: ops}
"""


DIFFERENCE = """\
old.snapshot: serial 1, made 2026-09-21T14:13:20Z
new.snapshot: serial 2, made 2026-09-21T14:13:20Z
decisions at 2026-12-01T00:00:00Z
applications: 0 added, 0 removed, 1 changed
  ~ shop: mode block -> safe_blocking
entries: 1 added, 1 removed, 2 changed
  + scrapers: + 4 /64 of IPv6
  - gone: - 1 IPv4 address
  ~ bad: expires never -> 2037-01-01T00:00:00Z; + 512 IPv4 addresses; - 128 IPv4 addresses and 65,536 /64 of IPv6
  ~ office: reason 'office' -> 'the office'
application * (every other)
  newly denied: 512 IPv4 addresses
    203.0.114.0/23: denylisted by bad, was default_allow
  newly allowed: 129 IPv4 addresses and 65,536 /64 of IPv6
    203.0.113.128/25: default_allow, was denylisted by bad
    198.51.100.9/32: default_allow, was denylisted by gone
    2001:db8:bad::/48: default_allow, was denylisted by bad
  changed reason: no address
application shop
  newly denied: 512 IPv4 addresses and 4 /64 of IPv6
    203.0.114.0/23: denylisted by bad, was default_allow
    2001:db8:5c::/62: denylisted by scrapers, was default_allow
  newly allowed: 129 IPv4 addresses and 65,536 /64 of IPv6
    203.0.113.128/25: default_allow, was denylisted by bad
    198.51.100.9/32: default_allow, was denylisted by gone
    2001:db8:bad::/48: default_allow, was denylisted by bad
  changed reason: no address
application admin
  newly denied: no address
  newly allowed: no address
  changed reason: 641 IPv4 addresses and 65,536 /64 of IPv6
    203.0.114.0/23: denylisted by bad, was default_deny
    203.0.113.128/25: default_deny, was denylisted by bad
    198.51.100.9/32: default_deny, was denylisted by gone
    2001:db8:bad::/48: default_deny, was denylisted by bad"""


FAULTY = """\
version: 1
applications:
  shop: {}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24], reason: office, author: ops}
  - {id: ban, list: deny, networks: [192.0.2.7], reason: scans, author: ops}
  - {id: old, list: deny, networks: [198.51.100.9], reason: abuse, author: ops,
     starts: 2026-09-01T00:00:00Z, expires: 2026-10-01T00:00:00Z}
  - {id: feed, list: deny, networks: [10.1.2.3, 203.0.113.0/24], applications: [shop]}
"""


CONFIG = """\
snapshot: {path: faulty.snapshot, trusted_keys: [keys/a.pub]}
client_address: {trusted_proxies: [10.0.0.0/8]}
"""


FINDINGS = """\
error: feed: 203.0.113.7/32 is protected, and is denied in shop: denylisted, e.g. 203.0.113.7/32 [denies_protected]
error: feed: covers part of the trusted proxy 10.0.0.0/8, e.g. 10.1.2.3/32 [denies_trusted_proxy]
warning: old: expired at 2026-10-01T00:00:00Z [expired]
warning: ban: never decides in any application: other entries decide for all of its addresses, \
such as office (allow), e.g. 192.0.2.7/32 [shadowed]
notice: office: allows 1 IPv4 address that ban denies; precedence: allow_first in *, shop, \
e.g. 192.0.2.7/32 [allow_deny_overlap]
notice: feed: has no reason [no_reason]
notice: feed: has no author [no_author]
2 errors, 2 warnings, 3 notices"""
