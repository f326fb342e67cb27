"""The real Apache, with the printed configuration."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from support.processes import LOOPBACK
from support.proxies.programs.process import ProxyProcess, adapted, program_of_system

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.proxies.programs.process import ProxyPorts

_MODULES = Path("/usr/lib/apache2/modules")  # as Debian has them, and as it is printed
_LUA_SOCKET = Path("/usr/share/lua/5.3/socket.lua")
_NEEDS = "Apache with mod_lua and LuaSocket (Debian packages apache2-bin and lua-socket)"


def apache_path() -> Path:
    """Return the Apache of the system, or skip the test."""
    if not (_MODULES / "mod_lua.so").exists() or not _LUA_SOCKET.exists():
        pytest.skip(f"needs {_NEEDS}")
    return program_of_system("apache2", _NEEDS)


def start_apache(
    folder: Path,
    printed: Mapping[str, str],
    upstream_port: int,
    ports: ProxyPorts,
    changes: Mapping[str, str] = MappingProxyType({}),
) -> ProxyProcess:
    """Start it in a folder. The virtual host is there twice: as printed, and behind the PROXY protocol.

    changes: what stands instead of parts of the file.
    """
    apache = apache_path()
    main = adapted(
        printed["main"],
        {
            "Listen 8080": f"Listen {LOOPBACK}:{ports.edge}\nListen {LOOPBACK}:{ports.proxied}",
            "http://127.0.0.1:8000/": f"http://127.0.0.1:{upstream_port}/",
            "TIMEOUT = 0.25": "TIMEOUT = 10",
        },
    )
    match = re.search(r"^<VirtualHost \*:8080>.*^</VirtualHost>\n", main, re.MULTILINE | re.DOTALL)
    assert match is not None
    edge = match[0].replace("*:8080", f"*:{ports.edge}")
    behind = {f"*:{ports.edge}": f"*:{ports.proxied}", "# RemoteIPProxyProtocol On": "RemoteIPProxyProtocol On"}
    text = main[: match.start()] + edge + adapted(edge, behind) + main[match.end() :]
    (folder / "apache.conf").write_text(adapted(text, changes))
    return ProxyProcess([apache, "-d", folder, "-f", folder / "apache.conf", "-DFOREGROUND"], folder, ports)
