# SPDX-License-Identifier: LGPL-2.1-or-later
"""Misuse and damage, a script a case, each made to trip one of glibc's integrity checks.

The scripts are those of memtwin.verify.libc.script. A chunk's size word lies at its user pointer - 8, its fd and bk at
+ 0 and + 8, fd_nextsize and bk_nextsize at + 16 and + 24. malloc(2008) gives a chunk of 2016 bytes, whose neighbour
has its prev_size at + 2000 and its size at + 2008. BINS turns the thread cache off, so that freed chunks go to bins.
"""

from __future__ import annotations

import re

BINS = "environment GLIBC_TUNABLES=glibc.malloc.tcache_count=0\n"
LARGE = BINS + "p0 = malloc(2008)\np1 = malloc(24)\n"  # a chunk for the unsorted bin, and a guard above it
TWO_LARGE = LARGE + "p2 = malloc(2008)\np3 = malloc(24)\n"
TWO_FAST = BINS + "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nfree(p1) and keep\n"
SORT = "p9 = malloc(20000)\n"  # no chunk fits: whatever is unsorted is sorted, fast bins are emptied


def many_unsorted(tail: str) -> str:
    """Two chunks in large bins and more unsorted ones than one search sorts (MAX_ITERS); p0 was freed last."""
    lines = [BINS + "p3 = malloc(9000)", "p4 = malloc(1500)", "p0 = malloc(2008)", "p1 = malloc(1500)"]
    for slot in range(10, 10 + 10_000):
        lines += [f"p{slot} = malloc(1500)", "p2 = malloc(1500)"]
    lines += ["free(p3)", "p9 = malloc(40000)"]
    lines += [f"free(p{slot})" for slot in range(10, 10 + 10_000)]
    return "\n".join(lines) + "\nfree(p0) and keep\n" + tail


