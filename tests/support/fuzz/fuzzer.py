"""Fuzzes one target by atheris in this process, until it has used its CPU time: `run` starts it, and counts.

The first input that raises what is not documented, or takes too long, ends the process with an exit status that is not
0, and is written beside the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["authz", "hpack"]):
    from support.fuzz.targets import TARGETS, dictionary, kept

_LONGEST: Final = 20.0  # seconds of CPU time that one input may take
_HANGING: Final = 3600  # seconds, should it never come back to the interpreter; a fuzzer that is stopped does not count


def main() -> None:
    """Fuzz, and end the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("cpu_seconds", type=float)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    target, corpus = TARGETS[options.target], options.work / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "seeds").mkdir()
        seeds = [*target.seeds(Path(folder) / "seeds"), *kept(options.target)]
        for data in seeds:
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        words = options.work / f"{options.target}.dict"
        words.write_text("\n".join(dictionary(seeds)) + "\n")
        run = target.make(Path(folder))
        end = time.process_time() + options.cpu_seconds

        def one_input(data: bytes) -> None:
            if time.process_time() > end:
                os.kill(os.getpid(), signal.SIGUSR1)  # libFuzzer ends soon, and says how many inputs there were
                return
            signal.setitimer(signal.ITIMER_PROF, _LONGEST)
            try:
                run(data)
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)

        signal.signal(signal.SIGPROF, _too_long)
        atheris.Setup(
            [
                sys.argv[0], str(corpus), "-max_len=4096", "-rss_limit_mb=2048",
                f"-timeout={_HANGING}", f"-report_slow_units={_HANGING}", f"-dict={words}",
                "-print_final_stats=1", "-verbosity=1",
                f"-exact_artifact_path={options.work / options.target}-crash",
            ],
            one_input,
        )  # fmt: skip
        atheris.Fuzz()


def _too_long(*_: object) -> None:
    raise TimeoutError(f"one input took {_LONGEST:g} s of CPU time")


if __name__ == "__main__":
    main()
