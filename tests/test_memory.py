# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory alone: the door raises, the window is found whatever the host grants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import memtwin.errors
from memtwin.memory import Memory


def test_a_plain_memory_has_no_pages() -> None:
    memory = Memory()
    with pytest.raises(memtwin.errors.SegmentationFault) as stop:
        memory.read(0x1000, 8)
    assert (stop.value.address, stop.value.access, stop.value.code) == (0x1000, "read", 1)
    assert memory.stop_signal == 0


def test_a_window_goes_back_to_the_host_with_its_memory() -> None:
    before = _mapped_bytes()
    memory = Memory(window_bits=40)
    assert _mapped_bytes() - before >= 1 << 40
    del memory
    assert _mapped_bytes() - before < 1 << 30


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_many_windows_shrink_instead_of_failing() -> None:
    memories = [Memory() for _ in range(40)]
    assert min(memory.window_bits for memory in memories) < 44


@pytest.mark.parametrize("page_size", [0, 4095, 4097, 1 << 20])
def test_a_page_size_that_no_machine_has_is_refused(page_size: int) -> None:
    with pytest.raises(memtwin.errors.UserError, match=str(page_size)):
        Memory(page_size)
