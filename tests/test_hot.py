# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hot rooms: what runs a million times is compiled to C all the way.

A function of a hot module that its .pxd does not declare becomes a Python function, silently and a hundred times slower.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "memtwin"
INNER = """libc/arena libc/bins libc/give libc/heap libc/malloc libc/more libc/take libc/tcache kernel/advise kernel/fault
kernel/mapping kernel/mm kernel/protect kernel/remap""".split()


@pytest.mark.parametrize("module", INNER)
def test_every_function_is_declared(module: str) -> None:
    tree = ast.parse((SOURCE / f"{module}.py").read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    declared = (SOURCE / f"{module}.pxd").read_text()
    assert [name for name in sorted(functions) if not re.search(rf"\b{name}\(", declared)] == []
