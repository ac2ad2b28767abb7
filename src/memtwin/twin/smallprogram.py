# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the mappings of a small program, what gcc makes of an empty main(), lie when it begins, by glibc release.

    high   [stack]                       33 pages below TASK_SIZE
           ld.so                         mapped by the kernel, top down from mmap_base
           [vvar] [vvar_vclock] [vdso]
           2 pages of ld.so's own malloc since 2.34
           a hole                        /etc/ld.so.cache was mapped here, and unmapped: later mappings may fill it
           libc.so.6, its bss            up to 2.33 with 2 pages behind it: ld.so's malloc, TLS in it
           3 pages of thread control block and TLS, since 2.34
           … new mappings, top down …
           [heap]                        from the end of the program's bss
    low    program                       at 2/3 of TASK_SIZE

The sizes are those of Debian's builds for x86-64 (2.31-13, 2.36-9, 2.41-12 and 2.43-1, gcc 12.2, Linux 6.18, November
2026), read from /proc/PID/maps without address randomisation; tests/twin/test_program.py reads them again. A release
between two of them has the mappings of the older one.
"""

from __future__ import annotations

from dataclasses import dataclass

from memtwin.libc.release import DEFAULT, find_release, number
from memtwin.twin.program import Image, Mapping

_LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
_LOADER = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
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
    from its first page on; static_tls: TLS has no mapping of its own but lies in what ld.so's malloc got."""

    libc: tuple[_Part, ...]
    loader: tuple[_Part, ...]
    main_arena: int
    mp: int
    static_tls: bool = False

    def parts(self) -> tuple[_Part, ...]:
        """From low to high; the last ends at mmap_base."""
        if self.static_tls:
            return (*self.libc, _LOADERS_MALLOC, _HOLE, *_KERNEL, *self.loader)
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
    page = page_size
    build = _BUILDS[max((known for known in _BUILDS if number(known) <= number(release)), key=number)]
    libraries = tuple((cache_pages, *part[1:]) if part is _HOLE else part for part in build.parts())
    bias = task_size // 3 * 2 & -page
    program = _laid(_PROGRAM, bias, page)
    brk = program[-1].end
    base = task_size - (128 << 20) & -page
    library = _laid(libraries, base - _span(libraries, page), page)
    stack = Mapping(task_size - _up(_STACK_PAGES << 12, page), task_size, 3, label="[stack]")
    data = next(m.start for m in library if m.label == _LIBC and m.prot == 3)
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
