"""Presets: well-known feeds by name, complete, and read as their publishers write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.suite.shared import shared

from authz.publisher.feeds.feed import FeedOptions
from authz.publisher.feeds.fetch.presets import PRESETS
from authz.publisher.feeds.read_feed import FORMATS, read_feed
from authz.publisher.policy.fetching import feeds_to_fetch

if TYPE_CHECKING:
    from pathlib import Path


def test_every_preset_that_was_promised_is_there() -> None:
    assert {
        *("cins", "emerging-threats", "digitalside", "greensnow", "blocklist-de", "bad-bot-blocker", "ipsum"),
        *("tor", "aws", "gcp", "azure", "cloudflare", "fastly", "googlebot", "bingbot"),
    } == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_feed_by_its_name_alone(tmp_path: Path, name: str) -> None:
    preset = PRESETS[name]
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"version: 1\nfeeds: [{{preset: {name}}}]\n")
    (wanted,) = feeds_to_fetch(policy)
    assert (wanted.url, wanted.path) == (preset.url, tmp_path / "feeds" / preset.file)
    assert wanted.interval == preset.interval >= 3600
    assert preset.url.startswith("https://")
    assert preset.format in FORMATS
    assert preset.licence


SAMPLES = {
    "cins": "cinsscore-ci-badguys-2022.txt",
    "emerging-threats": "et-compromised-ips.txt",
    "digitalside": "digitalside-latestips-excerpt-2020.txt",
    "greensnow": "greensnow-2022.txt",
    "blocklist-de": "blocklist_de-all-2022.txt",
    "bad-bot-blocker": "mitchellkrogza-bad-ip-addresses.list",
    "ipsum": "ipsum.txt",
    "tor": "tor-exit-criticalpath.txt",
    "aws": "aws-ip-ranges.json",
    "gcp": "gcp-cloud.json",
    "azure": "azure-ServiceTags_Public.json",
    "googlebot": "googlebot.json",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_preset_reads_what_its_publisher_really_sends(name: str) -> None:
    feed = read_feed(shared(f"data/feeds/{SAMPLES[name]}"), FeedOptions(PRESETS[name].format,
                     min_count=PRESETS[name].min_count))  # fmt: skip
    assert feed.taken > 50
    assert len(feed.skipped) <= feed.taken // 50
