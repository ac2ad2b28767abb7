# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damages files of a trace in every way a seed can think of and reads them. A process of its own, with little memory.

    python -m tests.trace.fuzz parquet|raw DIRECTORY SEED COUNT

DIRECTORY holds a good trace, or good raw files. Each case must be read or refused with TraceError; then the file is put
back. The number of the case goes to standard error before it is tried, so a crash leaves it there.
"""

from __future__ import annotations

import random
import resource
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa

from memtwin.errors import TraceError
from memtwin.trace.convert import import_raw
from memtwin.trace.reader import open_trace

ROOM = 3 << 30  # bytes of address space beyond what is used at the start; the heaviest cases are good files
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The bytes with one kind of damage; half of the cases in the first or the last 4 KiB, where the numbers are."""
    text = bytearray(data)
    kind = dice.choice(("flip", "flip", "flip", "word", "word", "zero", "cut", "move", "more"))
    near = dice.choice((0, max(0, len(text) - 4096), None, None))
    at = dice.randrange(len(text)) if near is None else min(near + dice.randrange(4096), len(text) - 1)
    while not text[at] and dice.randrange(50):  # a raw file is mostly zeros, which nobody reads
        at = dice.randrange(len(text))
    if kind == "flip":
        for _ in range(dice.randrange(1, 9)):
            text[(at + dice.randrange(64)) % len(text)] ^= 1 << dice.randrange(8)
    elif kind == "word":
        width = dice.choice((4, 8))
        text[at : at + width] = (dice.choice(EXTREMES) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    elif kind == "zero":
        length = dice.randrange(1, 4096)
        text[at : at + length] = bytes(len(text[at : at + length]))
    elif kind == "cut":
        del text[at:]
    elif kind == "move":
        piece = text[at : at + dice.randrange(1, 4096)]
        text[dice.randrange(len(text)) :][: len(piece)] = piece
        text[at // 2 : at // 2 + len(piece)] = piece
    else:
        text[at:at] = dice.randbytes(dice.randrange(1, 4096))
    return bytes(text)


def read_trace(directory: Path) -> None:
    """Everything that a reader may ask for."""
    for image in open_trace(directory).processes:
        assert image.header.pid == image.pid
        for columns in image.batches():
            assert len(columns) == len(columns.result)
        assert image.samples().num_rows >= 0
        assert image.blocks().num_rows >= 0
        for snapshot in image.snapshots():
            assert snapshot.number >= 0


def read_raw(directory: Path) -> None:
    """Import into a directory of its own, then read that."""
    with tempfile.TemporaryDirectory() as name:
        import_raw(sorted(directory.glob("*.raw")), Path(name), ["x"])
        read_trace(Path(name))


def main() -> None:
    """Print how many cases were read and how many refused, and the peak of memory."""
    what, name, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    read = read_trace if what == "parquet" else read_raw
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    read(Path(name))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    files = sorted(path for path in Path(name).iterdir() if path.is_file())
    results: Counter[str] = Counter()
    for case in range(seed, seed + count):
        print(case, file=sys.stderr, flush=True)
        dice = random.Random(case)
        path = dice.choice(files)
        good = path.read_bytes()
        bad = damaged(good, dice)
        path.write_bytes(bad)
        try:
            read(Path(name))
            results["read"] += 1
        except TraceError as error:
            results["refused"] += 1
            assert "\n" not in str(error) and len(str(error)) < 1000, error
        finally:
            path.write_bytes(good)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{results['read']} read, {results['refused']} refused, peak {peak} MiB")


if __name__ == "__main__":
    main()
    shutil.rmtree(sys.argv[2], ignore_errors=True)
