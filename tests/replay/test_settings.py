# SPDX-License-Identifier: LGPL-2.1-or-later
"""Settings as people write them."""

from __future__ import annotations

import pytest

from memtwin.errors import UserError
from memtwin.replay.settings import environment_line, parse_settings


def test_sizes_and_lists() -> None:
    settings = parse_settings(["mmap_threshold=64KiB", "glibc.malloc.arena_max=2:top_pad=0,top_pad=0x1000"])
    assert settings == {"mmap_threshold": 65536, "arena_max": 2, "top_pad": 4096}
    assert environment_line(settings) == (
        "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=65536:glibc.malloc.arena_max=2:glibc.malloc.top_pad=4096"
    )


@pytest.mark.parametrize("text", ["mmap_threshold", "mmap_treshold=1", "top_pad=much", "=1"])
def test_a_wrong_one_is_named(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_settings([text])
    assert text.split("=")[0] in str(error.value) or text.split("=")[1] in str(error.value)
