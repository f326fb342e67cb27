"""`authz control init`: a folder from which `authz control serve` and `authz serve` work together at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from authz.control.config import load_control_config
from authz.control.model.records import MAIN_TENANT, POLICY_LAYER, Actor
from authz.control.publish.one_layer import signed_anew
from authz.control.store.access.tokens import add_token, get_tenant, note, put_tenant
from authz.control.store.database import create_store
from authz.control.store.ledger.changes import add_layer, append, lock_head
from authz.errors import InputError
from authz.serve.config.values import Listen
from authz.snapshot.signing.signers import generate_keys

if TYPE_CHECKING:
    from authz.control.config import ControlConfig
    from authz.control.store.access.tokens import Token
    from authz.control.store.database import Store

BANS_LAYER = "bans"
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where this machine reaches who listens on every address


class Made(NamedTuple):
    """What was made.

    Attributes:
        url: Where the control plane will listen.
        token: Of an administrator, told only now.
    """

    folder: Path
    url: str
    token: str
    config: Path
    sidecar_config: Path


_CONTROL = """\
# The control plane: authz control serve --config control.yaml. All keys: docs/guides/control.md.
listen: "{listen}"
store: {store}
layers:
  - {{name: policy, key: keys/policy.key}}
  - name: bans
    key: keys/bans.key
    may: {{lists: [deny, gray], longest: forever, widest_ipv4: 16, widest_ipv6: 32, total_ipv4: 9, total_ipv6: 24}}
"""


def make_folder(folder: Path, listen: Listen, *, store: str = "sqlite:///control.sqlite") -> Made:
    """Make control.yaml, the store, keys, authz.yaml and a token.

    Args:
        folder: Made if it is missing.
        listen: Where the control plane will listen.
        store: The URL of the store.

    Raises:
        InputError: One of the files exists or cannot be written, or the store is not a new one.
    """
    config_file, sidecar_file = folder / "control.yaml", folder / "authz.yaml"
    for path in (config_file, sidecar_file, folder / "keys"):
        if path.exists():
            raise InputError(
                f"{path}: exists, expected no such file: there is a control plane here",
                hint=f"for a new token, `authz control recover --config {config_file}`; for another control plane, "
                "another folder",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("state", "layers"):
            (folder / name).mkdir(exist_ok=True)
        for name in (POLICY_LAYER, BANS_LAYER):
            generate_keys(folder / "keys", name)
        config_file.write_text(_CONTROL.format(listen=listen, store=store))
        url = _url(listen)
        sidecar_file.write_text(sidecar_config(url))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    secret = prepare_store(load_control_config(config_file, {}))
    if secret is None:
        raise InputError(
            f"--store: {store}: found a store in it, expected none",
            hint="name a new store, or run this one by its control.yaml",
        )
    return Made(folder, url, secret, config_file, sidecar_file)


def _url(listen: Listen) -> str:
    return f"http://{Listen(_HERE.get(listen.host or '', listen.host), listen.port)}"


def prepare_store(config: ControlConfig) -> str | None:
    """Make the store of a configuration where it is empty, and bring an older one up to date.

    Returns:
        A token of an administrator, told only now; None if the store was filled already.

    Raises:
        InputError: The store cannot be opened.
    """
    store = create_store(config.store)
    if store.engine.url.database and not store.is_postgresql:
        Path(store.engine.url.database).chmod(0o600)
    actor = Actor(MAIN_TENANT, "init", "system", "manual")
    with store.writing() as tx:
        if get_tenant(tx, MAIN_TENANT) is not None:
            store.close()
            return None
        now = store.now()
        put_tenant(tx, MAIN_TENANT, ("*",), now)
        token, secret = add_token(tx, tenant=MAIN_TENANT, name="admin", role="admin", now=now)
        note(tx, actor, "token.add", token.id, now, "admin")
        for layer in config.layers:
            add_layer(tx, layer.name, now)
            append(tx, lock_head(tx, layer.name), actor, [signed_anew(layer.name)], now)
    store.close()
    return secret


def recover_token(store: Store, name: str, by: str) -> tuple[Token, str]:
    """Make a token of an administrator who lost theirs, and return it with its secret.

    Args:
        store: The store.
        name: Of the token.
        by: Who does so on this machine.
    """
    actor = Actor(MAIN_TENANT, by, "system", "manual")
    with store.writing() as tx:
        now = store.now()
        token, secret = add_token(tx, tenant=MAIN_TENANT, name=name, role="admin", now=now)
        note(tx, actor, "token.recover", token.id, now, name)
    return token, secret


def sidecar_config(url: str) -> str:
    """Return an authz.yaml for a sidecar beside the control plane."""
    return f"""\
# A sidecar with the control plane's lists: authz serve --config authz.yaml. All keys: docs/reference/configuration.md.
layers:
  - {{name: policy, url: "{url}/v1/layers/policy", trusted_keys: [keys/policy.pub]}}
  - name: bans
    url: {url}/v1/layers/bans
    trusted_keys: [keys/bans.pub]
    may: {{lists: [deny, gray], longest: forever, widest_ipv4: 16, widest_ipv6: 32, total_ipv4: 9, total_ipv6: 24}}
client_address: {{trusted_proxies: [127.0.0.0/8, "::1"]}}
application: {{unknown: default}}   # a first ban names an application: all others go on. Set deny once yours are listed
"""
