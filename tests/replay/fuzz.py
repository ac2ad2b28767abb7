# SPDX-License-Identifier: LGPL-2.1-or-later
"""Replays traces whose files are whole but whose contents are lies. A process of its own, for it may crash or hang.

    python -m tests.replay.fuzz DIRECTORY SEED COUNT

DIRECTORY holds a good trace. Each case changes rows of its events, snapshots or samples, or fields of its headers; it
must be replayed, as it was and under another setting, or refused with UserError. The number of a case goes to standard
error before it is tried, so that a crash leaves it there; one that takes too long ends in SIGALRM.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memtwin.commands.replay import to_json
from memtwin.errors import UserError
from memtwin.lab.from_trace import script_of
from memtwin.replay.replay import replay
from memtwin.replay.trees import replay_view
from memtwin.replay.twin import Options
from memtwin.trace.reader import open_trace
from memtwin.trace.schema import METADATA_KEY, Op

SECONDS = 60
MAX_MIB = 2048 + (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 22)  # a quarter is the twin's: ram_for
NUMBERS = (
    0, 1, 2, 8, 15, 16, 24, 31, 32, 4095, 4096, 65536, 131072, 1 << 20, (1 << 25) + 1, (1 << 31) - 1, 1 << 32, 1 << 40,
    (1 << 47) - 4096, (1 << 47) - 1, 1 << 47, 1 << 48, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1,
)  # fmt: skip
TEXTS = ("", "x", "rw-p", "---p", "r-xs", "[heap]", "[stack]", "/usr/lib/x86_64-linux-gnu/libc.so.6", "\0", "é" * 300)


def number(dice: random.Random, like: Any = 0) -> int:
    """A number that may hurt, or one near `like`."""
    if dice.random() < 0.5:
        return dice.choice(NUMBERS)
    return (int(like or 0) + dice.choice((-4096, -16, -8, -1, 1, 8, 16, 4096, 1 << 20))) % (1 << 64)


def change_rows(table: pa.Table, dice: random.Random) -> pa.Table:
    """Some cells get other values; or rows are swapped, repeated or all in one."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    rows = table.num_rows
    if not rows:
        return table
    how = dice.choice(("cells", "cells", "cells", "swap", "repeat", "one", "column"))
    for _ in range(dice.choice((1, 3, 30))):
        at, other, name = dice.randrange(rows), dice.randrange(rows), dice.choice(table.column_names)
        if how == "cells":
            columns[name][at] = value_for(table.schema.field(name), columns[name][at], dice)
        elif how == "swap":
            for cells in columns.values():
                cells[at], cells[other] = cells[other], cells[at]
        elif how == "repeat":
            for cells in columns.values():
                cells[at : at + 8] = [cells[other]] * len(cells[at : at + 8])
        elif how == "one":
            columns[name] = [columns[name][at]] * rows
        else:
            columns[name] = [value_for(table.schema.field(name), cell, dice) for cell in columns[name]]
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in table.schema}, schema=table.schema)


def value_for(field: pa.Field, now: Any, dice: random.Random) -> Any:
    """Another value of the column's type."""
    if field.name == "op" and dice.random() < 0.8:
        return int(dice.choice(list(Op)))
    if field.nullable and dice.random() < 0.3:
        return None
    if pa.types.is_string(field.type):
        return dice.choice(TEXTS)
    if field.name == "thread" and dice.random() < 0.5:
        return dice.randrange(1 << 32)
    return number(dice, now) % (1 << field.type.bit_width)


def change_header(table: pa.Table, dice: random.Random) -> pa.Table:
    """Some header facts become others of the same type."""
    metadata = dict(table.schema.metadata)
    header = json.loads(metadata[METADATA_KEY])
    for name in dice.sample(sorted(set(header) - {"version", "key", "pid", "events"}), dice.choice((1, 2, 5))):
        now = header[name]
        if isinstance(now, int):
            header[name] = number(dice, now)
        elif isinstance(now, str):
            header[name] = dice.choice(
                (*TEXTS, "2.31", "2.36", "2.43", "2.99", "fast", "fork", "exec", "always", "i386")
            )
        elif name == "environment":
            tunables = ("mmap_threshold=0", "tcache_count=65535", "arena_max=1", "perturb=255", "hugetlb=2", "check=3")
            header[name] = {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{one}" for one in dice.sample(tunables, 3)),
                            "MALLOC_CHECK_": dice.choice("0123x"), "MALLOC_TOP_PAD_": str(number(dice))}  # fmt: skip
        elif name == "free_huge_pages":
            header[name] = {dice.choice(("2097152", "1073741824", "4096", "0")): number(dice)}
    metadata[METADATA_KEY] = json.dumps(header).encode()
    return table.replace_schema_metadata(metadata)


def change(directory: Path, dice: random.Random) -> None:
    """One case: one or two files of the trace say something else."""
    for _ in range(dice.choice((1, 1, 2))):
        name = dice.choice(("events", "events", "events", "maps", "samples", "blocks", "header"))
        path = dice.choice(sorted(directory.glob(f"*.{'events' if name == 'header' else name}.parquet")))
        table = pq.read_table(path)
        table = change_header(table, dice) if name == "header" else change_rows(table, dice)
        pq.write_table(table, path)


def try_all(directory: Path) -> None:
    """Everything that the commands do with a trace."""
    trace = open_trace(directory)
    real = replay(trace, Options())
    other = replay(trace, Options({"mmap_threshold": 65536}), real)
    json.dumps(to_json(trace, real, other), allow_nan=False)
    replay_view(trace, real, other)
    script_of(directory)


def main() -> None:
    """Print how many cases were replayed and how many refused."""
    good, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    replayed = refused = 0
    for case in range(count):
        print(f"case {case}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place) / "trace"
            shutil.copytree(good, directory)
            change(directory, random.Random(f"{seed}:{case}"))
            signal.alarm(SECONDS)
            try:
                try_all(directory)
                replayed += 1
            except UserError as error:
                assert "\n" not in str(error), str(error)
                refused += 1
            except Exception:
                traceback.print_exc()
                raise SystemExit(f"case {case} of seed {seed}") from None
            signal.alarm(0)
        # not ru_maxrss, which begins with what the parent had before exec
        peak = int(re.findall(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[0]) >> 10
        if peak > MAX_MIB:
            raise SystemExit(f"case {case} of seed {seed}: {peak} MiB")
    print(f"{replayed} replayed, {refused} refused")


if __name__ == "__main__":
    main()
