"""Well-known feeds by name, so that `preset: tor` is enough in a policy.

Each says where it is, which source type it gives, how it is read, how often its publisher wants to be asked at most,
and under which terms. The terms are a note for the operator, not legal advice: look them up before you pass data on.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOUR: Final = 3600
_DAY: Final = 86400
_GITHUB: Final = "https://raw.githubusercontent.com"


class Preset(NamedTuple):
    """One feed.

    Attributes:
        source: The source type that it gives.
        url: Where it is.
        file: The name of the copy, below `feeds/`.
        licence: The terms of its publisher, in a few words.
        interval: Seconds between two requests, at least.
        format: As in `feeds.read_feed.FORMATS`; named, so that no error page passes for a list.
        min_count: Takes only addresses with at least this count.
        link: A regular expression. The address is a page, and the feed is what its first link that fits leads to.
    """

    source: str
    url: str
    file: str
    licence: str
    interval: int = _DAY
    format: str = "plain"
    min_count: int = 0
    link: str = ""


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({
    "cins": Preset("malicious", "https://cinsscore.com/list/ci-badguys.txt", "cins.txt",
                   "CINS Army list, Sentinel IPS: free to use, as is", _HOUR),
    "emerging-threats": Preset("malicious", "https://rules.emergingthreats.net/blockrules/compromised-ips.txt",
                               "emerging-threats.txt", "Proofpoint ET Open: BSD", _HOUR * 12),
    "digitalside": Preset("malicious", "https://osint.digitalside.it/Threat-Intel/lists/latestips.txt",
                          "digitalside.txt", "DigitalSide Threat-Intel: MIT", _HOUR),
    "greensnow": Preset("malicious", "https://blocklist.greensnow.co/greensnow.txt", "greensnow.txt",
                        "GreenSnow: free to use", _HOUR),
    "blocklist-de": Preset("malicious", "https://lists.blocklist.de/lists/all.txt", "blocklist-de.txt",
                           "blocklist.de: free to use", _HOUR),
    "bad-bot-blocker": Preset("malicious",
                              f"{_GITHUB}/mitchellkrogza/apache-ultimate-bad-bot-blocker/master/_generator_lists/"
                              "bad-ip-addresses.list", "bad-bot-blocker.txt", "Mitchell Krog: MIT"),
    "ipsum": Preset("malicious", f"{_GITHUB}/stamparm/ipsum/master/ipsum.txt", "ipsum.txt",
                    "IPsum, Miroslav Stampar: Unlicense", min_count=3),
    "tor": Preset("tor", "https://check.torproject.org/torbulkexitlist", "tor.txt",
                  "The Tor Project: CC0", _HOUR),
    "aws": Preset("aws", "https://ip-ranges.amazonaws.com/ip-ranges.json", "aws.json",
                  "published by Amazon for its customers", format="aws"),
    "gcp": Preset("gcp", "https://www.gstatic.com/ipranges/cloud.json", "gcp.json",
                  "published by Google for its customers", format="google"),
    "azure": Preset("azure", "https://www.microsoft.com/en-us/download/details.aspx?id=56519", "azure.json",
                    "published by Microsoft for its customers", format="azure",
                    link=r"https://download\.microsoft\.com/download/[\w./-]{1,200}/ServiceTags_Public_\d{8}\.json"),
    "cloudflare": Preset("cloudflare", "https://api.cloudflare.com/client/v4/ips", "cloudflare.json",
                         "published by Cloudflare for its customers", format="cloudflare"),
    "fastly": Preset("fastly", "https://api.fastly.com/public-ip-list", "fastly.json",
                     "published by Fastly for its customers", format="fastly"),
    "googlebot": Preset("search_engine",
                        "https://developers.google.com/static/search/apis/ipranges/googlebot.json", "googlebot.json",
                        "published by Google for site owners", format="google"),
    "bingbot": Preset("search_engine", "https://www.bing.com/toolbox/bingbot.json", "bingbot.json",
                      "published by Microsoft for site owners", format="google"),
})  # fmt: skip
