# SPDX-License-Identifier: LGPL-2.1-or-later
"""The small program of the twin is the one that gcc makes here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from memtwin import Machine, UserError
from memtwin.host.personality import without_randomisation
from memtwin.program import image_of, small_program

SOURCE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
    char text[16384];
    int file = open("/proc/self/maps", O_RDONLY), length, all = 0;
    while ((length = read(file, text + all, sizeof text - all)) > 0) all += length;
    write(1, text, all);
    void *small = malloc(100), *middle = malloc(1000), *large = malloc(200000);
    printf("%p %p %p %p\n", small, middle, large, sbrk(0));
    return 0;
}
"""


def real_program(folder: Path) -> tuple[str, list[int]]:
    """maps and four addresses of the program above, started without address randomisation."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    (folder / "small.c").write_text(SOURCE)
    subprocess.run([compiler, "-w", "-o", folder / "small", folder / "small.c"], check=True)
    with without_randomisation():
        output = subprocess.run([folder / "small"], capture_output=True, text=True, check=True).stdout
    *maps, addresses = output.splitlines(keepends=True)
    return "".join(maps), [int(word, 16) for word in addresses.split()]


def test_the_twin_stands_where_a_small_program_stands(tmp_path: Path) -> None:
    maps, addresses = real_program(tmp_path)
    real = image_of(maps, 0x555555559000)
    twin = small_program()
    if _libc_size(real) != _libc_size(twin):
        pytest.skip(f"another build of libc than Debian 12's: {_libc_size(real):#x} bytes")
    shape = [(m.start, m.end, m.prot, m.offset) for m in twin.mappings]
    hole = [m.start for m in real.mappings if m.label is None][-1] - twin.mappings[12].start
    if hole:
        pytest.skip(f"/etc/ld.so.cache has another size here: mappings below it lie {hole:#x} bytes away")
    assert [(m.start, m.end, m.prot, m.offset) for m in real.mappings] == shape
    process = Machine().spawn()
    assert [process.malloc(100), process.malloc(1000), process.malloc(200000), process.sbrk(0)] == addresses


def _libc_size(image: object) -> int:
    libc = [m for m in image.mappings if (m.label or "").endswith("libc.so.6")]  # type: ignore[attr-defined]
    return libc[-1].end - libc[0].start


@pytest.mark.parametrize("page_size", [4096, 8192, 16384, 65536])
def test_every_page_size_has_its_image(page_size: int) -> None:
    process = Machine(page_size=page_size).spawn()
    image = small_program(page_size, process.machine.kernel.profile.task_size)
    ends = [0, *(m.end for m in image.mappings)]
    for mapping, below in zip(image.mappings, ends, strict=False):
        assert below <= mapping.start < mapping.end and not (mapping.start | mapping.end) % page_size
    assert process.malloc(100) == image.brk + 0x2A0


def test_a_text_that_is_no_maps_is_refused() -> None:
    for text in ("", "hello", "1000-2000 rwx 0"):
        with pytest.raises(UserError):
            image_of(text, 0)
