"""CrowdSec (Debian's package) on a log of nginx: its agent and its local API in one process, three scenarios.

The package may be installed, or unpacked (`dpkg-deb -x crowdsec_*.deb FOLDER`) in the folder that AUTHZ_CROWDSEC names.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Final

SCENARIOS: Final = ("http-crawl-non_statics", "http-probing", "http-generic-bf")
_ROOT: Final = Path(os.environ.get("AUTHZ_CROWDSEC", "/"))
_HUB: Final = _ROOT / "usr/share/crowdsec/hub"
_PARSERS: Final = (
    "s00-raw/crowdsecurity/syslog-logs.yaml", "s01-parse/crowdsecurity/nginx-logs.yaml",
    "s02-enrich/crowdsecurity/dateparse-enrich.yaml", "s02-enrich/crowdsecurity/http-logs.yaml",
)  # fmt: skip
_CONFIG: Final = """\
common: {{daemonize: false, log_media: stdout, log_level: error, working_dir: {folder}}}
config_paths: {{config_dir: {folder}/etc, data_dir: {folder}/data, simulation_path: {folder}/etc/simulation.yaml,
  hub_dir: {folder}/hub, index_path: {folder}/hub/.index.json, notification_dir: {folder}/none,
  plugin_dir: {folder}/none}}
crowdsec_service: {{acquisition_path: {folder}/etc/acquis.yaml, parser_routines: 1, buckets_routines: 1,
  output_routines: 1}}
db_config: {{log_level: error, type: sqlite, db_path: {folder}/data/crowdsec.db, use_wal: true}}
plugin_config: {{user: nobody, group: nogroup}}
api:
  client: {{credentials_path: {folder}/etc/credentials.yaml}}
  server: {{log_level: error, listen_uri: "127.0.0.1:{port}", profiles_path: {folder}/etc/profiles.yaml}}
prometheus: {{enabled: false}}
"""


def missing() -> str:
    """Return why it cannot be run; empty: it can."""
    return "" if (_ROOT / "usr/bin/crowdsec").exists() and _HUB.exists() else "no CrowdSec (apt-get install crowdsec)"


def read_log(folder: Path, log: Path, port: int) -> dict[str, float]:
    """Have a log read; return lines for each CPU second, with the start, and how many clients were banned."""
    folder = folder / "crowdsec"
    config = _configure(folder, port)
    add: list[str | Path] = [_ROOT / "usr/bin/cscli", "-c", config, "machines", "add", "bench", "-p", "benchmark", "-f",
           folder / "etc/credentials.yaml"]  # fmt: skip
    subprocess.run(add, check=True, capture_output=True)
    command: list[str | Path] = [_ROOT / "usr/bin/crowdsec", "-c", config, "-dsn", f"file://{log}", "-type", "nginx"]
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    lines = log.read_bytes().count(b"\n")
    with sqlite3.connect(folder / "data/crowdsec.db") as store:
        banned = store.execute("SELECT count(DISTINCT value) FROM decisions").fetchone()[0]
    return {"lines": lines, "lines_per_second": round(lines / spent), "banned": banned}


def _configure(folder: Path, port: int) -> Path:
    for name in ("etc/scenarios", "etc/postoverflows", "data", "hub", "none"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(_ROOT / "etc/crowdsec/patterns", folder / "etc/patterns")
    shutil.copy(_ROOT / "etc/crowdsec/profiles.yaml", folder / "etc")
    for name in _PARSERS:
        into = folder / "etc/parsers" / name.partition("/")[0]
        into.mkdir(parents=True, exist_ok=True)
        shutil.copy(_HUB / "parsers" / name, into)
    for name in SCENARIOS:
        shutil.copy(_HUB / "scenarios/crowdsecurity" / f"{name}.yaml", folder / "etc/scenarios")
    index: dict[str, dict[str, str]] = {kind: {} for kind in ("parsers", "scenarios", "postoverflows", "collections")}
    (folder / "hub/.index.json").write_text(json.dumps(index))
    (folder / "etc/simulation.yaml").write_text("simulation: off\n")
    (folder / "etc/acquis.yaml").write_text("filenames: [/dev/null]\nlabels: {type: nginx}\n")
    config = folder / "etc/config.yaml"
    config.write_text(_CONFIG.format(folder=folder, port=port))
    return config
