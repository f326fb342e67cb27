"""Fuzz one target by atheris: `python -m support.fuzz.run TARGET [--seconds N] [--work FOLDER]`, in the folder `tests`.

The corpus grows in FOLDER/TARGET, beginning with the seeds and the corpus that is kept. The first input that raises
what is not documented ends the run with exit status 1, and is written to FOLDER/TARGET-crash.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import tempfile
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["authz", "hpack"]):
    from support.fuzz.targets import TARGETS, kept


def main() -> None:
    """Fuzz, and end the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "authz-fuzz")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    target, corpus = TARGETS[options.target], options.work / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "seeds").mkdir()
        for data in [*target.seeds(Path(folder) / "seeds"), *kept(options.target)]:
            (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        run = target.make(Path(folder))

        def one_input(data: bytes) -> None:
            try:
                run(data)
            except BaseException:
                traceback.print_exc()
                raise

        atheris.Setup(
            [
                sys.argv[0], str(corpus), f"-max_total_time={options.seconds}", "-max_len=4096", "-timeout=20",
                "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1",
                f"-exact_artifact_path={options.work / options.target}-crash",
            ],
            one_input,
        )  # fmt: skip
        atheris.Fuzz()


if __name__ == "__main__":
    main()
