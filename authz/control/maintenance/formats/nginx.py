"""`allow`, `deny` and `geo` of nginx (ngx_http_access_module, ngx_http_geo_module).

allow 192.0.2.0/24;  deny 192.0.2.7;  deny all;      the first that matches decides
geo $blocked { default 0; 203.0.113.0/24 1; }        the longest that matches gives the value
"""

from __future__ import annotations

import re
from typing import Final

from authz.control.maintenance.formats.imported import Imported

_RULE: Final = re.compile(r"^\s*(allow|deny)\s+(\S+?)\s*;")
_GEO: Final = re.compile(r"^\s*geo\s+(?:\$\w+\s+)?\$(\w+)\s*\{")
_VALUE: Final = re.compile(r"^\s*(\S+)\s+(\S+?)\s*;")
_OFF: Final = frozenset({"0", "off", "no", '""', "''", "allow"})


def read_nginx(text: str, application: str | None = None) -> Imported:
    """Read the rules of a configuration file."""
    imported = Imported(application)
    rules: list[tuple[str, str, int]] = []
    inside = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0]
        if match := _GEO.match(line):
            inside = match[1]
        elif inside and "}" in line:
            inside = ""
        elif inside and (match := _VALUE.match(line)):
            _geo_line(imported, inside, match[1], match[2], number)
        elif match := _RULE.match(line):
            rules.append((match[1], match[2], number))
    _access_rules(imported, rules)
    return imported


def _geo_line(imported: Imported, variable: str, network: str, value: str, line: int) -> None:
    if network in {"default", "ranges", "proxy", "proxy_recursive", "delete", "include"}:
        if network != "default":
            imported.note(line, f"left out: '{network}' of geo ${variable}")
        elif value not in _OFF:
            imported.note(line, f"geo ${variable} has the default '{value}': set `default: deny`, if that means denied")
        return
    if value in _OFF:
        imported.add("allow", [network], line, reason=f"geo ${variable} {value}")
        imported.note(
            line, f"{network} is not blocked in geo ${variable}; as an allow entry it also beats other denials"
        )
    else:
        imported.add("deny", [network], line, reason=f"geo ${variable} {value}")


def _access_rules(imported: Imported, rules: list[tuple[str, str, int]]) -> None:
    for position, (action, network, line) in enumerate(rules):
        if network == "all":
            imported.settings["default"] = action
            if position + 1 < len(rules):
                imported.note(line, f"'{action} all' stands before other rules, which nginx never reaches: left out")
                break
        elif network == "unix:":
            imported.note(line, "left out: unix: has no address; see client_address.trust_unix")
        else:
            imported.add(action, [network], line)
    if {action for action, network, _ in rules if network != "all"} == {"allow", "deny"}:
        imported.settings["precedence"] = "most_specific"
        imported.note(
            0, "nginx takes the first rule that matches; authz (most_specific) the longest prefix: check overlaps"
        )
