# SPDX-License-Identifier: LGPL-2.1-or-later
"""Imports go down: the floors of CONTRIBUTING.md, as pyproject.toml writes them for import-linter."""

from importlinter.cli import lint_imports


def test_imports_go_down() -> None:
    assert lint_imports() == 0
