# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a process's environment sets of its malloc."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from memtwin.libc.release import DEFAULT
from memtwin.libc.tunables import minor_of, tunables_of

_DEBUG_LIBRARY = "libc_malloc_debug.so"


def settings_of(environment: Mapping[str, str], release: str = DEFAULT) -> dict[str, Any]:
    """The arguments of Machine.spawn that an environment stands for: `tunables` and `malloc_check`.

    release: of glibc. MALLOC_CHECK_ and glibc.malloc.check do nothing from 2.34 on, unless
    LD_PRELOAD names libc_malloc_debug.so ("Move malloc hooks into a compat DSO", 2d2d9f2b48).
    """
    tunables = tunables_of(environment, release)
    check = tunables.pop("check", None)
    if minor_of(release) >= 34:
        check = (check or 0) if _preloads_debug_library(environment) else None
    return {"tunables": tunables, "malloc_check": check}


def _preloads_debug_library(environment: Mapping[str, str]) -> bool:
    """Names in LD_PRELOAD stand between spaces or colons: ld.so(8)."""
    names = re.split("[ :]", environment.get("LD_PRELOAD", ""))
    return any(name.rpartition("/")[2].startswith(_DEBUG_LIBRARY) for name in names)
