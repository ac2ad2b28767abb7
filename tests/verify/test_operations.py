# SPDX-License-Identifier: LGPL-2.1-or-later
"""Scripts of operations: written and read back, and what is no script."""

from __future__ import annotations

import pytest

from memtwin.errors import UserError
from memtwin.verify.operations import FILES, NO_FILE, Operation, format_script, parse_script

SEQUENCE = [
    Operation(0, "mmap", (0, 0x3000, 3, 0x22, NO_FILE, 0)),
    Operation(0, "mmap", (0, 0x3000, 3, 2, FILES.index("memfd"), 0x1000)),
    Operation(0, "fork", (1,)),
    Operation(1, "store", (0x7FFFF7FF4000, 3, 4096, 200)),
    Operation(0, "munlockall", ()),
    Operation(0, "exit", (1,)),
]


def test_a_script_is_read_back_as_it_was_written() -> None:
    assert parse_script(format_script(SEQUENCE, ["a comment"])) == SEQUENCE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0 frob 1", "line 1: '0 frob 1' is no operation"),
        ("# fine\n0 munmap 0x1000", "line 2: munmap takes 2 arguments, here are 1"),
        ("0 munmap here 1", "line 1: invalid literal"),
        ("9 munmap 0 1", "process 9"),
        ("0 mmap 0 1 3 2 nofile 0", "'nofile' is no file"),
        ("0 madvise 0x1000 4096 100", "would take real memory"),
    ],
)
def test_what_is_no_script_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_script(text)
