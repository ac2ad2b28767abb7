# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the recorded programs work on: files and repositories, made up from seeds, at any scale."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


@dataclass(frozen=True)
class Inputs:
    """Where inputs are made, and how large: `scale` is 1 for the whole, less for a slice."""

    place: Path
    scale: float

    def count(self, whole: int) -> int:
        """So many things at this scale."""
        return max(1, int(whole * self.scale))

    def file(self, name: str, make: Callable[[Path], object]) -> Path:
        """The file of that name, made when it is not there."""
        path = self.place / name
        if not path.exists():
            make(path)
        return path


def text_lines(path: Path, lines: int) -> None:
    """Lines of words."""
    rng = random.Random(1)
    with path.open("w") as file:
        for _ in range(lines):
            print(
                *(rng.choice("alpha beta gamma delta omega".split()) + str(rng.randrange(9999)) for _ in range(8)),
                file=file,
            )


def json_file(path: Path, records: int) -> None:
    """A JSON array of small objects."""
    rng = random.Random(2)
    objects = (
        f'{{"id": {i}, "name": "n{rng.randrange(10**6)}", "tags": ["a{i % 7}", "b{i % 11}"]}}' for i in range(records)
    )
    path.write_text("[" + ",\n".join(objects) + "]")


C_FUNCTION = """int f%(i)d(int *a, int n) {
    int s = %(i)d;
    for (int i = 0; i < n; i++) {
        if (a[i] %% %(m)d) s += a[i] * %(n)d;
        else s ^= i;
    }
    return s;
}
"""

CPP_HEAD = "#include <algorithm>\n#include <map>\n#include <string>\n#include <vector>\n"
CPP_CLASS = """struct T%(i)d {
    std::map<std::string, std::vector<int>> m;
    int get(const std::string &k) {
        auto &v = m[k];
        std::sort(v.begin(), v.end());
        return v.empty() ? %(i)d : v[0];
    }
};
int g%(i)d(T%(i)d &t) { return t.get("k%(i)d"); }
"""


def c_source(path: Path, functions: int) -> None:
    """C functions with loops and branches."""
    path.write_text("".join(C_FUNCTION % {"i": i, "m": 2 + i % 5, "n": i % 17} for i in range(functions)))


def cpp_source(path: Path, classes: int) -> None:
    """C++ with templates of the standard library."""
    path.write_text(CPP_HEAD + "".join(CPP_CLASS % {"i": i} for i in range(classes)))


def repository(path: Path, commits: int) -> None:
    """A git repository whose files change a little in every commit."""
    rng = random.Random(3)
    path.mkdir()
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    files = {f"file{i}.txt": [f"line {j} {rng.random()}" for j in range(120)] for i in range(40)}
    stream = []
    for commit in range(commits):
        changed = rng.sample(sorted(files), 5) if commit else sorted(files)
        for name in changed:
            files[name][rng.randrange(120)] = f"changed in {commit} {rng.random()}"
        stream.append(f"commit refs/heads/main\ncommitter T <t@e> {10**9 + commit} +0000\ndata 4\nnext\n")
        for name in changed:
            content = "\n".join(files[name]) + "\n"
            stream.append(f"M 100644 inline {name}\ndata {len(content)}\n{content}")
    subprocess.run(["git", "-C", str(path), "fast-import", "--quiet"], input="".join(stream), text=True, check=True)
    subprocess.run(["git", "-C", str(path), "symbolic-ref", "HEAD", "refs/heads/main"], check=True)


def shell_script(path: Path, rounds: int) -> None:
    """Work in the shell itself and in children that it forks."""
    path.write_text(
        f"""declare -A seen
for ((i = 0; i < {rounds}; i++)); do seen[k$((i % 997))]=v$i; line="${{line:0:2000}} x$i"; done
for child in 1 2 3 4; do
    (for ((i = 0; i < {rounds // 4}; i++)); do seen[c$child$i]=$i; done; echo child $child ${{#seen[@]}})
done
echo parent ${{#seen[@]}} $(echo sub shell ${{#line}})
"""
    )


def compiled(path: Path) -> None:
    """tests/programs/threads.c as a program."""
    subprocess.run(["cc", "-O1", "-pthread", str(PROGRAMS / "threads.c"), "-o", str(path)], check=True)
