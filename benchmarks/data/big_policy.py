"""A policy as large as they come, over real feeds: malicious, Tor, VPN, proxies, clouds, 20 countries, 1,000 bans.

python benchmarks/data/big_policy.py FOLDER [DATA]      writes FOLDER/policy.yaml; DATA is ../shared/data by default
authz keys generate FOLDER/keys --name big
time -v authz snapshot build FOLDER/policy.yaml -o FOLDER/lists.snapshot --key FOLDER/keys/big.key
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

COUNTRIES = "CN RU KP IR BR IN VN ID UA TR TH PK BD NG EG RO BG AR MX ZA".split()  # noqa: SIM905  # reads better
BANS = 1000
# Which files of DATA/feeds give which source type: patterns.
FEEDS = {
    "malicious": [
        "ipsum.txt", "mitchellkrogza-bad-*", "blocklist_de-*",
        "cinsscore-*", "greensnow-*", "et-compromised-*", "threatfox-*",
        "binarydefense.txt", "firehol2016-blocklist_de.ipset", "firehol2016-firehol_level1.netset", "romainmarcoux-*",
        "spamhaus-*", "digitalside-*",
    ],
    "tor": ["tor-exit*"],
    "vpn": ["x4bnet-vpn-*", "vpn-*", "misp-vpn-*", "apple-private-relay-*"],
    "proxy": ["proxy-monosans-*", "proxy-clarketm-2023.txt",
        "firehol2016-firehol_proxies.netset", "firehol2016-socks_*"],
    "aws": ["aws-*"],
    "gcp": ["gcp-*"],
    "azure": ["azure-*"],
    "oci": ["oci-*"],
    "datacenter": ["x4bnet-datacenter-*", "jhassine-*", "ipcat-*", "digitalocean-*", "linode-*"],
    "cdn": ["cloudflare.json", "fastly.json"],
    "search_engine": ["googlebot.json", "google-special-*", "duckduckbot-*", "bingbot.reconstructed.json"],
}  # fmt: skip


def policy(data: Path, seed: int = 7) -> str:
    """Return the policy over the feeds of `data`, as YAML."""
    chosen = random.Random(seed)
    lines = ["version: 1", "applications: {shop: {}, admin: {default: deny}}", "feeds:"]
    for source, patterns in FEEDS.items():
        files = sorted({path for pattern in patterns for path in (data / "feeds").glob(pattern)})
        lines += [f"  - {{source: {source}, path: {path.resolve()}}}" for path in files]
    lines += [f"geo: {{country: {(data / 'geo' / 'geo-whois-asn-country.mmdb.xz').resolve()}}}", "entries:"]
    lines.append("  - {id: crawlers, list: allow, sources: [search_engine], reason: search engines}")
    lines += [f"  - {{id: {source}, list: deny, sources: [{source}], reason: a feed}}" for source in list(FEEDS)[:-1]]
    for country in COUNTRIES:
        lines.append(
            f"  - {{id: country-{country}, list: gray, countries: [{country}], applications: [shop], reason: geo}}"
        )
    for number in range(BANS):
        address = ".".join(str(chosen.randrange(1, 224)) for _ in range(4))
        window = f"expires: 2036-12-{number % 28 + 1:02d}T00:00:00Z"
        lines.append(
            f"  - {{id: ban-{number}, list: deny, networks: [{address}], {window}, reason: ban {number}, author: ops}}"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the policy."""
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    data = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parents[3] / "shared" / "data"
    if not (data / "feeds").is_dir():
        sys.exit(f"{data}: no such folder of feeds")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text(policy(data))


if __name__ == "__main__":
    main()
