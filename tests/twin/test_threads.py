# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads: stacks, arenas and tcaches where the real ones have them."""

from __future__ import annotations

from typing import Any

import pytest

from memtwin import Machine, UserError, host
from memtwin.verify.script import maps_differences, twin_of


def play(p: Any) -> list[object]:
    """Addresses and fault counts of calls of several threads."""
    found: list[object] = [p.malloc(24)]
    t = p.thread()
    found += [p.minflt, p.malloc(24), t.malloc(24), t.minflt, t.malloc(3000), p.malloc(2000)]
    t.free(t.malloc(100))
    t.exit()
    t = p.thread()
    found += [p.minflt, p.malloc(2000), t.malloc(24), t.minflt]
    u = p.thread()
    found += [p.minflt, u.malloc(24), u.malloc(200000), u.mallinfo2(), u.malloc_stats()]
    return found


def test_threads_of_twin_and_host_agree() -> None:
    with host.Process() as real:
        twin = twin_of(real)
        assert play(twin) == play(real)
        assert list(maps_differences(twin.maps(), real.maps())) == []


def test_a_thread_that_ended_takes_no_calls() -> None:
    p = Machine().spawn()
    t = p.thread()
    t.exit()
    with pytest.raises(UserError, match="has ended"):
        t.malloc(1)
    assert p.spare_stacks and not p.threads