CASES: dict[str, str] = {
    # free: the pointer itself
    "free-middle": "p0 = malloc(24)\np1 := p0 + 8\nfree(p1)\n",
    "free-wrapping": "p0 = malloc(24)\nword at p0 + -8 := 0xfffffffffffffff1\nfree(p0)\n",
    "free-tiny-size": "p0 = malloc(24)\nword at p0 + -8 := 17\nfree(p0)\n",
    "free-odd-size": "p0 = malloc(24)\nword at p0 + -8 := 41\nfree(p0)\n",
    "free-unmapped": "p0 = malloc(24)\np1 := p0 + 268435456\nfree(p1)\n",
    "free-foreign-arena": "p0 = malloc(24)\nword at p0 + -8 := 37\nfree(p0)\n",
    "munmap-chunk": "p0 = malloc(24)\nword at p0 + -8 := 0x33\nfree(p0)\n",
    "munmap-offset": "p0 = malloc(200000)\nword at p0 + -16 := 16\nfree(p0)\n",
    "mapped-twice": "p0 = malloc(200000)\nfree(p0) and keep\nfree(p0)\n",
    # the thread cache
    "tcache-double": "p0 = malloc(24)\nfree(p0) and keep\nfree(p0)\n",
    "tcache-double-deep": "p0 = malloc(24)\np1 = malloc(24)\np2 = malloc(24)\nfree(p0) and keep\nfree(p1)\nfree(p2)\n"
    "free(p0)\n",
    "tcache-double-key-gone": "p0 = malloc(24)\nfree(p0) and keep\nword at p0 + 8 := 0\nfree(p0)\np1 = malloc(24)\n"
    "p2 = malloc(24)\np3 = malloc(24)\n",
    "tcache-endless": "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nfree(p1) and keep\n"
    "word at p1 + 0 := mangled p1 + 0\nfree(p0)\n",
    "tcache-unaligned-free": "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nfree(p1) and keep\n"
    "word at p1 + 0 := mangled p0 + 8\nfree(p0)\n",
    "tcache-unaligned-malloc": "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nfree(p1) and keep\n"
    "word at p1 + 0 := mangled p0 + 8\np2 = malloc(24)\np3 = malloc(24)\np4 = malloc(24)\n",
    "tcache-poisoned": "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nfree(p1) and keep\n"
    "word at p1 + 0 := mangled p0 + 16\np2 = malloc(24)\np3 = malloc(24)\np4 = malloc(24)\n",
    "tcache-plain-pointer": "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nfree(p1) and keep\n"
    "word at p1 + 0 := p0 + 0\np2 = malloc(24)\np3 = malloc(24)\np4 = malloc(24)\n",
    "tcache-thread-exit": "start thread 1\nthread 1: p0 = malloc(24)\nthread 1: p1 = malloc(24)\nthread 1: free(p0) and keep\n"
    "thread 1: free(p1) and keep\nword at p1 + 0 := mangled p0 + 8\nthread 1: exit thread\np3 = malloc(10)\n",
    # fast bins
    "fast-double": BINS + "p0 = malloc(24)\nfree(p0) and keep\nfree(p0)\n",
    "fast-next-size": BINS + "p0 = malloc(24)\np1 = malloc(24)\nword at p1 + -8 := 0\nfree(p0)\n",
    "fast-next-size-huge": BINS + "p0 = malloc(24)\np1 = malloc(24)\nword at p1 + -8 := 0x1000001\nfree(p0)\n",
    "fast-wrong-size": BINS + "p0 = malloc(24)\nfree(p0) and keep\nword at p0 + -8 := 0x51\np1 = malloc(24)\n",
    "fast-unaligned": TWO_FAST + "word at p1 + 0 := mangled p0 + 8\np2 = malloc(24)\np3 = malloc(24)\n",
    "fast-unaligned-stash": "".join(f"p{i} = malloc(24)\n" for i in range(9))
    + "".join(f"free(p{i}) and keep\n" for i in range(9))
    + "word at p8 + 0 := mangled p7 + -8\n"
    + "".join(f"p{i} = malloc(24)\n" for i in range(10, 18)),
    "fast-unaligned-threads": BINS + "start thread 1\n" + TWO_FAST
    + "word at p1 + 0 := mangled p0 + 8\np2 = malloc(24)\np3 = malloc(24)\n",
    "fast-unaligned-consolidate": TWO_FAST + "word at p1 + 0 := mangled p0 + 8\n" + SORT,
    "fast-consolidate-size": BINS + "p0 = malloc(24)\np1 = malloc(24)\nfree(p0) and keep\nword at p0 + -8 := 0x51\n" + SORT,
    "fast-consolidate-prev-size": BINS + "p0 = malloc(24)\np1 = malloc(24)\np2 = malloc(24)\nfree(p1) and keep\n"
    "word at p1 + -8 := 0x20\nword at p1 + -16 := 0x20\nword at p0 + -8 := 0x41\n" + SORT,
    "fast-entry": BINS + "p0 = malloc(24)\np1 = malloc(100)\nfree(p0) and keep\nword at p0 + -8 := 0x31\n"
    "p1 = realloc(p1, 72)\n",
    "mallinfo-fast": TWO_FAST + "word at p1 + 0 := mangled p0 + 8\nmallinfo()\n",
    "malloc-stats-fast": TWO_FAST + "word at p1 + 0 := mangled p0 + 8\nmalloc_stats()\n",
    "malloc-info-fast": TWO_FAST + "word at p1 + 0 := mangled p0 + 8\nmalloc_info(0)\n",
    # merging
    "double-prev": LARGE + "free(p0) and keep\nfree(p0)\n",
    "double-top": "p0 = malloc(24)\np1 := p0 + 32\nfree(p1)\n",
    "double-out": "p0 = malloc(24)\nword at p0 + -8 := 0x200001\nfree(p0)\n",
    "next-size": LARGE + "word at p0 + 2008 := 1\nfree(p0)\n",
    "next-size-huge": LARGE + "word at p0 + 2008 := 0x1000001\nfree(p0)\n",
    "merge-below": BINS + "p0 = malloc(2008)\np1 = malloc(2008)\np2 = malloc(24)\nfree(p0) and keep\n"
    "word at p0 + -8 := 0x801\nfree(p1)\n",
    "unlink-size": LARGE + "free(p0) and keep\n" + SORT + "word at p0 + 2000 := 2000\np4 = malloc(2008)\n",
    "unlink-list": BINS + "p0 = malloc(2008)\np1 = malloc(2008)\np2 = malloc(24)\nfree(p1) and keep\n"
    "word at p1 + 0 := p1 + 0\nfree(p0)\n",
    "unlink-ring": BINS + "p0 = malloc(2048)\np1 = malloc(24)\np5 = malloc(2040)\np2 = malloc(2080)\np3 = malloc(24)\n"
    "free(p0)\nfree(p2) and keep\n" + SORT + "word at p2 + 16 := p2 + 0\nfree(p5)\n",
    "unsorted-head": TWO_LARGE + "free(p0) and keep\nword at p0 + 8 := p0 + 0\nfree(p2)\n",
    "smallbin-head": BINS + "p0 = malloc(200)\np1 = malloc(24)\np2 = malloc(200)\np3 = malloc(24)\nfree(p0) and keep\n"
    "word at p0 + 8 := p0 + 0\nfree(p2)\n",
    # malloc: sorting
    "unsorted-size-tiny": LARGE + "free(p0) and keep\nword at p0 + -8 := 0x11\n" + SORT,
    "unsorted-size-huge": LARGE + "free(p0) and keep\nword at p0 + -8 := 0x1000001\n" + SORT,
    "unsorted-next-size": LARGE + "free(p0) and keep\nword at p0 + 2008 := 0\n" + SORT,
    "unsorted-next-size-huge": LARGE + "free(p0) and keep\nword at p0 + 2008 := 0x1000000\n" + SORT,
    "unsorted-prev-size": LARGE + "free(p0) and keep\nword at p0 + 2000 := 2000\n" + SORT,
    "unsorted-bk": LARGE + "free(p0) and keep\nword at p0 + 8 := p1 + 0\n" + SORT,
    "unsorted-fd": LARGE + "free(p0) and keep\nword at p0 + 0 := p0 + 0\n" + SORT,
    "unsorted-in-use": LARGE + "free(p0) and keep\nword at p0 + 2008 := 0x21\n" + SORT,
    "small-bk": BINS + "p0 = malloc(200)\np1 = malloc(24)\nfree(p0) and keep\n" + SORT
    + "word at p0 + 8 := p1 + 0\np2 = malloc(200)\n",
    "large-ring": BINS + "p0 = malloc(2048)\np1 = malloc(24)\np2 = malloc(2080)\np3 = malloc(24)\nfree(p0) and keep\n" + SORT
    + "free(p2)\nword at p0 + 24 := p1 + 0\np8 = malloc(20000)\n",
    "large-bk": BINS + "p0 = malloc(2048)\np1 = malloc(24)\np2 = malloc(2080)\np3 = malloc(24)\nfree(p0) and keep\n" + SORT
    + "free(p2)\nword at p0 + 8 := p1 + 0\np8 = malloc(20000)\n",
    "split-large": many_unsorted("word at p0 + 8 := p0 + 0\np5 = malloc(8720)\n"),
    "split-larger-bin": many_unsorted("word at p0 + 8 := p0 + 0\np5 = malloc(1600)\n"),
    # the top and the break
    "top-huge": "p0 = malloc(24)\nword at p0 + 24 := 0x10000001\np1 = malloc(1000)\n",
    "top-small": "p0 = malloc(24)\nword at p0 + 24 := 0x11\np1 = malloc(1000)\n",
    "top-not-a-page": "p0 = malloc(24)\nword at p0 + 24 := 0x201\np1 = malloc(1000)\n",
    "top-prev-free": "p0 = malloc(24)\nword at p0 + 24 := 0xd40\np1 = malloc(5000)\n",
    "break-lowered": "p0 = malloc(24)\np1 = sbrk(-4096)\np2 = malloc(120000)\np3 = malloc(120000)\n",
    # realloc
    "realloc-middle": "p0 = malloc(24)\np1 := p0 + 8\np1 = realloc(p1, 100)\n",
    "realloc-old-size": "p0 = malloc(24)\nword at p0 + -8 := 0x1000001\np0 = realloc(p0, 100)\n",
    "realloc-old-size-16": "p0 = malloc(24)\nword at p0 + -8 := 0x10\np0 = realloc(p0, 100)\n",
    "realloc-old-size-tiny": "p0 = malloc(24)\nword at p0 + -8 := 0x1\np0 = realloc(p0, 100)\n",
    "realloc-next-size": "p0 = malloc(24)\np1 = malloc(24)\nword at p1 + -8 := 0x1\np0 = realloc(p0, 100)\n",
    "realloc-mapped": "p0 = malloc(24)\nword at p0 + -8 := 0x33\np0 = realloc(p0, 100)\n",
    "realloc-freed": LARGE + "free(p0) and keep\np0 = realloc(p0, 4000)\n",
}  # fmt: skip

