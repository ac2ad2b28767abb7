# SPDX-License-Identifier: LGPL-2.1-or-later
"""The small program of the twin is the one that gcc makes here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from memtwin import Machine, UserError
from memtwin.host.personality import without_randomisation
from memtwin.twin.program import image_of, small_program
from memtwin.verify.script import maps_differences

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


def real_program(folder: Path, *options: str) -> tuple[str, list[int]]:
    """maps and four addresses of the program above, started without address randomisation."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    (folder / "small.c").write_text(SOURCE)
    subprocess.run([compiler, "-w", "-o", folder / "small", folder / "small.c", *options], check=True)
    with without_randomisation():
        output = subprocess.run([folder / "small"], capture_output=True, text=True, check=True, env={}).stdout
    *maps, addresses = output.splitlines(keepends=True)
    return "".join(maps), [int(word, 16) for word in addresses.split()]


def test_the_twin_stands_where_a_small_program_stands(tmp_path: Path) -> None:
    maps, addresses = real_program(tmp_path)
    real = image_of(maps, 0x555555559000)
    cache = Path("/etc/ld.so.cache")
    twin = small_program(cache_pages=-(-cache.stat().st_size // 4096) if cache.exists() else 0)
    if _libc_size(real) != _libc_size(twin):
        pytest.skip(f"another build of libc than Debian 12's: {_libc_size(real):#x} bytes")
    shape = [(m.start, m.end, m.prot, m.offset) for m in twin.mappings]
    assert [(m.start, m.end, m.prot, m.offset) for m in real.mappings] == shape
    process = Machine().spawn(image=twin)
    assert [process.malloc(100), process.malloc(1000), process.malloc(200000), process.sbrk(0)] == addresses


@pytest.mark.parametrize("options", [(), ("-Wl,--no-as-needed", "-lm"), ("-no-pie",)])
def test_a_program_is_mapped_with_its_libraries_as_linux_and_ld_so_do_it(tmp_path: Path, options: tuple[str]) -> None:
    maps, addresses = real_program(tmp_path, *options)
    process = Machine().spawn(str(tmp_path / "small"))
    assert list(maps_differences(process.maps(), maps)) == []
    assert [process.malloc(100), process.malloc(1000), process.malloc(200000), process.sbrk(0)] == addresses


def test_a_static_program_has_the_allocator_too(tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text("int main(void) { return 0; }")
    subprocess.run(["cc", "-static", "-o", tmp_path / "one", tmp_path / "one.c"], check=True)
    process = Machine().spawn(str(tmp_path / "one"))
    assert process.malloc(100) == process.space.brk_start + 0x2A0


def test_what_is_no_program_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(UserError) as refusal:
            Machine().spawn(str(path))
        assert "\n" not in str(refusal.value)


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
