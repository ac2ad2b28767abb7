# SPDX-License-Identifier: LGPL-2.1-or-later
"""What differs between kernels and machines, gathered in one record. facts: Documentation/admin-guide/sysctl/vm.rst."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memtwin.errors import UserError


@dataclass(frozen=True)
class KernelProfile:
    """One kernel on one machine; sizes in bytes.

    levels: of page tables. task_size: where user addresses end. task_gap: what mmap_base leaves free at least.
    vdso_pages: the kernel's own mappings in each process, from low to high (name, PROT_*, pages).
    """

    name: str = "linux-6.18-x86_64"
    release: tuple[int, int] = (6, 18)
    page_size: int = 4096
    levels: int = 4
    task_size: int = 0x7FFFFFFFF000
    mmap_min_addr: int = 65536
    stack_guard_pages: int = 256
    max_map_count: int = 65530
    fault_around_bytes: int = 65536
    thp: str = "madvise"  # /sys/kernel/mm/transparent_hugepage/enabled
    vdso_pages: tuple[tuple[str, int, int], ...] = (("[vvar]", 1, 4), ("[vvar_vclock]", 1, 2), ("[vdso]", 5, 2))
    reclaim_tables: bool = True  # CONFIG_PT_RECLAIM, since 6.14: MADV_DONTNEED frees last-level tables it empties

    def with_page_size(self, page_size: int) -> KernelProfile:
        """This profile with another page size and as many levels as its addresses need."""
        if page_size not in (4096, 8192, 16384, 65536):
            raise UserError(f"page size {page_size}: it is 4096, 8192, 16384 or 65536 bytes")
        shift = page_size.bit_length() - 1
        levels = -(-(self.task_size.bit_length() - shift) // (shift - 3))
        return replace(self, page_size=page_size, levels=max(levels, 2), task_size=self.task_size & -page_size)

    @property
    def page_shift(self) -> int:
        """log2 of the page size."""
        return self.page_size.bit_length() - 1

    @property
    def huge_size(self) -> int:
        """Bytes of a huge page, one entry of the level above the last: 2 MiB with 4 KiB pages."""
        return 1 << (2 * self.page_shift - 3)

    @property
    def huge_sizes(self) -> tuple[int, ...]:
        """Sizes of pages that /sys/kernel/mm/hugepages has, bytes; on x86 also one entry two levels above the last."""
        return (self.huge_size, 1 << 30) if "x86" in self.name else (self.huge_size,)

    @property
    def marks_guards(self) -> bool:
        """Whether a VMA with guard regions bears VM_MAYBE_GUARD; before, an AnonVma made fork copy the markers.

        Seen as "gu" in smaps of Linux 6.18.44.
        """
        return self.release >= (6, 18)

    @property
    def thp_alignment(self) -> str:
        """How anonymous mmap is aligned to huge pages: "none", "all" that are large enough, "multiple" lengths only.

        Linux efa7df3e3bb5 ("mm: align larger anonymous mappings on THP boundaries", 6.7) began it and
        d4148aeab412 ("mm, mmap: limit THP alignment of anonymous mappings to PMD-aligned sizes", 6.13) restricted it.
        """
        return "none" if self.release < (6, 7) else "all" if self.release < (6, 13) else "multiple"

    @property
    def stack_without_huge_pages(self) -> bool:
        """Whether MAP_STACK means VM_NOHUGEPAGE, so that a thread's stack stays apart from other mappings.

        Linux c4608d1bf7c6 ("mm: mmap: map MAP_STACK to VM_NOHUGEPAGE", 6.7).
        """
        return self.release >= (6, 7)


PROFILES = {
    profile.name: profile
    for profile in (
        KernelProfile(),
        KernelProfile(name="linux-6.1-x86_64", release=(6, 1), reclaim_tables=False),
        KernelProfile(name="linux-6.12-x86_64", release=(6, 12), reclaim_tables=False),
        replace(
            KernelProfile(), name="linux-6.18-arm64-16k", page_size=16384, task_size=1 << 47, fault_around_bytes=65536
        ),
        replace(KernelProfile(), name="linux-6.18-arm64-64k", page_size=65536, levels=3, task_size=1 << 48),
        replace(KernelProfile(), name="linux-6.18-x86_64-la57", levels=5),
    )
}


def profile_named(name: str) -> KernelProfile:
    """The profile of that name; UserError lists the names there are."""
    if name not in PROFILES:
        raise UserError(f"no kernel profile {name!r}: choose from {', '.join(PROFILES)}")
    return PROFILES[name]
