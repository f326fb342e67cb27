"""How a command fails: an error text and its hint, or one JSON object, and the exit status.

The sidecar loads nothing of the command line's libraries, so this needs the standard library and orjson alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from authz.errors import InputError, InvalidDocument

if TYPE_CHECKING:
    from authz.errors import AuthzError

# The extra that brings a package, by the name that is imported.
EXTRAS: Final = {
    **dict.fromkeys(["click", "httpx", "numpy", "rich", "securesystemslib", "typer"], "publish"),
    **dict.fromkeys(["azure", "boto3", "botocore", "google", "hvac"], "kms"),
    "obstore": "stores",
    **dict.fromkeys(["alembic", "litestar", "psycopg", "sqlalchemy", "uvicorn"], "control"),
}  # fmt: skip


def fail(error: AuthzError, status: int = 2) -> NoReturn:
    """Print an error and its hint, and end with `status`; with --json on the command line, as one JSON object."""
    if "--json" in sys.argv:
        import orjson

        sys.stdout.write(orjson.dumps({"error": error_as_json(error)}).decode() + "\n")
    else:
        sys.stderr.write("".join(f"{line}\n" for line in _lines(error)))
    sys.exit(status)


def error_as_json(error: AuthzError) -> dict[str, Any]:
    """Return an error for a program: code, message, hint and, of a document, each mistake."""
    content: dict[str, Any] = {"code": str(error.code), "message": error.message, "hint": error.hint}
    if isinstance(error, InvalidDocument):
        content["mistakes"] = [{"file": error.path, **mistake._asdict()} for mistake in error.mistakes]
    return content


def _lines(error: AuthzError) -> list[str]:
    if isinstance(error, InvalidDocument):
        count = len(error.mistakes)
        told = f"authz: error: {count} mistake{'s' if count != 1 else ''} in {error.path}"
        lines = [*error.message.splitlines(), told]
    else:
        lines = [f"authz: error: {error.message}"]
    return [*lines, f"hint: {error.hint}"] if error.hint else lines


def missing_extra(error: ModuleNotFoundError) -> InputError | None:
    """Return what to say where a package of an extra is not installed; None for any other module."""
    package = (error.name or "").partition(".")[0]
    if package == "authz":
        return InputError(
            f"{error.name} is not installed: this image is only for `authz serve --config FILE`",
            hint="the image of the control plane has all commands",
            code="missing_extra",
        )
    if package not in EXTRAS:
        return None
    words = [word for word in sys.argv[1:3] if word.replace("-", "").isalpha() and not word.startswith("-")]
    extra = EXTRAS[package]
    return InputError(
        f"`{' '.join(['authz', *words])}` needs the extra '{extra}': the package {package} is not installed",
        hint=f"pip install 'authz[{extra}]'; a sidecar needs no extra: authz serve --config FILE",
        code="missing_extra",
    )
