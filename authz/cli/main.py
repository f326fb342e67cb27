"""The `authz` command. Exit status: 0 done, 1 the answer is no, 2 a mistake of the caller.

A sidecar lives for weeks beside others: `authz serve --config FILE` loads neither the other commands nor the libraries
of the command line, which would be a third of its memory and of its start. All else goes through typer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from authz.cli.common.failure import fail, missing_extra
from authz.errors import AuthzError

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTIONS = {"--config": "config", "--log-level": "log_level"}  # of `authz serve`, and the names they have in it


def run() -> NoReturn:
    """Run the command of this process; a mistake of the caller is an error text and status 2, never a traceback."""
    try:
        options = serve_options(sys.argv[1:])
        if options is None:
            from authz.cli.app import run_commands

            run_commands()
        else:
            from authz.serve.process import serve

            serve(Path(options.pop("config")), **options)
    except AuthzError as error:
        fail(error)
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        fail(missing)
    except BrokenPipeError:  # `authz replay ... | head`
        sys.stdout = None
    sys.exit(0)


def serve_options(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return the options of a plain `serve --config FILE [--log-level LEVEL]`, by name.

    None: anything else, a mistake and `--help` included, which are typer's to answer.
    """
    if arguments[:1] != ["serve"]:
        return None
    found: dict[str, str] = {}
    rest = iter(arguments[1:])
    for argument in rest:
        option, equals, value = argument.partition("=")
        if not equals:
            value = next(rest, "")
        if option not in _OPTIONS or not value or value.startswith("-"):
            return None
        found[_OPTIONS[option]] = value
    return found if "config" in found else None
