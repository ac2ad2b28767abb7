# SPDX-License-Identifier: LGPL-2.1-or-later
"""What differs between glibc releases, one row a difference: release 2.31 is the base, each row changes it.

A row names what the allocator does, the first release that does it, the commit that brought it (or, if 2.31 has it
already, that took it away), and, where a later release stopped doing it, that one (`until`). The allocator has a field
of the row's name and asks it where it matters. Where the row changes numbers instead (a layout, a default), they are
worked out here.

Rows of glibc's own repository, read at each release's tag; 2.31, 2.36, 2.41 and 2.43 are held against the real
libraries of Debian (`memtwin verify libc`), the releases between them are put together of the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from memtwin.errors import UserError

BASE = "2.31"
NEAREST = "nearest"  # a word of the command line for the release that is closest to the one at hand
RELEASES = tuple(f"2.{minor}" for minor in range(31, 44))
DEFAULT = RELEASES[-1]  # of a process of which nothing says that it has another
VERIFIED = ("2.31", "2.36", "2.41", "2.43")
WORDS = {"LP64": 8, "ILP32": 4}  # bytes of a word in each data model (x86-64; i386)
ILP32_RELEASES = ("2.36",)  # those whose layout with words of four bytes is known


@dataclass(frozen=True)
class Row:
    """One difference. first: the first release that has it; until: the first that has not, "" for none."""

    name: str
    first: str
    commit: str
    subject: str
    effect: str
    until: str = ""

    def holds(self, release: str) -> bool:
        """Whether a release behaves so."""
        return number(self.first) <= number(release) and (not self.until or number(release) < number(self.until))


ROWS = (
    Row("hooks", BASE, "2d2d9f2b48", "Move malloc hooks into a compat DSO",
        "the first malloc, calloc or realloc runs through a hook, by which a first calloc clears like a malloc",
        until="2.34"),
    Row("mcheck_by_hooks", BASE, "c142eb253f", "mcheck: Wean away from malloc hooks [BZ #23489]",
        "mcheck is in the C library itself; what memalign aligns to 16 or less gets two headers, so that free aborts; "
        "realloc of 0 to 0 gives no block, and mprobe knows no 0", until="2.34"),
    Row("mcheck_size_unknown", BASE, "6856975ed4", "mcheck Fix malloc_usable_size [BZ #22057]",
        "malloc_usable_size takes the end of mcheck's header for a chunk's", until="2.34"),
    Row("realloc_check_silent", BASE, "c6b6b4f2c7", "Missing ENOMEM in realloc_check wrapper (bug 27870)",
        "under MALLOC_CHECK_ a realloc to more than PTRDIFF_MAX fails without an errno", until="2.34"),
    Row("safe_linking", "2.32", "a1a486d70e", "Add Safe-Linking to fastbins and tcache",
        "links of fast bins and thread caches are mangled with their own place"),
    Row("free_keeps_errno", "2.33", "69fda43b8d", "free: preserve errno [BZ#17924]", "free leaves errno alone"),
    Row("tcache_walk_ends", "2.33", "0e00b35704", "malloc: Detect infinite-loop in _int_free when freeing tcache",
        "a thread cache's bin with more chunks than it may have aborts"),
    Row("random_tcache_key", "2.34", "fc859c3048", "Harden tcache double-free check",
        "what marks a cached chunk is a random word, not the cache's address"),
    Row("tunables_on_heap", BASE, "b05fae4d8e", "elf: Use the minimal malloc on tunables_strdup",
        "a GLIBC_TUNABLES is copied to where the heap will be, so that the heap begins behind the copy", until="2.35"),
    Row("debug_size_of_none", "2.34", "88e316b064", "Handle NULL input to malloc_usable_size [BZ #28506]",
        "malloc_usable_size of 0 in libc_malloc_debug.so, where it checks or mcheck is on, reads below address 0",
        until="2.35"),
    Row("any_mmap_threshold", "2.35", "0a4df6f534", "Remove upper limit on tunable MALLOC_MMAP_THRESHOLD",
        "an mmap threshold over half a heap is taken"),
    Row("hugetlb", "2.35", "98d5fcb8d0", "malloc: Add Huge Page support for mmap",
        "the tunable hugetlb; mp_ has three words more"),
    Row("heap_pagesize", "2.35", "c1beb51d08", "malloc: Add Huge Page support to arenas",
        "heap_info has a word more, so that everything in a thread's heap lies 16 bytes higher"),
    Row("transposed_fallback", "2.35", "0849eed45d", "malloc: Move MORECORE fallback mmap to sysmalloc_mmap_fallback",
        "where the break is blocked, page size and smallest mapping are taken for each other", until="2.38"),
    Row("arena_limit_by_affinity", "2.35", "11a02b035b", "misc: Add __get_nprocs_sched",
        "the limit of arenas counts the processors that the process may use, not those that are there; 472894d2cf took "
        "it back in 2.39 and on the stable branches, so that Debian's 2.36 has it no more", until="2.36"),
    Row("heaps_noreserve", BASE, "85860ad6ea", "malloc: Do not use MAP_NORESERVE to allocate heap segments",
        "heaps are reserved with MAP_NORESERVE", until="2.37"),
    Row("mmap_threshold_of_huge", "2.39", "bc6d79f4ae", "malloc: Improve MAP_HUGETLB with glibc.malloc.hugetlb=2",
        "with hugetlb=2 the mmap threshold is a huge page, unless it is set"),
    Row("realloc_keeps_what_fits", "2.37", "f4f2ca1509", "realloc: Return unchanged if request is within usable size",
        "realloc to less, unless by more than the trim threshold, changes nothing", until="2.38"),
    Row("realloc_keeps_rounding", "2.38", "2fb12bbd09", "realloc: Limit chunk reuse to only growing requests",
        "realloc within the last 16 bytes of a block, or the last page of a mapped one, changes nothing"),
    Row("memalign_from_tcache", "2.38", "24cdd6c71d", "memalign: Support scanning for aligned chunks.",
        "memalign takes an aligned chunk out of the thread's cache"),
    Row("memalign_scans_bins", "2.38", "24cdd6c71d", "memalign: Support scanning for aligned chunks.",
        "memalign looks through the bins for a chunk that has an aligned part", until="2.39"),
    Row("strict_aligned_alloc", "2.38", "d1417176a3", "aligned_alloc: conform to C17",
        "aligned_alloc refuses an alignment that is no power of two"),
    Row("memalign_merges", "2.39", "542b110585", "malloc: Enable merging of remainders in memalign (bug 30723)",
        "what memalign cuts off joins its neighbours at once, the tail even when it is less than a chunk"),
    Row("debug_names_mappings", "2.39", "78ed8bdf4f", "linux: Add PR_SET_VMA_ANON_NAME support",
        "libc_malloc_debug.so, where it checks, names what it maps; errno is EINVAL where the kernel knows no names"),
    Row("calloc_from_tcache", "2.41", "226e3b0a41", "malloc: Add tcache path for calloc",
        "calloc takes from the thread's cache"),
    Row("frees_to_smallbin", "2.41", "e2436d6f5a", "malloc: send freed small chunks to smallbin",
        "a freed small chunk goes to its small bin, not through the unsorted one"),
    Row("starts_at_load", "2.42", "25d37948c9", "malloc: Improve malloc initialization",
        "malloc is ready before the program's first call"),
    Row("tcache_counts_down", "2.42", "7e10e30e64", "malloc: Count tcache entries downwards",
        "the thread cache counts free places, not chunks; an empty bin is seen by its entry"),
    Row("tcache_large_bins", "2.42", "cbfd798810", "malloc: add tcache support for large chunk caching",
        "twelve more bins for chunks up to 4 MiB, used when tcache_max allows; the limit is a chunk's size"),
    Row("remainders_bypass_tcache", "2.42", "cd33535002", "malloc: Use _int_free_chunk for remainders",
        "what realloc and a replaced top leave over does not go to the thread's cache"),
    Row("double_free_retries", "2.42", "eff1f680cf", "malloc: Improved double free detection in the tcache",
        "a block that looks cached is searched in every bin; if it is in none its key is cleared and it is freed"),
    Row("fixed_heap_max", "2.42", "9f551e28a7", "malloc: Improve arena_for_chunk()",
        "heaps are of one size, whatever huge pages they use"),
    Row("checks_nextsize", "2.42", "4cf2d86936", "malloc: Add integrity check to largebin nextsizes",
        "the ring of sizes is checked when its smallest chunk is added"),
    Row("checks_fastbin_size", "2.42", "d10176c0ff", "malloc: Add size check when moving fastbin->tcache",
        "a chunk of another size in a fast bin is noticed when it goes to the thread's cache"),
    Row("no_fastbins", "2.43", "bb5a4f5295", "malloc: Remove fastbin infrastructure",
        "no fast bins, no malloc_consolidate; M_MXFAST is taken and means nothing"),
    Row("tcache_fills_16", "2.43", "0b9210bd76", "malloc: set default tcache fill count to 16",
        "a bin of the thread's cache holds 16 chunks, not 7"),
    Row("tcache_small_size_fixed", "2.43", "ad4caba414", "malloc: Fix MAX_TCACHE_SMALL_SIZE",
        "chunks of 1,040 bytes are cached again; tcache_max is inclusive"),
    Row("mapped_like_heap", "2.43", "614cfd0f8a", "malloc: Change mmap chunk layout",
        "a mapped chunk ends 16 bytes before its mapping, like any chunk before its neighbour"),
    Row("tcache_dummy", "2.43", "2bf2188fae", "malloc: avoid need for tcache == NULL checks",
        "a thread gets its cache by its first free or by taking from a bin, not by its first malloc"),
    Row("exact_large_tcache", "2.43", "b2b4b46a52", "malloc: fix large tcache code to check for exact size match",
        "a large cached chunk serves its own size only"),
    Row("memalign_in_mapping", "2.43", "e974b1b7eb", "malloc: Cleanup _int_memalign",
        "in a mapping memalign takes the first aligned place; a tail of less than a chunk stays"),
    Row("checks_alignment", "2.43", "c9188d3337", "memalign: reinstate alignment overflow check (CVE-2026-0861)",
        "an alignment over PTRDIFF_MAX fails instead of overflowing"),
    Row("plain_fallback", "2.43", "849a274531", "malloc: Cleanup macros, asserts and sysmalloc_mmap_fallback",
        "where the break is blocked, what is mapped does not depend on the old top"),
    Row("advises_once", "2.43", "fa5d1b5419", "malloc: Do not call madvise if oldsize >= THP size",
        "with hugetlb=1 what mremap or a heap's growth makes larger is advised only if it was less than a huge page"),
    Row("advises_upwards", "2.43", "26e6e4d51e", "malloc: Do not make out-of-bounds madvise call on non-aligned heap",
        "with hugetlb=1 advice for a heap that begins inside a page begins at the next page, not at that one"),
    Row("marks_huge_mappings", "2.43", "921e251e8f", "malloc: Support hugepages in mremap_chunk",
        "a chunk in a mapping of huge pages has a mark, so that realloc resizes it in huge pages"),
    Row("brk_asked", "2.43", "94ebcfc4f2", "malloc: Remove use of __curbrk",
        "growth in huge pages asks for the break, not for what it was"),
    Row("thp_heaps", "2.43", "05a14648e9", "malloc: Support THP in arenas",
        "with hugetlb=1 the heaps of threads are made of huge pages too"),
    Row("shutdown_to_arena", "2.43", "7f670284d8", "malloc: Use _int_free_chunk in tcache_thread_shutdown",
        "what a thread leaves in its cache goes to the arenas with its key cleared"),
    Row("thp_always", "2.43", "9097cbf5d8", "malloc: Enable THP always support on hugetlb tunable",
        "hugetlb=1 means something when huge pages are always on; hugetlb=0 turns advice off"),
    Row("late_size_check", "2.43", "b68b125ad1", "malloc: Improve checked_request2size",
        "a request over PTRDIFF_MAX fails only in the arena, after a thread has got one"),
)  # fmt: skip


def number(release: str) -> tuple[int, ...]:
    """A release's parts as numbers, to be compared."""
    return tuple(int(part) for part in release.split("."))


