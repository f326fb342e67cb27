"""The first layer is built also where the folder of control.yaml is read-only: in a pod, and under the units."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from authz.control.config import load_control_config
from authz.control.maintenance.init import make_folder
from authz.control.publish.build import build_policy
from authz.control.publish.order import Order, Refused
from authz.control.publish.signer import SignerState
from authz.serve.config.values import Listen
from authz.snapshot.signing.signers import generate_keys, load_signer

if TYPE_CHECKING:
    import pytest

READ_ONLY = Path("/proc/self")  # to root, too


def test_the_first_layer_is_built_where_the_folder_of_the_configuration_is_read_only(tmp_path: Path) -> None:
    generate_keys(tmp_path, "a")
    signer = load_signer(str(tmp_path / "a.key"))
    built = build_policy([], {}, signer, serial=1, created=int(time.time()), folder=READ_ONLY)
    assert built.content
    assert built.warnings == ()


def test_a_signer_that_cannot_write_says_so_where_it_only_ended_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_folder(tmp_path / "control", Listen(host="127.0.0.1", port=9194))
    state = SignerState(load_control_config(made.config, {}))
    order = Order(layer="policy", serial=1, chain="", base=0, changes=[], entries=[], documents={})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    answer = state.answer(order)
    assert isinstance(answer, Refused)
    assert (answer.code, "the layer cannot be built" in answer.message) == ("bad_input", True)
