# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the mappings of a small program, what gcc makes of an empty main(), lie when it begins, by glibc release.
The 32-bit one is what gcc -m32 makes.

    high   [stack]                       33 pages below TASK_SIZE
           ld.so                         mapped by the kernel, top down from mmap_base
           [vvar] [vvar_vclock] [vdso]
           2 pages of ld.so's own malloc since 2.34
           a hole                        /etc/ld.so.cache was mapped here, and unmapped: later mappings may fill it
           libc.so.6, its bss            up to 2.33 with 2 pages behind it: ld.so's malloc, TLS in it
           3 pages of thread control block and TLS, since 2.34; 32-bit: in the 2 pages of ld.so's malloc
           … new mappings, top down …
           [heap]                        from the end of the program's bss
    low    program                       at 2/3 of TASK_SIZE; 32-bit: 16 MiB above a third of it

The sizes are those of Debian's builds for x86-64 (2.31-13, 2.36-9, 2.41-12 and 2.43-1, gcc 12.2, Linux 6.18, November
2026), read from /proc/PID/maps without address randomisation on a processor without AVX-512: with it, ld.so's malloc
has two pages more in 2.31. tests/twin/test_program.py reads them again. A release between two of them has the mappings
of the older one.
"""

from __future__ import annotations

from dataclasses import dataclass

from memtwin.kernel.addrspace import COMPAT_TASK_SIZE
from memtwin.libc.release import DEFAULT, find_release, number
from memtwin.twin.program import Image, Mapping

_LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
_LOADER = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
_LIBC_32, _LOADER_32 = "/usr/lib32/libc.so.6", "/usr/lib32/ld-linux.so.2"
_CACHE_PAGES = 9  # of /etc/ld.so.cache on a small Debian 12
_STACK_PAGES = 33

# (pages of 4 KiB, prot, offset in pages of 4 KiB, label); a label of None: anonymous, "": a hole
_Part = tuple[int, int, int, str | None]
_PROGRAM: tuple[_Part, ...] = (
    (1, 1, 0, "/program"), (1, 5, 1, "/program"), (1, 1, 2, "/program"), (1, 1, 2, "/program"), (1, 3, 3, "/program"),
)  # fmt: skip
_KERNEL: tuple[_Part, ...] = ((4, 1, 0, "[vvar]"), (2, 1, 0, "[vvar_vclock]"), (2, 5, 0, "[vdso]"))
_HOLE: _Part = (_CACHE_PAGES, 0, 0, "")
_TLS: _Part = (3, 3, 0, None)
_LOADERS_MALLOC: _Part = (2, 3, 0, None)


@dataclass(frozen=True)
class _Build:
    """One build of the C library. libc, loader: their parts from low to high, bss included; main_arena, mp: in libc,
    from its first page on; static_tls: TLS has no mapping of its own but lies in what ld.so's malloc got.
    wide: it is 64-bit."""

    libc: tuple[_Part, ...]
    loader: tuple[_Part, ...]
    main_arena: int
    mp: int
    static_tls: bool = False
    wide: bool = True

    def parts(self) -> tuple[_Part, ...]:
        """From low to high; the last ends at mmap_base."""
        if self.static_tls:
            return (*self.libc, _LOADERS_MALLOC, _HOLE, *_KERNEL, *self.loader)
        if not self.wide:
            return (*self.libc, _HOLE, _LOADERS_MALLOC, *_KERNEL, *self.loader)
        return (_TLS, *self.libc, _HOLE, _LOADERS_MALLOC, *_KERNEL, *self.loader)


_BUILDS = {
    "2.31": _Build(
        ((0x22, 1, 0, _LIBC), (0x159, 5, 0x22, _LIBC), (0x4F, 1, 0x17B, _LIBC), (4, 1, 0x1C9, _LIBC),
         (2, 3, 0x1CD, _LIBC), (4, 3, 0, None)),
        ((1, 1, 0, _LOADER), (0x20, 5, 1, _LOADER), (8, 1, 0x21, _LOADER), (1, 0, 0, ""), (1, 1, 0x29, _LOADER),
         (1, 3, 0x2A, _LOADER), (1, 3, 0, None)),
        0x1CEB80, 0x1CE280, static_tls=True,
    ),
    "2.36": _Build(
        ((0x26, 1, 0, _LIBC), (0x156, 5, 0x26, _LIBC), (0x53, 1, 0x17C, _LIBC), (4, 1, 0x1CF, _LIBC),
         (2, 3, 0x1D3, _LIBC), (0xD, 3, 0, None)),
        ((1, 1, 0, _LOADER), (0x26, 5, 1, _LOADER), (0xA, 1, 0x27, _LOADER), (2, 1, 0x31, _LOADER),
         (2, 3, 0x33, _LOADER)),
        0x1D3C60, 0x1D3340,
    ),
    "2.41": _Build(
        ((0x28, 1, 0, _LIBC), (0x163, 5, 0x28, _LIBC), (0x56, 1, 0x18B, _LIBC), (4, 1, 0x1E0, _LIBC),
         (2, 3, 0x1E4, _LIBC), (0xD, 3, 0, None)),
        ((1, 1, 0, _LOADER), (0x28, 5, 1, _LOADER), (0xB, 1, 0x29, _LOADER), (2, 1, 0x34, _LOADER),
         (1, 3, 0x36, _LOADER), (1, 3, 0, None)),
        0x1E5AC0, 0x1E5180,
    ),
    "2.43": _Build(
        ((0x28, 1, 0, _LIBC), (0x168, 5, 0x28, _LIBC), (0x53, 1, 0x190, _LIBC), (4, 1, 0x1E3, _LIBC),
         (2, 3, 0x1E7, _LIBC), (0xD, 3, 0, None)),
        ((1, 1, 0, _LOADER), (0x29, 5, 1, _LOADER), (0xB, 1, 0x2A, _LOADER), (2, 1, 0x35, _LOADER),
         (1, 3, 0x37, _LOADER), (1, 3, 0, None)),
        0x1E7AC0, 0x1E7180,
    ),
}  # fmt: skip
_BUILD_32 = _Build(  # 2.36
    ((0x22, 1, 0, _LIBC_32), (0x179, 5, 0x22, _LIBC_32), (0x80, 1, 0x19B, _LIBC_32), (2, 1, 0x21B, _LIBC_32),
     (1, 3, 0x21D, _LIBC_32), (0xA, 3, 0, None)),
    ((1, 1, 0, _LOADER_32), (0x23, 5, 1, _LOADER_32), (0xE, 1, 0x24, _LOADER_32), (2, 1, 0x31, _LOADER_32),
     (1, 3, 0x33, _LOADER_32)),
    0x21D7C0, 0x21D1C0, wide=False,
)  # fmt: skip


def small_program(
    page_size: int = 4096,
    task_size: int = 0x7FFFFFFFF000,
    cache_pages: int = _CACHE_PAGES,
    release: str = DEFAULT,
) -> Image:
    """The image of a small program, each part rounded up to whole pages of `page_size` bytes.

    cache_pages: of /etc/ld.so.cache, whose place new mappings fill first; pages of 4 KiB. UserError: no known release.
    """
    find_release(release)
    build = _BUILDS[max((known for known in _BUILDS if number(known) <= number(release)), key=number)]
    return _image(build, task_size // 3 * 2 & -page_size, page_size, task_size, cache_pages, release)


def small_program_32(cache_pages: int = _CACHE_PAGES) -> Image:
    """The image of a small 32-bit program of glibc 2.36, for an address space that is `compat`.

    Source of its place: COMPAT_ELF_ET_DYN_BASE, arch/x86/include/asm/elf.h.
    """
    bias = _up(COMPAT_TASK_SIZE // 3, 4096) + (16 << 20)
    return _image(_BUILD_32, bias, 4096, COMPAT_TASK_SIZE, cache_pages, "2.36")


def _image(build: _Build, bias: int, page: int, task_size: int, cache_pages: int, release: str) -> Image:
    """A program at `bias` with that build's libraries."""
    libraries = tuple((cache_pages, *part[1:]) if part is _HOLE else part for part in build.parts())
    program = _laid(_PROGRAM, bias, page)
    brk = program[-1].end
    base = task_size - (128 << 20) & -page
    library = _laid(libraries, base - _span(libraries, page), page)
    stack = Mapping(task_size - _up(_STACK_PAGES << 12, page), task_size, 3, label="[stack]")
    data = next(m.start for m in library if m.label in (_LIBC, _LIBC_32) and m.prot == 3)
    start = data - sum(pages << 12 for pages, prot, *_ in build.libc if prot != 3)  # of libc, were pages of 4 KiB
    return Image((*program, *library, stack), brk, base, start + build.main_arena, start + build.mp, release)


def _laid(parts: tuple[_Part, ...], start: int, page: int) -> list[Mapping]:
    found = []
    for pages, prot, offset, label in parts:
        end = start + _up(pages << 12, page)
        if label != "":
            found.append(Mapping(start, end, prot, False, _up(offset << 12, page), label))
        start = end
    return found


def _span(parts: tuple[_Part, ...], page: int) -> int:
    return sum(_up(pages << 12, page) for pages, *_ in parts)


def _up(size: int, page: int) -> int:
    return -(-size // page) * page
