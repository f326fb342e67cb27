"""Fuzz one target by atheris: `python -m support.fuzz.run TARGET [--cpu-seconds N] [--work FOLDER]
[--spent FILE]`, in `tests`.

The corpus grows in FOLDER/TARGET, beginning with the seeds and the corpus that is kept. The first input that raises
what is not documented, or takes 20 seconds of CPU time, ends the run with exit status 1, and is written to
FOLDER/TARGET-crash; SIGTERM ends it earlier. What was spent is added to FOLDER/spent.json, by target and commit, so
that hours add up over many runs; the run ends with the total of each target. `--spent system/chaos/fuzzed.json` adds it
to the file in git, of which docs/internals/reliability.md has the table.
"""

from __future__ import annotations

import argparse
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from support.fuzz.spent import Spent, add, read, table
from support.fuzz.targets import TARGETS


def main() -> int:
    """Fuzz, note what was spent, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--cpu-seconds", type=float, default=60.0, help="of the fuzzer; default: %(default)g")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "authz-fuzz")
    parser.add_argument(
        "--spent", type=Path, help="where CPU time is noted; default: spent.json in the folder of --work"
    )
    options = parser.parse_args()
    noted = options.spent or options.work / "spent.json"
    commit = _commit()
    status, spent = fuzz(options.target, options.cpu_seconds, options.work)
    add(noted, options.target, commit, spent)
    print(f"{options.target} at {commit}: {spent.inputs:,} inputs, {spent.cpu_seconds:.0f} s of CPU")  # noqa: T201  # for who runs it
    print("\n".join(table(read(noted))))  # noqa: T201  # the same
    return 1 if status else 0


def fuzz(target: str, cpu_seconds: float, work: Path) -> tuple[int, Spent]:
    """Run a fuzzer and show what it says; return its exit status, and what it spent, its CPU time by the kernel."""
    command = [sys.executable, "-m", "support.fuzz.fuzzer", target, str(cpu_seconds), str(work)]
    before, inputs = _of_children(), 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as started:
        # Who ends the run ends the fuzzer, which says how many inputs there were: what was spent is noted all the same.
        signal.signal(signal.SIGTERM, lambda *_: started.send_signal(signal.SIGUSR1))
        for line in started.stdout or ():
            sys.stdout.write(line)
            if match := re.match(r"stat::number_of_executed_units:\s*(\d+)", line):
                inputs = int(match[1])
    return started.returncode, Spent(round(_of_children() - before, 1), inputs)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
