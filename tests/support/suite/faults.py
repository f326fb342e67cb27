"""Deliberate faults, each of which a test must notice: `make faults` puts them in one at a time, into a copy.

A fault stands for a mistake that somebody could make there. Where one survives, the test that is named is too weak.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Fault(NamedTuple):
    """A fault: `old`, which stands once in a module of authz, becomes `new`; `test` must then fail."""

    module: str
    old: str
    new: str
    test: str


_DECISION: Final = "engine/decision/test_"
_CLIENT: Final = "engine/request/test_client_address.py::"
_HTTP2: Final = "serve/http2/test_http2_holes.py::"

FAULTS: Final = (
    # The look-up, and what covers a client.
    Fault(
        "engine/entries/lookup.py",
        "min(first + 255, count)",
        "min(first + 1, count)",
        "engine/entries/test_lookup_blocks.py",
    ),
    Fault(
        "engine/entries/lookup.py",
        "return sets[bisect_right(starts, value, first, end) - 1]",
        "return sets[bisect_right(starts, value, first, end) - 2]",
        "engine/entries/test_lookup.py",
    ),
    Fault(
        "engine/entries/lookup.py",
        "if leaf >= 0:",
        "if leaf > 0:",
        "engine/entries/test_lookup_blocks.py::test_a_leaf_is_a_match_set_where_bit_31_is_not_set",
    ),
    Fault("engine/entries/opened_snapshot.py", "{4: 96, 6: 0}", "{4: 0, 6: 0}", "engine/request/test_path.py"),
    Fault(
        "engine/entries/ruleset.py",
        "known is None or known.length < match.length",
        "known is None",
        "engine/request/test_path.py",
    ),
    Fault("engine/entries/ruleset.py", 'match.entry.list == "deny" and', "", "engine/entries/test_ruleset.py"),
    Fault(
        "engine/entries/marks.py", "(end - 1 >> host_bits) + 1", "end - 1 >> host_bits", "engine/entries/test_marks.py"
    ),
    # Precedence and verdict.
    Fault(
        "engine/decision/precedence.py",
        '"deny_first": {"deny": 0, "allow": 1',
        '"deny_first": {"deny": 1, "allow": 0',
        _DECISION + "verdict.py",
    ),
    Fault(
        "engine/decision/precedence.py",
        "(-m.length, order[m.entry.list])",
        "(order[m.entry.list], -m.length)",
        _DECISION + "verdict.py",
    ),
    Fault(
        "engine/decision/verdict.py",
        "bound is not None and bound <= now",
        "bound is not None and bound < now",
        _DECISION + "verdict.py",
    ),
    Fault(
        "engine/decision/verdict.py",
        '("deny", GRAYLISTED_ATTACK) if attack',
        '("deny", GRAYLISTED_ATTACK) if not attack',
        _DECISION + "verdict.py",
    ),
    Fault(
        "engine/decision/verdict.py", "if not entry.concerns(application.name):", "if False:", _DECISION + "verdict.py"
    ),
    Fault(
        "engine/decision/outcome.py",
        "verdict.decision if enforced else",
        "verdict.decision if not enforced else",
        _DECISION + "outcome.py",
    ),
    # What is remembered.
    Fault("engine/decision/outcome.py", "min(verdict.until, until)", "verdict.until", _DECISION + "remembered.py"),
    Fault(
        "engine/decision/decider.py",
        "if outcome.since <= now < outcome.until:",
        "if True:",
        _DECISION + "remembered.py",
    ),
    Fault("engine/decision/decider.py", "len(forwarded) == 1 and", "forwarded and", _DECISION + "remembered.py"),
    Fault(
        "engine/decision/decider.py",
        "(name, host, peer, forwarded[0], attack)",
        "(name, host, peer, forwarded[0])",
        _DECISION + "remembered.py",
    ),
    Fault(
        "engine/decision/generation.py", "if len(self.recent) >= MAX_RECENT:", "if False:", _DECISION + "remembered.py"
    ),
    Fault(
        "engine/decision/generation.py",
        "if self._remembered >= MAX_OUTCOMES:",
        "if False:",
        _DECISION + "remembered.py",
    ),
    Fault("serve/grpc/responses.py", "and len(made) <= MAX_RENDERED", "", "engine/decision/test_rendered.py"),
    Fault(
        "serve/http1/answers.py",
        "kept is not None and kept[0] == form",
        "kept is not None",
        "engine/decision/test_rendered.py",
    ),
    # Who the client is.
    Fault(
        "engine/request/client_address.py",
        "MAX_ELEMENTS = 32",
        "MAX_ELEMENTS = 33",
        _CLIENT + "test_a_client_behind_more_than_thirty_two_elements_is_unresolved",
    ),
    Fault(
        "engine/request/client_address.py",
        "if address not in rules.trusted_proxies:\n            return _resolved",
        "if address in rules.trusted_proxies:\n            return _resolved",
        "engine/request/test_client_address.py",
    ),
    Fault(
        "engine/request/client_address.py",
        "if not rules.trust_unix:",
        "if rules.trust_unix:",
        _CLIENT + "test_a_unix_peer_is_denied_by_default",
    ),
    Fault("engine/request/client_address.py", "<= 65535", "<= 99999", "engine/request/test_client_address.py"),
    Fault("engine/request/hosts.py", '\\.?(?::[0-9]*)?"', '\\.*(?::[0-9]*)?"', "engine/request/test_hosts.py"),
    Fault("addresses.py", "if value >= _MAPPED:", "if value > _MAPPED_END:", "ground/test_addresses.py"),
    # Checks of a snapshot, and rights of a layer.
    Fault("snapshot/read.py", "and now >= manifest.expires", "and False", "snapshot/test_shelf.py"),
    Fault("snapshot/read.py", "now >= manifest.expires", "now >= manifest.expires + 60", "snapshot/test_signatures.py"),
    Fault("snapshot/read.py", "now >= manifest.expires", "now > manifest.expires", "snapshot/test_signatures.py"),
    Fault(
        "engine/decision/lapses.py",
        "min(file.created + max_age, file.expires)",
        "min(file.created + max_age, file.expires + 1)",
        "serve/layers/test_stale.py::test_a_snapshot_that_expires_while_it_serves_is_stale",
    ),
    Fault("snapshot/read.py", "if end != size:", "if end > size:", "snapshot/test_shelf.py"),
    Fault(
        "snapshot/read.py",
        "if _sha256(sections[section.name]).digest() != section.sha256:",
        "if False:",
        "snapshot/test_shelf.py",
    ),
    Fault("snapshot/read.py", "if any(padding):", "if False:", "snapshot/test_bit_flips.py"),
    Fault(
        "engine/entries/permissions.py",
        "if length < widest]",
        "if length < widest - 1]",
        "engine/entries/test_permissions.py",
    ),
    Fault(
        "engine/entries/permissions.py",
        "if file.longest_entry > MAX_ENTRY:",
        "if False:",
        "engine/entries/test_permissions.py",
    ),
    Fault("snapshot/singles.py", "if positions != sorted(positions):", "if False:", "snapshot/test_singles.py"),
    Fault("serve/layers/accept.py", "if left < 0:", "if False:", "serve/layers/test_parts.py"),
    Fault(
        "serve/layers/fetched.py",
        "if self.held and (self._held_in_vain or refused):",
        "if False:",
        "serve/layers/sources/test_web.py",
    ),
    Fault(
        "control/lists/batch.py",
        "covered[version] > 1 << BITS[version] - total:",
        "False:",
        "control/lists/test_covered.py",
    ),
    Fault(
        "engine/entries/permissions.py",
        "if entry.list not in may.lists:",
        "if False:",
        "engine/entries/test_permissions.py",
    ),
    Fault(
        "engine/entries/permissions.py",
        "if place is not None:",
        "if False:",
        "engine/entries/test_permissions.py",
    ),
    # The fronts, and their limits.
    Fault(
        "engine/decision/decider.py",
        "key = None  # each of its requests",
        "pass  # each of its requests",
        "engine/entries/test_layers.py::test_each_request_for_an_application_that_only_a_ban_names_is_told",
    ),
    Fault(
        "serve/grpc/check.py",
        "if len(source) <= _MAX_SOURCE:",
        "if True:",
        "serve/grpc/test_grpc_peers.py::test_few_peers_are_remembered_and_none_that_comes_with_a_certificate",
    ),
    Fault(
        "serve/grpc/check.py",
        'address.HasField("socket_address")',
        "True",
        "serve/grpc/test_grpc_peers.py::test_a_peer_on_a_unix_socket_is_denied_with_its_own_reason",
    ),
    Fault(
        "serve/grpc/grpcio.py",
        "> MAX_HEADER_LIST else self._answer",
        "> MAX_HEADER_LIST << 9 else self._answer",
        "serve/grpc/test_grpc_engines.py::test_large_metadata_is_denied_on_its_own_call",
    ),
    Fault("serve/grpc/check.py", "if size > self._max_message:", "if False:", "serve/grpc/test_grpc_broken.py"),
    Fault("serve/grpc/check.py", "if len(forged) > _MAX_FORGED:", "if False:", "serve/grpc/test_grpc_headers.py"),
    Fault(
        "serve/http2/rate.py",
        "if self.idle > MAX_IDLE + CREDIT * self.answered:",
        "if False:",
        _HTTP2 + "test_frames_that_carry_no_call_have_a_rate",
    ),
    Fault(
        "serve/http2/fields.py",
        "if self._coded + length > _MAX_CODED:",
        "if False:",
        _HTTP2 + "test_huffman_codes_that_change_with_each_call_are_decoded_up_to_a_limit_and_have_a_rate",
    ),
    Fault(
        "serve/http2/streams.py",
        "self.parked.pop(stream, None)",
        "pass",
        _HTTP2 + "test_calls_that_are_reset_while_they_wait_behind_answers_leave_nothing",
    ),
    Fault(
        "serve/http2/connection.py",
        "time.thread_time() > end",
        "False",
        _HTTP2 + "test_a_large_read_is_taken_in_turns",
    ),
    Fault(
        "serve/http2/connection.py",
        "(held > _UNCOUNTED or self._held)",
        "self._held",
        "serve/http2/test_http2_limits.py::test_header_blocks_that_never_end_share_the_budget_of_bytes",
    ),
    Fault("serve/http2/fields.py", "if size > self._offer:", "if False:", "serve/http2/test_http2_headers.py"),
    Fault(
        "serve/http2/sending.py",
        "self.full = self.waiting > MAX_BLOCKED",
        "self.full = False",
        _HTTP2 + "test_answers_behind_a_window_of_nothing_have_a_limit_and_all_come_when_it_opens",
    ),
    Fault(
        "serve/listeners/budget.py", "while self.total > self._limit:", "while False:", "serve/listeners/test_budget.py"
    ),
    Fault(
        "serve/http2/connection.py",
        "                self._hold()\n            self._wait",
        "            self._wait",
        "serve/http2/test_http2_turns.py",
    ),
    Fault("serve/listeners/budget.py", "left -= self._last", "left -= 1", "serve/listeners/test_budget.py"),
    Fault("serve/listeners/budget.py", "if self.reads_end:", "if False:", "serve/http1/test_http_turns.py"),
    Fault(
        "serve/http1/connection.py", 'self._target, self._headers = b"", {}', "pass", "serve/http1/test_http_turns.py"
    ),
    Fault(
        "serve/http2/unfinished.py",
        "self.block and self.block == before.block",
        "False",
        "serve/http2/test_http2_ends.py",
    ),
    Fault(
        "serve/http2/connection.py",
        "if rest and (position or not",
        "if rest and (True or not",
        "serve/http2/test_http2_ends.py",
    ),
    # The log, and what is counted.
    Fault(
        "serve/observe/recorder.py", "counts[outcome.entry] += 1", "counts[None] += 1", "serve/observe/test_metrics.py"
    ),
    Fault(
        "serve/observe/details.py",
        "request_id[:MAX_SHORT], host[:MAX_HOST], method[:MAX_SHORT], path[:MAX_PATH]",
        "request_id, host, method, path",
        "engine/decision/test_rendered.py",
    ),
    Fault("serve/observe/log/lines.py", "if len(data) <= most and not", "if not", "engine/decision/test_rendered.py"),
    Fault("serve/observe/hits.py", "names[:number]) |", "names[: 9 * number]) |", "serve/observe/test_metrics.py"),
    Fault(
        "serve/observe/hits.py",
        "folded[name] = folded.get(name, 0) + count",
        "folded[name] = count",
        "serve/observe/test_metrics.py",
    ),
    Fault("serve/observe/hits.py", "counts[OTHERS] += count", "pass", "serve/observe/test_metrics.py"),
    Fault(
        "serve/workers/reports.py",
        'effect: _bounded(together([self.dead["hits"].get(effect, {}), report["hits"].get(effect, {})]))',
        'effect: together([self.dead["hits"].get(effect, {}), report["hits"].get(effect, {})])',
        "serve/workers/test_reports.py",
    ),
    # What others wait for beside a reload, and what a server or a hand does.
    Fault(
        "serve/process.py",
        'if phase == "stop" and info["generation"]:',
        "if False:",
        "serve/life/test_collector.py::test_a_collection_looks_at_few_objects_however_many_outcomes_are_remembered",
    ),
    Fault(
        "serve/workers/share.py",
        "with CONSIDERATE:  # the worker",
        "if True:  # the worker",
        "serve/layers/test_reload_cost.py",
    ),
    Fault("serve/layers/web.py", "if self._left <= 0:", "if False:", "serve/layers/sources/test_web.py"),
    Fault("serve/layers/fetched.py", "if small > MAX_SMALL:", "if False:", "serve/layers/sources/test_web.py"),
    Fault(
        "serve/layers/store.py",
        "            if not tag:",
        "            if False:",
        "serve/layers/sources/test_hostile_store.py",
    ),
    Fault(
        "serve/layers/fetched.py",
        "if digest == known:  #",
        "if False:  #",
        "serve/layers/sources/test_hostile_store.py",
    ),
    Fault("publisher/output_lock.py", "if source == CONTROL_PLANE:", "if False:", "control/publish/test_layer_file.py"),
    Fault(
        "control/publish/one_layer.py",
        "if head.sequence <= foreign <= self",
        "if 0 > self",
        "control/publish/test_layer_file.py",
    ),
    Fault("publisher/push.py", "before.digest != ours.digest", "False", "cli/snapshot/test_push.py"),
    Fault("publisher/bans/limits.py", "now, CLOCK_SLACK)", "now)", "cli/test_bans_mistakes.py"),
    Fault("publisher/bans/limits.py", "None if ban is made else", "None if True else", "cli/test_bans_mistakes.py"),
    Fault("snapshot/archive.py", "if around.st_mode & stat.S_IWGRP", "if False", "cli/snapshot/test_history.py"),
    Fault("publisher/push.py", "if after is None or after.serial < serial:", "if False:", "cli/snapshot/test_push.py"),
    Fault(
        "serve/grpc/check.py",
        "forged = _forged(names)\n",
        "self._recorder.record(decided, peer, now, source)\n                    forged = _forged(names)\n",
        "serve/grpc/test_grpc_broken.py::test_a_request_with_forged_headers_is_logged_once_with_what_was_read_of_it",
    ),
    Fault("serve/http2/streams.py", "self._undecided.late += 1", "pass", "serve/http2/test_http2_late.py"),
    Fault("serve/listeners/places.py", "self.gave_way += 1", "pass", "serve/listeners/test_places.py"),
    Fault("serve/config/reload.py", "if first != now_first:", "if False:", "serve/config/test_config_layers.py"),
    Fault(
        "publisher/bans/file.py",
        "if document.serial < signed else []",
        "if False else []",
        "publisher/bans/test_changed_by_two.py",
    ),
)
