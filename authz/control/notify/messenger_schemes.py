"""Which URLs of messengers are accepted, by their scheme.

Those of `HOSTED` reach the vendor of the messenger and nobody else. Those of `OWN` reach whatever host the URL names,
so control.yaml has to name them, too. All others are refused: `json`, `xml`, `form` or `syslog` would send requests of
somebody's making to any host behind the firewall (SSRF).
"""

from __future__ import annotations

from typing import Final

HOSTED: Final = frozenset({
    "dingtalk", "discord", "feishu", "firehydrant", "flock", "gchat", "ifttt", "ilert", "incidentio", "jira", "lark",
    "line", "notifiarr", "opsgenie", "pagerduty", "pagertree", "pbul", "postmark", "pover", "resend", "ringc",
    "sendgrid", "ses", "signl4", "slack", "sns", "splunk", "squadcast", "tgram", "threema", "twilio", "twist",
    "victorops", "vonage", "webex", "wecombot", "whatsapp", "wxteams", "zulip",
})  # fmt: skip
OWN: Final = frozenset({
    "gotify", "gotifys", "mailto", "mailtos", "matrix", "matrixs", "mmost", "mmosts", "nctalk", "nctalks", "ntfy",
    "ntfys", "rocket", "rockets", "signal", "signals", "workflow", "workflows",
})  # fmt: skip
