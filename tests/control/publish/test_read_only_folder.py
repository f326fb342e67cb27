"""Where the folder of control.yaml is read-only, as in a pod and under the units: what is written goes to `data`.

What cannot be written is told: at the start, and in all places where operators look.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.console.forms import Console
from support.control import SignerInProcess, control, opened
from support.processes import wait_for

from authz.control.config import check_folders, load_control_config
from authz.control.maintenance.init import make_folder
from authz.control.model.problems import SignerGone
from authz.control.model.records import Entry
from authz.control.publish import one_layer
from authz.control.publish.build import build_policy
from authz.control.publish.order import Order, Refused
from authz.control.publish.signer import SignerState
from authz.errors import InputError
from authz.serve.config.values import Listen
from authz.snapshot.signing.signers import generate_keys, load_signer

if TYPE_CHECKING:
    from authz.control.publish.order import Answer

READ_ONLY = Path("/proc/self")  # to root, too
ORDER = Order(layer="policy", serial=1, chain="", base=0, changes=[], entries=[], documents={})
FEEDS = "feeds and host names"


def test_the_first_layer_is_built_where_the_folder_of_the_configuration_is_read_only(tmp_path: Path) -> None:
    generate_keys(tmp_path, "a")
    signer = load_signer(str(tmp_path / "a.key"))
    built = build_policy([], {}, signer, serial=1, created=int(time.time()), folder=READ_ONLY)
    assert built.content
    assert built.warnings == ()
    entry = Entry(id="e-1", version=1, tenant="main", layer="policy", created=1, list="allow", hosts=("localhost",))
    built = build_policy([entry], {}, signer, serial=2, created=int(time.time()), folder=READ_ONLY)
    assert built.warnings == ("'localhost' does not resolve: offline",)


def test_a_signer_that_cannot_write_says_so_where_it_only_ended_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_folder(tmp_path / "control", Listen(host="127.0.0.1", port=9194))
    config = load_control_config(made.config, {})
    answer = SignerState(msgspec.structs.replace(config, signer_state=f"{READ_ONLY}/signer.json")).answer(ORDER)
    assert isinstance(answer, Refused)
    told = "signer_state: /proc/self/signer.policy.json: cannot be written"
    assert (answer.code, told in answer.message) == ("bad_input", True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    answer = SignerState(config).answer(ORDER)
    assert isinstance(answer, Refused)
    assert (answer.code, "the layer cannot be built" in answer.message) == ("bad_input", True)


@pytest.mark.parametrize(("change", "key"), [
    ({"data": "/proc/self"}, "data"),
    ({"signer_state": "/proc/self/x/signer.json"}, "signer_state"),
    ({"store": "sqlite:////proc/self/control.sqlite"}, "store"),
    ({"layers": [{"name": "policy", "key": "a.key", "file": "/proc/self/policy.snapshot"}]}, "layers[0].file"),
])  # fmt: skip
def test_a_folder_that_cannot_be_written_ends_the_start(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    content = {"layers": [{"name": "policy", "key": "a.key"}], **change}
    (tmp_path / "control.yaml").write_bytes(msgspec.json.encode(content))
    with pytest.raises(InputError) as caught:
        check_folders(load_control_config(tmp_path / "control.yaml", {}))
    assert caught.value.message.startswith(f"{key}: /proc/self")
    assert "cannot be written: No such file or directory, expected a folder" in caught.value.message


def test_what_is_written_is_below_data_and_beside_control_yaml_where_that_is_not_said(tmp_path: Path) -> None:
    content = {"layers": [{"name": "policy", "key": "keys/a.key", "file": "layers/policy.snapshot"}]}
    for data, below in (("", tmp_path), (str(tmp_path / "other"), tmp_path / "other"), ("here", tmp_path / "here")):
        (tmp_path / "control.yaml").write_bytes(msgspec.json.encode(content | ({"data": data} if data else {})))
        config = load_control_config(tmp_path / "control.yaml", {})
        assert (config.data, config.folder) == (str(below), str(tmp_path))
        assert config.store == f"sqlite:///{below}/control.sqlite"
        assert config.signer_state == f"{below}/state/signer.json"
        (layer,) = config.layers
        assert (layer.file, layer.key) == (f"{below}/layers/policy.snapshot", f"{tmp_path}/keys/a.key")
        check_folders(config)
        assert (below / "state").is_dir()


def test_answers_for_host_names_that_cannot_be_written_are_told_where_operators_look(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    extra = f"data: {READ_ONLY}\nsigner_state: {folder}/state/signer.json\n"
    with control(folder, store=f"sqlite:///{folder}/control.sqlite", extra=extra) as plane:
        entry = {"list": "allow", "hosts": ["localhost"], "expires": "forever"}
        assert plane.ok("POST", "/v1/entries?wait=published&timeout=30", entry)["published"] is True
        failing = f'authz_control_input_failed{{input="{FEEDS}"}} '
        next(rounds for rounds in plane.plane.inputs if rounds.name == FEEDS).wake()
        wait_for(lambda: f"{failing}1.0\n" in plane.client.get("/metrics").text)
        page = Console(plane).get("/attention").text
        assert f"Failing: {FEEDS}" in page
        assert "/proc/self/state/hosts.json: cannot be written" in page
        assert "/proc" not in Console(plane, plane.token_of("viewer", "other")).get("/attention").text
        # It lasts for as long as it is so: a round that has nothing to do yet has not succeeded.
        for _ in range(2):
            with pytest.raises(InputError):
                plane.plane.feeds.round()
        plane.plane.feeds.copies.folder = folder
        plane.ok("POST", "/v1/entries", {"list": "allow", "networks": ["192.0.2.1"], "expires": "forever"})
        wait_for(lambda: f"{failing}0.0\n" in plane.client.get("/metrics").text)
        assert (folder / "state" / "hosts.json").is_file()


class Away(SignerInProcess):
    """A signer that cannot be reached, until it is back."""

    back = False

    def ask(self, order: Any) -> Answer:
        if not self.back:
            raise SignerGone("the signer does not answer: no such socket")
        return super().ask(order)


def test_a_signer_that_is_away_is_told_where_operators_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_layer, "PATIENCE", 0.0)
    monkeypatch.setattr(Away, "back", False)
    with control(tmp_path / "c", signer=Away) as plane:
        reason = "not published yet: policy (signer_gone), bans (signer_gone)"
        wait_for(lambda: plane.client.get("/readyz").json()["reason"] == reason)
        assert 'authz_control_publish_refused{layer="bans"} 1' in plane.client.get("/metrics").text
        assert "no such socket" in Console(plane).get("/attention").text
        assert plane.ok("GET", "/v1/publications")["problems"]["bans"].startswith("signer_gone: the signer does not")
        monkeypatch.setattr(Away, "back", True)
        wait_for(lambda: plane.client.get("/readyz").status_code == 200)
        wait_for(lambda: plane.plane.publisher.problems == {})


def test_a_hiccup_of_publishing_is_not_yet_a_problem() -> None:
    publisher = one_layer.LayerPublisher("bans", None, Away(None), one_layer.Published(None, None, 1.0))  # type: ignore[arg-type]
    publisher.note_outcome(SignerGone("away"))
    assert publisher.problem is None


def test_a_file_of_a_layer_that_cannot_be_written_is_a_warning_of_its_publication(tmp_path: Path) -> None:
    made = make_folder(tmp_path / "c", Listen(host="127.0.0.1", port=9194))
    text = made.config.read_text()
    made.config.write_text(
        text.replace("key: keys/policy.key", "key: keys/policy.key, file: /proc/self/policy.snapshot")
    )
    with opened(tmp_path / "c", made.token) as plane:
        wait_for(lambda: plane.client.get("/readyz").status_code == 200)
        wait_for(lambda: plane.plane.publisher.warnings["policy"])
        (warning,) = plane.plane.publisher.warnings["policy"]
        assert warning.startswith("/proc/self/policy.snapshot: cannot be written: ")
