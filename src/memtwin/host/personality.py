# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs started without address randomisation: equal commands then give equal addresses."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

ADDR_NO_RANDOMIZE = 0x0040000  # linux/personality.h


@contextlib.contextmanager
def without_randomisation(more: int = 0) -> Iterator[None]:
    """What this thread starts meanwhile has ADDR_NO_RANDOMIZE and the bits of `more` in its personality(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = libc.personality(ctypes.c_ulong(0xFFFFFFFF))
    libc.personality(ctypes.c_ulong(before | ADDR_NO_RANDOMIZE | more))
    try:
        yield
    finally:
        libc.personality(ctypes.c_ulong(before))
