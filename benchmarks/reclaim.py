# SPDX-License-Identifier: LGPL-2.1-or-later
"""Page replacement beside libCacheSim's LRU and CLOCK on one reference string: references a second, and misses.

    python benchmarks/reclaim.py [--references N] [--json]

"policy" is the policy alone (kernel/policies/simulate.py), as libCacheSim's caches are; "machine" is the whole twin:
an address space with too little RAM, page tables, swap and reclaim, one access a reference. CLOCK's misses must be
the peer's, with the first reference not counted as it does, and LRU's too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.policies.simulate import simulate

PAGES, FRAMES, SEED, REPEATS = 1 << 16, 1 << 13, 1, 3
PAGE, WRITE = 4096, 2
ORACLE = np.dtype([("time", "<u4"), ("object", "<u8"), ("size", "<u4"), ("next", "<i8")])


def string(length: int) -> npt.NDArray[np.uint32]:
    """A Zipf-like string over PAGES pages, the popular ones scattered."""
    draw = np.random.default_rng(SEED)
    weights = 1.0 / np.arange(1, PAGES + 1)
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), draw.random(length))
    return draw.permutation(PAGES)[np.minimum(ranks, PAGES - 1)].astype(np.uint32)


def fastest(call: Callable[[], int]) -> tuple[float, int]:
    """Seconds of the fastest of REPEATS runs, and the misses, which are the same in each."""
    results = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        misses = call()
        results.append((time.perf_counter() - begin, misses))
    return min(results)


def peer(name: str, references: npt.NDArray[np.uint32], directory: Path) -> tuple[float, int]:
    """libCacheSim's cache of that name on the string, read from its own binary format."""
    import libcachesim as lcs

    path = directory / "string.oracleGeneral"
    rows = np.zeros(len(references), ORACLE)
    rows["object"], rows["size"] = references.astype(np.uint64) + 1, 1
    rows.tofile(path)

    def run() -> int:
        cache: Any = getattr(lcs, name)(cache_size=FRAMES)
        ratio = cache.process_trace(lcs.TraceReader(str(path), lcs.TraceType.ORACLE_GENERAL_TRACE))[0]
        return round(ratio * len(references))

    return fastest(run)


def machine_run(policy: str, references: npt.NDArray[np.uint32]) -> int:
    """The string as writes of a process; the faults it had (all but the first touches are major)."""
    machine = Machine((FRAMES + 512) * PAGE, "512 MiB", policy=policy)
    space = AddressSpace(machine, 36)
    at = space.sys_mmap(0, PAGES * PAGE, 3, 0x22 | 0x4000, None, 0)
    touch = space.touch
    for page in references.tolist():
        touch(at + page * PAGE, 1, WRITE)
    return int(space.min_flt + space.maj_flt)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=2_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    references = string(options.references)
    try:
        import libcachesim  # noqa: F401
    except ImportError:
        print("reclaim: no peer: pip install libcachesim", file=sys.stderr)
        return 2
    found: dict[str, Any] = {"references": options.references, "frames": FRAMES, "seed": SEED}
    with tempfile.TemporaryDirectory() as directory:
        for policy, name in (("lru", "LRU"), ("clock", "Clock"), ("fifo", "FIFO")):
            theirs, their_misses = peer(name, references, Path(directory))
            ours, misses = fastest(lambda: int(simulate(references, FRAMES, policy, first_counts=False).sum()))  # noqa: B023
            found[policy] = {
                "references_per_second": options.references / ours,
                "peer_references_per_second": options.references / theirs,
                "ratio": theirs / ours,
                "misses": misses,
                "peer_misses": their_misses,
            }
        few = references[: options.references // 10]
        for policy in ("two-list", "clock", "lru"):
            seconds, faults = fastest(lambda: machine_run(policy, few))  # noqa: B023
            found[f"machine {policy}"] = {"references_per_second": len(few) / seconds, "faults": faults}
    print(json.dumps(found) if options.json else table(found))
    return int(any(found[policy]["misses"] != found[policy]["peer_misses"] for policy in ("lru", "clock", "fifo")))


def table(found: dict[str, Any]) -> str:
    """The figures as lines."""
    lines = [f"{found['references']:,} references, {FRAMES:,} frames, seed {SEED}"]
    for name, row in found.items():
        if isinstance(row, dict) and "ratio" in row:
            lines.append(
                f"{name:<18}{row['references_per_second'] / 1e6:8.1f} M/s, libCacheSim "
                f"{row['peer_references_per_second'] / 1e6:6.1f} M/s, ratio {row['ratio']:.2f}; "
                f"misses {row['misses']:,} and {row['peer_misses']:,}"
            )
        elif isinstance(row, dict):
            lines.append(f"{name:<18}{row['references_per_second'] / 1e6:8.2f} M/s; faults {row['faults']:,}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
