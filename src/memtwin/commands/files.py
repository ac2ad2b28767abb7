# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that a user names on the command line."""

from __future__ import annotations

from pathlib import Path

from memtwin.errors import UserError


def read_text(path: Path, most: int = -1) -> str:
    """The text of a file, or its first `most` characters. UserError: it cannot be read, or is no UTF-8."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(most)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
