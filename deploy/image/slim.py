"""Takes out of a virtual environment what its image does not run, and says how large it is then.

    /opt/authz/bin/python slim.py --sidecar --megabytes 60

--sidecar: only `authz serve` and what it needs of authz stays. Sources of C and stubs of types go everywhere, and so do
symbols and debugging information of libraries, which are a third of what wheels bring.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import shutil
import struct
import sys
import sysconfig
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))
NOT_RUN = ("*.c", "*.h", "*.pxd", "*.pxi", "*.pyi", "*.pyx", "*.cpp")
# cryptography loads `_cffi_backend` alone; cffi and its parser write modules in C. roots.pem is for clients of gRPC.
NOT_LOADED = ("cffi", "pycparser", "pycparser-*.dist-info", "grpc/_cython/_credentials/roots.pem")
# Of the sidecar's image: what builds snapshots, looks into them, and the control plane.
NOT_SERVED = ("analysis", "control", "publisher", "replay")
OF_THE_COMMAND_LINE = {"__init__.py", "main.py", "common"}  # `authz serve` needs no other part of cli/


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def strip(path: Path) -> None:
    """Cut a library (ELF, 64 bits, little-endian) behind the last byte that is loaded.

    What follows are sections for debuggers and linkers. The loader reads segments alone (ELF, "Program Loading"): the
    header then says that there are no sections.
    """
    content = bytearray(path.read_bytes())
    if content[:6] != b"\x7fELF\x02\x01":
        return
    start, size, number = struct.unpack_from("<Q14xHH", content, 32)  # e_phoff, e_phentsize, e_phnum
    segments = [struct.unpack_from("<Q16xQ", content, start + size * index + 8) for index in range(number)]
    struct.pack_into("<Q", content, 40, 0)  # e_shoff
    struct.pack_into("<HH", content, 60, 0, 0)  # e_shnum, e_shstrndx
    path.write_bytes(content[: max(offset + length for offset, length in segments)])


def slim(site: Path, *, sidecar: bool) -> None:
    """Remove what is not run, and bring the records of what is installed up to date."""
    for pattern in NOT_RUN:
        for path in site.rglob(pattern):
            remove(path)
    if sidecar:
        for path in [path for pattern in NOT_LOADED for path in site.glob(pattern)]:
            remove(path)
        for name in NOT_SERVED:
            remove(site / "authz" / name)
        for path in (site / "authz" / "cli").iterdir():
            if path.name not in OF_THE_COMMAND_LINE and path.name != "__pycache__":
                remove(path)
    for library in (*site.rglob("*.so"), *site.rglob("*.so.*")):
        strip(library)
    for record in site.glob("*.dist-info/RECORD"):
        rows = list(csv.reader(record.read_text().splitlines()))
        kept = [recorded(site, row) for row in rows if (site / row[0]).exists()]
        with record.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(kept)


def recorded(site: Path, row: list[str]) -> list[str]:
    """Return the line of a record (path, hash, size) for the file as it is now."""
    name, digest, _ = row
    if not digest:  # of a compiled module, or of the record itself
        return row
    content = (site / name).read_bytes()
    now = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return [name, f"sha256={now}", str(len(content))]


def megabytes(folder: Path) -> float:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main() -> None:
    """Run the command. Status 1: larger than it may be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sidecar", action="store_true")
    parser.add_argument("--megabytes", type=float, required=True)
    options = parser.parse_args()
    slim(SITE, sidecar=options.sidecar)
    size = megabytes(Path(sys.prefix))
    sys.stdout.write(f"{sys.prefix}: {size:.1f} MB, of {options.megabytes:g} that it may have\n")
    sys.exit(size > options.megabytes)


if __name__ == "__main__":
    main()