@dataclass(frozen=True)
class Release:
    """A release as the allocator needs it. word: bytes of a pointer and of size_t (INTERNAL_SIZE_T)."""

    name: str
    word: int = 8

    def has(self, row: str) -> bool:
        """Whether the release behaves as the row of that name says. KeyError: no such row."""
        return _BY_NAME[row].holds(self.name)

    def processors(self, allowed: int, online: int) -> int:
        """How many processors count for the limit of arenas: those a process may use, or all that are online."""
        return allowed if self.has("arena_limit_by_affinity") else online

    # struct malloc_state: mutex, flags; then have_fastchunks and ten fast bins, where there are any; then these

    @property
    def av_top(self) -> int:
        """Offset of malloc_state.top; last_remainder, bins, binmap and the rest follow in every release."""
        if self.word == 4:
            return 56  # have_fastchunks at 8, eleven fast bins from 12 on
        return 8 if self.has("no_fastbins") else 96

    @property
    def state_size(self) -> int:
        """sizeof (struct malloc_state)."""
        return self.av_top + 261 * self.word + 16

    @property
    def heap_info(self) -> int:
        """sizeof (heap_info), at the start of each heap."""
        if self.word == 4:
            return 24
        return 48 if self.has("heap_pagesize") else 32

    @property
    def tcache_all_bins(self) -> int:
        """Bins of a thread's cache; tcache_perthread_struct has a 16-bit count and a pointer for each."""
        return 76 if self.has("tcache_large_bins") else 64

    @property
    def tcache_count(self) -> int:
        """Chunks that a bin of a thread's cache holds by default."""
        return 16 if self.has("tcache_fills_16") else 7

    @property
    def tcache_max_bytes(self) -> int:
        """mp_.tcache_max_bytes by default: a request size up to 2.41, a chunk size since."""
        if self.word == 4:
            return 1020
        return 1041 if self.has("tcache_small_size_fixed") else 1032

    @property
    def mp_fields(self) -> tuple[tuple[str, int], ...]:
        """struct malloc_par: the allocator's fields in their order, with their bytes."""
        word = self.word
        fields = [(name, word) for name in ("trim_threshold", "top_pad", "mmap_threshold", "arena_test", "arena_max")]
        if self.has("thp_always"):
            fields += [("thp_mode", 4), ("", 4)]
        if self.has("hugetlb"):
            fields += [("thp_pagesize", word), ("hp_pagesize", word), ("hp_flags", 4)]
        fields += [("n_mmaps", 4), ("n_mmaps_max", 4), ("max_n_mmaps", 4), ("no_dyn_threshold", 4)]
        if sum(size for _, size in fields) % word:
            fields += [("", 4)]
        last = ("mmapped_mem", "max_mmapped_mem", "sbrk_base", "tcache_bins", "tcache_max_bytes", "tcache_count",
                "tcache_unsorted_limit")  # fmt: skip
        return (*fields, *((name, word) for name in last))

    @property
    def mp_size(self) -> int:
        """sizeof (struct malloc_par)."""
        return sum(size for _, size in self.mp_fields)


