# SPDX-License-Identifier: LGPL-2.1-or-later
"""A pool of reserved huge pages on this machine for the time of a test: on request alone, as it is the whole machine's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.kernel.machine_wide import changed

from memtwin.verify.host import host_pool, read_pool

WIDE = "MEMTWIN_MACHINE_WIDE"
PAGES = 16
_SETTING = Path("/proc/sys/vm/nr_hugepages")

on_request = pytest.mark.skipif(
    WIDE not in os.environ or os.geteuid() != 0 or read_pool().get("HugePages_Total", 0) != 0,
    reason=f"needs root, no pool of huge pages, and {WIDE}=1: it sets vm.nr_hugepages of this machine while it runs",
)


@contextmanager
def huge_pool(pages: int = PAGES) -> Iterator[None]:
    """vm.nr_hugepages is `pages` inside, and what it was before afterwards. Nothing may be left promised or in use."""
    with changed(_SETTING, f"{pages}\n"):
        assert host_pool() == pages, "the machine has no room for so many huge pages"
        yield
        assert host_pool() == pages, f"huge pages are still in use or promised: {read_pool()}"
