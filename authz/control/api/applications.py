"""`/v1/applications` and `/v1/policy`: settings of applications; feeds, databases, limits and protected networks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, Router, delete, get, put
from litestar.params import FromPath, FromQuery, JSONBody

from authz.control.api.common.asking import AnyRequest, Asker, Timeout, WaitFor, in_thread, parsed_moment, plane_of
from authz.control.api.common.changing import answered
from authz.control.api.common.problems import documented
from authz.control.lists.documents import delete_application, put_application, put_settings
from authz.control.lists.rules.files import Folders, unreadable
from authz.control.model.problems import Forbidden, Invalid, Missing
from authz.control.model.records import APPLICATION, POLICY_LAYER, SETTINGS
from authz.control.store.entries.documents import find_documents, get_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.access.callers import Caller
    from authz.control.lists.batch import Batch
    from authz.control.plane import ControlPlane


class ApplicationBody(msgspec.Struct, frozen=True):
    """An application, with the settings that it has of its own; the rest comes from `*`."""

    name: str
    settings: dict[str, Any]


class DoneBody(msgspec.Struct, frozen=True):
    """A change that was made. serials: by layer, in which it takes effect."""

    serials: dict[str, int]


@get("/v1/applications", summary="Applications", responses=documented())
async def get_applications(
    request: AnyRequest, caller: Asker, at: FromQuery[str | None] = None
) -> list[ApplicationBody]:
    """List applications and their settings, now or as of a time; a tenant sees its own."""
    caller.need("read")
    plane = plane_of(request)
    recorded = parsed_moment(at, "at")

    def find() -> dict[str, str]:
        with plane.store.reading() as tx:
            return find_documents(tx, APPLICATION, at=recorded)

    applications = await in_thread(find)
    return [
        ApplicationBody(name, msgspec.json.decode(text)) for name, text in applications.items() if caller.owns(name)
    ]


@put("/v1/applications/{name:str}", summary="Set an application", responses=documented(422))
async def set_application(
    request: AnyRequest, caller: Asker, name: FromPath[str], data: JSONBody[dict[str, Any]],
    reason: FromQuery[str] = "", wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[DoneBody]:  # fmt: skip
    """Set the settings of an application (or of `*`): mode, default, precedence, match, dry_run, hosts, deny."""
    _check_owner(caller, name)
    return await _write(request, caller, lambda batch: put_application(batch, name, data, reason), wait, timeout)


@delete("/v1/applications/{name:str}", summary="Delete an application", status_code=200, responses=documented(404, 409))
async def remove_application(
    request: AnyRequest, caller: Asker, name: FromPath[str], reason: FromQuery[str] = "", wait: WaitFor = None,
    timeout: Timeout = 10.0,
) -> Response[DoneBody]:  # fmt: skip
    """Delete the settings of an application that no entry names."""
    _check_owner(caller, name)
    return await _write(request, caller, lambda batch: delete_application(batch, name, reason), wait, timeout)


@get("/v1/policy", summary="Feeds, databases, limits, protected networks", responses=documented())
async def get_policy(request: AnyRequest, caller: Asker) -> dict[str, Any]:
    """Show the settings of the policy that belong to no application."""
    caller.need("read")
    _check_main(caller)
    plane = plane_of(request)

    def read() -> str:
        with plane.store.reading() as tx:
            return get_document(tx, SETTINGS)

    content: dict[str, Any] = msgspec.json.decode(await in_thread(read) or b"{}")
    return content


@put("/v1/policy", summary="Set feeds, databases, limits, protected networks", responses=documented(409, 422))
async def set_policy(
    request: AnyRequest, caller: Asker, data: JSONBody[dict[str, Any]], reason: FromQuery[str] = "",
    force: FromQuery[bool] = False, wait: WaitFor = None, timeout: Timeout = 10.0,
) -> Response[DoneBody]:  # fmt: skip
    """Replace `feeds`, `geo`, `limits` and `protected`.

    Files must be in the folders that `policy_files` of control.yaml names. It is refused (409 `lock_out`, with their
    ids) if entries deny what would be protected; with `force`, bans among them end in the same change. A file
    that was not named before must be readable (422 `unreadable`).
    """
    caller.need("admin")
    _check_main(caller)
    config = plane_of(request).config
    folders = Folders(Path(config.data), config.policy_files)
    await in_thread(_check_files, plane_of(request), data, folders)
    use = partial(put_settings, settings=data, reason=reason, folders=folders, force=force)
    return await _write(request, caller, use, wait, timeout)


async def _write(
    request: AnyRequest, caller: Caller, use: Callable[[Batch], None], wait: Any, timeout: float
) -> Response[DoneBody]:  # fmt: skip
    plane: ControlPlane = plane_of(request)
    if POLICY_LAYER not in plane.config.limits():
        raise Missing("this control plane does not publish the first layer")

    def run(batch: Batch) -> tuple[int, DoneBody]:
        use(batch)
        return 200, DoneBody({POLICY_LAYER: batch.serial(POLICY_LAYER)} | batch.serials())

    answer = await in_thread(plane.mutate, caller, run, layers=plane.config.limits())
    return await answered(plane, caller, answer, wait, timeout)


def _check_files(plane: ControlPlane, settings: dict[str, Any], folders: Folders) -> None:
    """Raise Invalid where a file that is new in the settings cannot be read."""
    with plane.store.reading() as tx:
        known = msgspec.json.decode(get_document(tx, SETTINGS) or b"{}")
    mistakes = list(unreadable(settings, known, folders))
    if mistakes:
        raise Invalid(mistakes, code="unreadable")


def _check_main(caller: Caller) -> None:
    """Raise Forbidden for tenants, also for one that owns all applications: the policy names files and protects."""
    if caller.sees is not None:
        raise Forbidden("a tenant has its own applications only", code="other_tenant")


def _check_owner(caller: Caller, name: str) -> None:
    caller.need("admin")
    if not caller.owns(name):
        raise Forbidden(f"'{name[:64]}' is not an application of '{caller.tenant.name}'", code="foreign_application")


router: Any = Router(
    "/", route_handlers=[get_applications, set_application, remove_application, get_policy, set_policy], tags=["policy"]
)
