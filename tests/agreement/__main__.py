# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records real programs and replays them: every address must be the one that the program got.

    .venv/bin/python -m tests.agreement [--small] [--keep DIR] [NAME ...]

With address randomisation and without, and the threaded ones under MALLOC_ARENA_MAX=1, 2 and unset. Exit status 1
when an address differs, or when the twin's resident heap is off by more than 2 % where it should not be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from tests.agreement.cases import CASES
from tests.agreement.inputs import Inputs
from tests.agreement.run import LIMIT, Outcome, missing, outcome, report, row_of, table_of, variants


def main() -> int:
    """Run what was asked for, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tenth of everything")
    parser.add_argument("--keep", type=Path, help="keep the last trace and the inputs in this directory")
    parser.add_argument("names", nargs="*", help="parts of the names of the programs to run; all when none is given")
    given = parser.parse_args()
    chosen = [case for case in CASES if not given.names or any(name in case.name for name in given.names)]
    outcomes: list[Outcome] = []
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    with tempfile.TemporaryDirectory(prefix="memtwin-agreement-") as place:
        inputs = Inputs(given.keep or Path(place), 0.05 if given.small else 1)
        inputs.place.mkdir(exist_ok=True)
        for case in chosen:
            if missing(case):
                print(f"{case.name}: not run, there is no {', '.join(missing(case))}", flush=True)
                continue
            for variant, prefix, environment in variants(case, not given.small):
                outcomes.append(outcome(case, variant, prefix, environment, inputs))
                print("  ".join(row_of(outcomes[-1])), file=sys.stderr, flush=True)
                report(outcomes[-1])
    console.print(table_of(outcomes))
    for one in outcomes:
        if one.case.sparse and any(abs(error or 0) > LIMIT for error in one.biggest.heap_error().values()):
            print(f"{one.case.name} {one.variant}: the resident heap is off: {one.case.sparse}")
    return int(not all(one.exact and one.heap_is_right for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