_BY_NAME = {row.name: row for row in ROWS}


def find_release(name: str, data_model: str = "LP64") -> Release:
    """The release called `name`. UserError lists those that are known, and names the nearest.

    data_model: "LP64" or "ILP32"; the latter is known of ILP32_RELEASES alone.
    """
    if not isinstance(name, str):
        raise UserError(f"glibc {name!r}: give the release as text, such as {RELEASES[-1]!r}")
    if name not in RELEASES:
        raise UserError(
            f"glibc {name!r} is not modelled: known releases are {', '.join(RELEASES)}"
            + (f" (the nearest is {nearest_release(name)})" if _parts(name) else "")
        )
    if data_model not in WORDS:
        raise UserError(f"data model {data_model!r} is not modelled: {' and '.join(WORDS)} are")
    if data_model == "ILP32" and name not in ILP32_RELEASES:
        raise UserError(f"glibc {name} is not modelled for ILP32: known releases are {', '.join(ILP32_RELEASES)}")
    return Release(name, WORDS[data_model])


def nearest_release(name: str, among: tuple[str, ...] = RELEASES) -> str:
    """The known release that is closest to `name`, which may be one of them; of two that are, the older one.

    UserError: `name` is no release at all.
    """
    parts = _parts(name)
    if not parts:
        raise UserError(f"{name!r} is no glibc release: write it like 2.36")
    if parts[0] != 2:
        return among[0] if parts[0] < 2 else among[-1]
    return min(among, key=lambda known: (abs(number(known)[1] - parts[1]), number(known)))


def taken_for(name: str) -> str:
    """The release that is taken where the nearest to `name` is asked for, as one line. UserError: no release at all."""
    taken = nearest_release(name)
    if taken == name:
        return f"glibc {name} is modelled: it is taken as it is"
    return f"glibc {name} is not modelled: the nearest release is taken, {taken}"


def _parts(name: str) -> tuple[int, ...]:
    """The numbers of "2.36" or "2.36.9000"; empty when that is no release."""
    words = name.split(".")
    if not 2 <= len(words) <= 3 or not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
        return ()
    return tuple(int(word) for word in words)
