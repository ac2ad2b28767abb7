# SPDX-License-Identifier: LGPL-2.1-or-later
"""The small program of the twin is the one that gcc makes here."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from memtwin import Machine, Process, UserError
from memtwin.host.libcs import find_libc
from memtwin.host.personality import without_randomisation
from memtwin.libc.check import validate_heap
from memtwin.libc.release import RELEASES
from memtwin.twin.program import Image, image_of
from memtwin.twin.smallprogram import small_program, small_program_32
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


# Its start without crt1.o, which wants a __libc_start_main of the release that it was built for.
START = r"""
void exit(int);
int main(void);
asm(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call begin");
void begin(void) { exit(main()); }
"""


# On a processor with AVX-512 the loader of 2.31 looks for libraries in twice as many directories, whose names take it two
# pages more (HWCAP_IMPORTANT in sysdeps/x86/dl-procinfo.h): this is the mask of the others, HWCAP_X86_64.
ENVIRONMENT = {"LD_HWCAP_MASK": "2"}


def real_program(folder: Path, *options: str) -> tuple[str, list[int]]:
    """maps and four addresses of the program above, started without address randomisation."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    (folder / "small.c").write_text(SOURCE)
    subprocess.run([compiler, "-w", "-o", folder / "small", folder / "small.c", *options], check=True)
    with without_randomisation():
        output = subprocess.run([folder / "small"], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
    *maps, addresses = output.splitlines(keepends=True)
    return "".join(maps), [int(word, 16) for word in addresses.split()]


def test_the_twin_stands_where_a_small_program_stands(tmp_path: Path) -> None:
    maps, addresses = real_program(tmp_path)
    real = image_of(maps, 0x555555559000)
    cache = Path("/etc/ld.so.cache")
    pages = -(-cache.stat().st_size // 4096) if cache.exists() else 0
    twin = small_program(cache_pages=pages, release="2.36")
    if _libc_size(real) != _libc_size(twin):
        pytest.skip(f"another build of libc than Debian 12's: {_libc_size(real):#x} bytes")
    shape = [(m.start, m.end, m.prot, m.offset) for m in twin.mappings]
    assert [(m.start, m.end, m.prot, m.offset) for m in real.mappings] == shape
    assert first_addresses(Machine().spawn(image=twin)) == addresses


def with_release(folder: Path, release: str) -> tuple[str, list[int]]:
    """`real_program` with another C library: its loader, and a run path that leads to it."""
    try:
        libc = find_libc(release)
    except UserError as missing:
        pytest.skip(str(missing))
    (folder / "start.c").write_text(START)
    return real_program(
        folder, str(folder / "start.c"), "-nostartfiles", f"-Wl,--dynamic-linker={libc.loader.resolve()}",
        f"-Wl,-rpath={libc.directory.resolve()}",
    )  # fmt: skip


def first_addresses(process: Process) -> list[int]:
    """What the program above prints after its maps."""
    return [process.malloc(100), process.malloc(1000), process.malloc(200000), process.sbrk(0)]


def pages_of(image: Image) -> dict[int, tuple[int, int]]:
    """Protection and file offset of each page of libraries, by address."""
    return {
        at: (m.prot, m.offset + at - m.start if (m.label or "/")[0] == "/" and m.label else 0)
        for m in image.mappings if m.start > 0x700000000000 for at in range(m.start, m.end, 4096)
    }  # fmt: skip


@pytest.mark.parametrize("release", ["2.31", "2.41", "2.43"])
def test_each_release_has_the_small_program_of_its_own_c_library(tmp_path: Path, release: str) -> None:
    maps, addresses = with_release(tmp_path, release)
    twin = small_program(cache_pages=0, release=release)
    assert pages_of(image_of(maps, 0)) == pages_of(twin)
    process = Machine().spawn(image=twin)
    assert process.libc.release == release
    assert first_addresses(process) == addresses


@pytest.mark.parametrize("release", ["2.41", "2.43"])
def test_a_program_brings_the_release_of_its_own_c_library(tmp_path: Path, release: str) -> None:
    maps, addresses = with_release(tmp_path, release)
    process = Machine().spawn(str(tmp_path / "small"))
    assert process.libc.release == release
    assert list(maps_differences(process.maps(), maps)) == []
    assert first_addresses(process) == addresses


def test_an_empty_process_has_the_newest_release() -> None:
    assert Machine().spawn().libc.release == RELEASES[-1]
    with pytest.raises(UserError, match=r"the nearest is 2\.43"):
        Machine().spawn(glibc="2.99")


@pytest.mark.parametrize("options", [(), ("-Wl,--no-as-needed", "-lm"), ("-no-pie",)])
def test_a_program_is_mapped_with_its_libraries_as_linux_and_ld_so_do_it(tmp_path: Path, options: tuple[str]) -> None:
    maps, addresses = real_program(tmp_path, *options)
    process = Machine().spawn(str(tmp_path / "small"))
    assert list(maps_differences(process.maps(), maps)) == []
    assert first_addresses(process) == addresses


def test_a_static_program_has_the_allocator_too(tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text("int main(void) { return 0; }")
    subprocess.run(["cc", "-static", "-o", tmp_path / "one", tmp_path / "one.c"], check=True)
    process = Machine().spawn(str(tmp_path / "one"))
    assert process.malloc(100) == process.space.brk_start + 0x10


def test_what_is_no_program_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(UserError) as refusal:
            Machine().spawn(str(path))
        assert "\n" not in str(refusal.value)


def test_the_32_bit_twin_stands_where_a_small_32_bit_program_stands(tmp_path: Path) -> None:
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }")
    tried = subprocess.run(["cc", "-m32", "-o", tmp_path / "empty", tmp_path / "empty.c"], capture_output=True)
    if tried.returncode:
        pytest.skip("cc -m32 makes no programs here: apt install gcc-multilib")
    maps, addresses = real_program(tmp_path, "-m32")
    real = image_of(maps, 0x5655A000)
    cache = Path("/etc/ld.so.cache")
    twin = small_program_32(cache_pages=-(-cache.stat().st_size // 4096) if cache.exists() else 0)
    if _libc_size(real) != _libc_size(twin):
        pytest.skip(f"another build of the 32-bit libc than Debian 12's: {_libc_size(real):#x} bytes")
    shape = [(m.start, m.end, m.prot, m.offset) for m in twin.mappings]
    assert [(m.start, m.end, m.prot, m.offset) for m in real.mappings] == shape
    process = Machine().spawn(image=twin, data_model="ILP32")
    assert [process.malloc(100), process.malloc(1000), process.malloc(200000), process.sbrk(0)] == addresses


def test_a_32_bit_process_is_looked_at_like_any_other() -> None:
    process = Machine().spawn(data_model="ILP32")
    blocks = [process.malloc(40 * number) for number in range(30)]
    for block in blocks[::2]:
        process.free(block)
    mapped = process.malloc(300_000)
    assert process.word == 4 and max(blocks) < 1 << 32 and all(block % 16 == 0 for block in (*blocks, mapped))
    chunks = process.heap().chunks
    assert [chunk.pointer for chunk in chunks if chunk.state == "live"][1:] == blocks[1::2]
    assert {chunk.list for chunk in chunks if chunk.pointer == blocks[0]} == {"tcache 0x10"}
    assert all(one.address + one.size == other.address for one, other in pairwise(chunks))
    assert validate_heap(process.libc, [*blocks[1::2], mapped]).cached == 13
    assert "a mapping of its own" in process.explain(mapped + 7)
    assert process.pointer[blocks[0]] == blocks[0] >> 12  # the last of its list, mangled
    assert process.malloc(1 << 31) == 0 and process.errno == 12
    thread = process.thread()
    block = thread.malloc(50)
    assert [chunk.pointer for chunk in process.heaps()[1].chunks][1] == block
    child = process.fork()
    assert child.word == 4 and child.malloc(40) == process.malloc(40)


def test_what_is_not_modelled_with_32_bits_is_refused() -> None:
    with pytest.raises(UserError, match=r"glibc 2\.41 is not modelled for ILP32: known releases are 2\.36"):
        Machine().spawn(data_model="ILP32", glibc="2.41")
    with pytest.raises(UserError, match="ILP32"):
        Machine().spawn("/bin/true", data_model="ILP32")
    with pytest.raises(UserError, match="LP64 and ILP32 are"):
        Machine().spawn(data_model="LLP64")
    with pytest.raises(UserError, match="32-bit processes are modelled on x86_64"):
        Machine(profile="linux-6.18-aarch64-16k").spawn(data_model="ILP32")


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
    assert process.malloc(100) == image.brk + 0x10


def test_a_text_that_is_no_maps_is_refused() -> None:
    for text in ("", "hello", "1000-2000 rwx 0"):
        with pytest.raises(UserError):
            image_of(text, 0)
