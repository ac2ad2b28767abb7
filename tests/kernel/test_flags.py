# SPDX-License-Identifier: LGPL-2.1-or-later
"""flags.py and flags.pxd say the same, and Python's own mmap and errno modules agree with both."""

from __future__ import annotations

import ast
import errno
import mmap
import re
from pathlib import Path

from memtwin.kernel import flags

NUMBERS = {name: value for name, value in vars(flags).items() if name.isupper() and isinstance(value, int)}


def test_the_compiled_face_has_the_same_numbers() -> None:
    text = Path(flags.__file__).with_suffix(".pxd").read_text()
    pairs = re.findall(r"^ +(\w+) = (\w+)$|#define (\w+) (\w+?)U?$", text, re.MULTILINE)
    compiled = {a or c: ast.literal_eval(b or d) for a, b, c, d in pairs}
    assert compiled == NUMBERS


def test_they_are_the_system_s_numbers() -> None:
    for name, value in NUMBERS.items():
        for module in (mmap, errno):
            assert getattr(module, name, value) == value, name
