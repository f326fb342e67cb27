"""The conformance test h2spec against the native engine: what it finds is what the documentation explains."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.processes import Process
from support.sidecar.http2_server import PATH

ROOT = Path(__file__).parents[3]
INSTALL = "go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
PAGE = ROOT / "docs" / "internals" / "reliability.md"


def explained() -> set[tuple[str, str]]:
    """Return the cases of the page: section and description."""
    table = PAGE.read_text().partition("<!-- h2spec -->")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `([a-z0-9/.]+)` \| ([^|]+) \|", table, re.MULTILINE))


def test_the_page_explains_some_cases() -> None:
    assert len(explained()) == 7


@pytest.mark.skipif(shutil.which("h2spec") is None, reason=f"needs h2spec ({INSTALL})")
def test_h2spec_finds_nothing_but_what_is_explained(tmp_path: Path) -> None:
    with Process([sys.executable, "-m", "support.sidecar.http2_server"], cwd=ROOT / "tests") as server:
        port = server.wait_for_line(r"listening on port (\d+)")[1]
        command = ["h2spec", "--host", "127.0.0.1", "--port", port, "--path", PATH, "--timeout", "4"]
        subprocess.run([*command, "--junit-report", tmp_path / "report.xml"], capture_output=True, check=False)
        assert server.popen.poll() is None
    cases = list(ET.parse(tmp_path / "report.xml").iter("testcase"))
    assert len(cases) > 140
    failed = {case for case in cases if case.find("error") is not None or case.find("failure") is not None}
    assert {(case.attrib["package"], case.attrib["classname"]) for case in failed} == explained()
