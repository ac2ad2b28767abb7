# SPDX-License-Identifier: LGPL-2.1-or-later
"""What differs between kernels and machines, gathered in one record. facts: Documentation/admin-guide/sysctl/vm.rst."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memtwin.errors import UserError

PAGE_SIZES = (4096, 8192, 16384, 65536)


@dataclass(frozen=True)
class KernelProfile:
    """One kernel on one machine; sizes in bytes. `replace(profile, field=…)` makes another.

    architecture: as uname -m has it. levels: of page tables. task_size: where user addresses end. vdso_pages: the
    kernel's own mappings in each process, from low to high (name, PROT_*, pages). thp: as
    /sys/kernel/mm/transparent_hugepage/enabled has it. reclaim_tables: CONFIG_PT_RECLAIM, since 6.14: MADV_DONTNEED
    frees last-level tables that it empties. names_mappings: CONFIG_ANON_VMA_NAME, since 5.17, off unless configured:
    prctl gives anonymous memory names. protection_keys: the processor has them (x86's OSPKE), and what may only be
    executed cannot be read. mmap_min_addr, max_map_count, overcommit_memory and all below: as in
    /proc/sys/vm; None: as the kernel chooses by the machine's RAM.
    """

    name: str = "linux-6.18-x86_64"
    release: tuple[int, int] = (6, 18)
    architecture: str = "x86_64"
    page_size: int = 4096
    levels: int = 4
    task_size: int = 0x7FFFFFFFF000
    mmap_min_addr: int = 65536
    stack_guard_pages: int = 256
    max_map_count: int = 65530
    fault_around_bytes: int = 65536
    thp: str = "madvise"
    vdso_pages: tuple[tuple[str, int, int], ...] = (("[vvar]", 1, 4), ("[vvar_vclock]", 1, 2), ("[vdso]", 5, 2))
    reclaim_tables: bool = True
    names_mappings: bool = False
    protection_keys: bool = False
    overcommit_memory: int = 0
    overcommit_ratio: int = 50
    overcommit_kbytes: int = 0
    user_reserve_kbytes: int | None = None
    admin_reserve_kbytes: int | None = None
    min_free_kbytes: int | None = None
    watermark_scale_factor: int = 10

    def __post_init__(self) -> None:
        bits = self.page_shift - 3
        if self.page_size not in PAGE_SIZES:
            raise UserError(f"profile {self.name}: page size {self.page_size}: it is 4096, 8192, 16384 or 65536 bytes")
        if not 2 <= self.levels <= 5:
            raise UserError(f"profile {self.name}: {self.levels} levels of page tables: they are 2 to 5")
        if not self.page_size <= self.task_size <= 1 << (self.page_shift + bits * self.levels):
            raise UserError(
                f"profile {self.name}: task_size {self.task_size:#x}: {self.levels} levels of {bits} bits translate "
                f"{self.page_shift + bits * self.levels} bits of an address"
            )
        if self.task_size % self.page_size:
            raise UserError(f"profile {self.name}: task_size {self.task_size:#x} is no multiple of the page size")
        if self.thp not in ("never", "madvise", "always"):
            raise UserError(f"profile {self.name}: thp {self.thp!r}: it is never, madvise or always")

    def with_page_size(self, page_size: int) -> KernelProfile:
        """This profile with another page size and as many levels as its addresses need."""
        if page_size not in PAGE_SIZES:
            raise UserError(f"page size {page_size}: it is 4096, 8192, 16384 or 65536 bytes")
        shift = page_size.bit_length() - 1
        levels = -(-(self.task_size.bit_length() - shift) // (shift - 3))
        return replace(self, page_size=page_size, levels=max(levels, 2), task_size=self.task_size & -page_size)

    @property
    def page_shift(self) -> int:
        """log2 of the page size."""
        return self.page_size.bit_length() - 1

    @property
    def canonical_end(self) -> int:
        """From here on addresses are none of the processor's, and an access is no page fault (SI_KERNEL, x86-64)."""
        if self.architecture != "x86_64":
            return (1 << 64) - 1
        return 1 << 56 if self.levels == 5 else self.task_size + self.page_size

    @property
    def huge_size(self) -> int:
        """Bytes of a huge page, one entry of the level above the last: 2 MiB with 4 KiB pages."""
        return 1 << (2 * self.page_shift - 3)

    @property
    def huge_sizes(self) -> tuple[int, ...]:
        """Sizes of pages that /sys/kernel/mm/hugepages has, bytes; on x86 also one entry two levels above the last."""
        return (self.huge_size, 1 << 30) if self.architecture == "x86_64" else (self.huge_size,)

    @property
    def marks_guards(self) -> bool:
        """Whether a VMA with guard regions bears VM_MAYBE_GUARD; before, an AnonVma made fork copy the markers.

        Seen as "gu" in smaps of Linux 6.18.44.
        """
        return self.release >= (6, 18)

    @property
    def gives_up_at_end(self) -> bool:
        """Whether fault-around without a last-level table maps nothing of a disk file whose last page comes first.

        Such a page may not be mapped as part of a huge one, and with the attempt Linux also leaves out to put in the
        table: 74207de2ba10 ("mm/memory: do not populate page table entries beyond i_size", 6.18). Seen on 6.18.44.
        """
        return self.release >= (6, 18)

    @property
    def knows_droppable(self) -> bool:
        """Whether there is MAP_DROPPABLE.

        Linux 9651fcedf7b9 ("mm: add MAP_DROPPABLE for designating always lazily freeable mappings", 6.11).
        """
        return self.release >= (6, 11)

    @property
    def restores_promises(self) -> bool:
        """Whether what unmaps a private page of the hugetlb pool has it promised to the mapping again.

        Linux df7a6d1f6405 ("mm/hugetlb: restore the reservation if needed", 6.9).
        """
        return self.release >= (6, 9)

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


_X86 = KernelProfile()
_ARM = replace(_X86, architecture="aarch64", task_size=1 << 48, vdso_pages=(("[vvar]", 1, 2), ("[vdso]", 5, 2)))
_RISCV = replace(_ARM, architecture="riscv64")
PROFILES = {
    profile.name: profile
    for profile in (
        _X86,
        replace(_X86, name="linux-6.1-x86_64", release=(6, 1), reclaim_tables=False),
        replace(_X86, name="linux-6.12-x86_64", release=(6, 12), reclaim_tables=False),
        # five levels: a hint above 47 bits is not followed beyond them, which Linux alone does on request
        replace(_X86, name="linux-6.18-x86_64-la57", levels=5),
        # CONFIG_ARM64_VA_BITS 48 with 4 KiB, 47 with 16 KiB, 48 with 64 KiB pages: 4, 3 and 3 levels
        replace(_ARM, name="linux-6.18-aarch64"),
        replace(_ARM, name="linux-6.18-aarch64-16k", page_size=16384, levels=3, task_size=1 << 47),
        replace(_ARM, name="linux-6.18-aarch64-64k", page_size=65536, levels=3),
        replace(_RISCV, name="linux-6.18-riscv64-sv39", levels=3, task_size=1 << 38),
        replace(_RISCV, name="linux-6.18-riscv64-sv48", levels=4, task_size=1 << 47),
        # the textbook chapter's 64-bit machine, which is Alpha's: 8 KiB pages, 10 bits a level
        replace(_X86, name="chapter-8k", architecture="alpha", page_size=8192, levels=3, task_size=1 << 42),
    )
}
HOST = "host"


def profile_named(name: str) -> KernelProfile:
    """The profile of that name; "host" is the one of the kernel that runs here. UserError lists the names there are."""
    if name == HOST:
        from memtwin.kernel.hostprofile import profile_of_host

        return profile_of_host()
    if not isinstance(name, str) or name not in PROFILES:
        raise UserError(f"no kernel profile {name!r}: choose from {', '.join((*PROFILES, HOST))}")
    return PROFILES[name]
