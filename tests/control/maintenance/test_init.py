"""What `authz control init` writes: a control plane and a sidecar that fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.control.config import load_control_config
from authz.control.maintenance.init import make_folder
from authz.serve.config.config import load_config
from authz.serve.config.values import Listen

if TYPE_CHECKING:
    from pathlib import Path


def test_the_sidecar_permits_whatever_the_control_plane_may_put_into_a_layer_so_that_a_ban_for_ever_is_taken(
    tmp_path: Path,
) -> None:
    made = make_folder(tmp_path / "control", Listen("127.0.0.1", 9194))
    ours = {layer.name: layer.may for layer in load_control_config(made.config, {}).layers}
    theirs = {layer.name: layer.may for layer in load_config(made.sidecar_config, {}).layers}
    bans, permitted = ours["bans"], theirs["bans"]
    assert permitted is not None
    assert set(bans.lists) <= set(permitted.lists)
    assert bans.longest <= permitted.longest
    assert bans.widest_ipv4 >= permitted.widest_ipv4
    assert bans.widest_ipv6 >= permitted.widest_ipv6
    assert bans.entries <= permitted.entries
