# SPDX-License-Identifier: LGPL-2.1-or-later
"""memtwin verify SCRIPT.py and memtwin layout --svg, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def memtwin(*arguments: str) -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, "-m", "memtwin", *arguments], {**os.environ, "COLUMNS": "140"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_script_is_played_on_both_sides(tmp_path: Path) -> None:
    script = tmp_path / "twice.py"
    script.write_text("p = malloc(100)\nchild = fork()\nchild.write(p, 'x')\nfree(p)\nfree(p)\n")
    shown = memtwin("verify", str(script))
    assert shown.returncode == 0, shown.stderr
    assert "double free detected in" in shown.stdout and "no difference" in shown.stdout
    told = json.loads(memtwin("verify", "script", str(script), "--json").stdout)
    assert told["differences"] == 0 and [line["line"] for line in told["lines"]] == [1, 2, 3, 4, 5]


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import os\n")
    for arguments in (["verify", "missing.py"], ["verify", str(wrong)], ["verify", "script"], ["verify", "nothing"]):
        done = memtwin(*arguments)
        assert done.returncode == 2 and done.stderr.startswith("memtwin: ") and done.stderr.count("\n") == 1


def test_a_layout_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "layout.svg"
    done = memtwin("layout", "struct s { char a; double d; }; struct t { struct s s; int n : 3; };", "--svg", str(file))
    assert done.returncode == 0, done.stderr
    assert ET.parse(file).getroot().tag.endswith("svg") and "struct t" in file.read_text()
    assert memtwin("layout", "struct s { int i; };", "--svg", "/nowhere/x.svg").returncode == 2