ENDLESS = {"tcache-endless": ("2.31",)}  # case: releases that loop for ever in it, so that nothing can be compared

# What each release can print (malloc_printerr in malloc/malloc.c and malloc/arena.c at its tag). Left out, because a
# process with one thread at a time cannot bring it about: "malloc(): corrupted unsorted chunks 3" (the same words are
# checked just before), and what MALLOC_DEBUG alone compiles.
_ALWAYS = {
    "break adjusted to free malloc space", "corrupted double-linked list", "corrupted double-linked list (not small)",
    "corrupted size vs. prev_size", "corrupted size vs. prev_size while consolidating",
    "double free or corruption (!prev)", "double free or corruption (out)", "double free or corruption (top)",
    "free(): corrupted unsorted chunks", "free(): double free detected in tcache 2",
    "free(): invalid next size (normal)", "free(): invalid pointer", "free(): invalid size",
    "malloc(): corrupted top size", "malloc(): corrupted unsorted chunks", "malloc(): corrupted unsorted chunks 2",
    "malloc(): invalid next size (unsorted)", "malloc(): invalid next->prev_inuse (unsorted)",
    "malloc(): invalid size (unsorted)", "malloc(): largebin double linked list corrupted (bk)",
    "malloc(): largebin double linked list corrupted (nextsize)", "malloc(): mismatching next->prev_size (unsorted)",
    "malloc(): smallbin double linked list corrupted", "malloc(): unsorted double linked list corrupted",
    "mremap_chunk(): invalid pointer", "munmap_chunk(): invalid pointer", "realloc(): invalid next size",
    "realloc(): invalid pointer",
}  # fmt: skip
_FAST = {
    "corrupted size vs. prev_size in fastbins", "double free or corruption (fasttop)",
    "free(): invalid next size (fast)", "invalid fastbin entry (free)", "malloc(): memory corruption (fast)",
    "malloc_consolidate(): invalid chunk size",
}  # fmt: skip
_SAFE_FAST = {
    "__malloc_info(): unaligned fastbin chunk detected", "int_mallinfo(): unaligned fastbin chunk detected",
    "malloc(): unaligned fastbin chunk detected", "malloc(): unaligned fastbin chunk detected 2",
    "malloc(): unaligned fastbin chunk detected 3", "malloc_consolidate(): unaligned fastbin chunk detected",
}  # fmt: skip
_SAFE_CACHE = {
    "free(): too many chunks detected in tcache", "free(): unaligned chunk detected in tcache 2",
    "malloc(): unaligned tcache chunk detected", "tcache_thread_shutdown(): unaligned tcache chunk detected",
}  # fmt: skip
_OLD_SIZE = {"realloc(): invalid old size"}
_SMALL = {"free(): chunks in smallbin corrupted"}
MESSAGES = {
    "2.31": _ALWAYS | _FAST | _OLD_SIZE,
    "2.36": _ALWAYS | _FAST | _SAFE_FAST | _SAFE_CACHE | _OLD_SIZE,
    "2.41": _ALWAYS | _FAST | _SAFE_FAST | _SAFE_CACHE | _SMALL | _OLD_SIZE,
    "2.43": _ALWAYS | _SAFE_CACHE | _SMALL | _OLD_SIZE,
}

