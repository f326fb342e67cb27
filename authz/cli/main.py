"""The `authz` command. Exit status: 0 done, 1 the answer is no, 2 a mistake of the caller.

A sidecar lives for weeks beside others: `authz serve --config FILE` loads neither the other commands nor the libraries
of the command line, which would be a third of its memory and of its start. A ban has to hold soon: a plain `authz ban`
or `authz unban` on a file of this machine loads none of them either. All else goes through typer.

SIGHUP tells a sidecar to read its files again, so `authz serve` blocks it before anything else: one that comes while it
starts waits until it serves. Every other command is ended by it, as usual.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import NoReturn

from authz.cli.common.failure import fail, missing_extra
from authz.cli.common.plain import ban_options, serve_options, unban_options
from authz.errors import AuthzError


def run() -> NoReturn:
    """Run the command of this process; a mistake of the caller is an error text and status 2, never a traceback."""
    try:
        _run(sys.argv[1:])
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


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["serve"]:
        import signal

        # By default it ends a process, and what a sidecar needs takes half a second to load. It unblocks it itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    if (options := serve_options(arguments)) is not None:
        from authz.serve.process import serve

        serve(Path(options.pop("config")), **options)
    elif (values := ban_options(arguments)) is not None:
        gc.disable()  # it ends before there is garbage worth a look
        from authz.cli.bans import local

        local.ban(**values)
    elif (values := unban_options(arguments)) is not None:
        gc.disable()  # the same
        from authz.cli.bans import local

        local.unban(**values)
    else:
        from authz.cli.app import run_commands

        run_commands()