# The cases for 32-bit libraries: the same chunks, whose fields lie half as far from their user pointer.

_FIELD = re.compile(r"word at (p\d+) \+ (-?\d+)(.*)")
_LINK = re.compile(r"mangled (p\d+) \+ (-?\d+)")


def for_ilp32(name: str, script: str) -> str:
    """A case with words of four bytes. Sizes stay: a request gives a chunk of the same size there, down to 32."""
    if name == "double-top":  # a top's size is no multiple of 16 there, which is noticed first
        script = script.replace("free(", "word at p0 + 24 := 0x10001\nfree(")
        name = "top-freed"
    lines = []
    for line in script.splitlines():
        match = _FIELD.fullmatch(line)
        if match:
            rest = match[3]
            if not name.startswith("tcache"):  # links of fast bins lead to chunks, not to user pointers
                rest = _LINK.sub(lambda link: f"mangled {link[1]} + {int(link[2]) // 2}", rest)
            line = f"word at {match[1]} + {_offset(name, int(match[2]))}{_value(rest)}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _offset(name: str, offset: int) -> int:
    """Where a field lies: of the chunk itself, or of the one behind it, whose user pointer is `chunk` bytes on."""
    chunk = 32 if name.startswith("top-") else (offset + 16) // 16 * 16 if offset > 24 else 0
    return chunk + (offset - chunk) // 2


def _value(rest: str) -> str:
    """A size of one header, 16 on 64-bit machines, is 8."""
    return {" := 17": " := 9", " := 0x11": " := 9", " := 0x10": " := 8"}.get(rest, rest)
