# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a trace is on disk.

A trace is a directory that pandas, polars and duckdb read as it is:

    trace.json                  format version, command line, the process tree, one entry a process image
    KEY.events.parquet          the events of one process image in their order; header facts in the file's metadata
    KEY.samples.parquet         what was measured from outside the allocator, over time
    KEY.maps.parquet            snapshots of /proc/self/maps
    KEY.blocks.parquet          how much of the blocks that malloc mapped one by one was in RAM

KEY is "PID" for a process's first image and "PID.N" after its Nth exec. Row i of the events is event number i of that
image; a gap in what was recorded is one row with op LOST. All addresses and sizes are bytes.

`trace.json` is written last; each file is NAME.part until it is whole.

Columns of an event, and what each operation puts there (unused ones are 0):

    op             size            pointer   argument           result          error
    MALLOC         size                                         address or 0    errno if 0
    CALLOC         count           size of one in `argument`    address or 0
    REALLOC        new size        old                          address or 0
    REALLOCARRAY   count           old       size of one        address or 0
    FREE                           pointer
    MEMALIGN, POSIX_MEMALIGN, ALIGNED_ALLOC
                   size                      alignment          address or 0    errno, also of posix_memalign
    VALLOC, PVALLOC  size                                       address or 0
    MALLOC_TRIM    pad                                          0 or 1
    MALLOPT                                  parameter << 32 | value as u32     0 or 1
    MMAP           length          hint      prot << 32 | flags address or -1   errno     offset: see `extra`
    MUNMAP         length          address                      0 or -1
    MREMAP         new length      old       old length         address or -1   `extra`: flags
    MADVISE        length          address   advice             0 or -1
    MPROTECT       length          address   prot               0 or -1
    BRK                            address                      0 or -1
    SBRK           increment                                    old break or -1
    THREAD_CREATE                            tid of the new thread, 0 when it failed
    THREAD_START, THREAD_EXIT
    FORK                                     pid of the child in the parent, 0 unknown, -1 failed
    EXEC                                                        0 (the image's last event), -1 failed
    MAPS                                     number of the snapshot in KEY.maps.parquet: the VMAs before the next event
    LOST                                     how many events are missing here
    END            exit has begun; destructors may still act after it

-1 stands as 2**64 - 1. A failed operation has its errno in `error`; so has a FORK or EXEC that failed.
`flags`: bits of the returned (or freed) chunk's size word, IS_MMAPPED 2 and NON_MAIN_ARENA 4, as glibc defines them.
"""

from __future__ import annotations

import re
from enum import IntEnum

import pyarrow as pa

from memtwin.errors import TraceError

FORMAT_VERSION = 1
METADATA_KEY = b"memtwin"  # of the header facts in the metadata of an events file
PROCESS_TREE = "trace.json"
RAW_DIRECTORY = "raw"  # the recorder's own files, inside the trace's directory until they are imported

_KEY = re.compile(r"[1-9][0-9]{0,9}(\.[1-9][0-9]{0,9})?")


def check_key(key: str, where: str) -> str:
    """`key` itself; TraceError when it is not "PID" or "PID.N", so that no key leads out of the trace's directory."""
    if not _KEY.fullmatch(key):
        raise TraceError(f"{where}: {key!r:.40} is no key of a process image")
    return key


class Op(IntEnum):
    """Operation codes; host/raw_format.h has the same numbers, and a test compares them."""

    MALLOC = 1
    CALLOC = 2
    REALLOC = 3
    FREE = 4
    MEMALIGN = 5
    POSIX_MEMALIGN = 6
    ALIGNED_ALLOC = 7
    VALLOC = 8
    PVALLOC = 9
    REALLOCARRAY = 10
    MALLOC_TRIM = 11
    MALLOPT = 12
    MMAP = 16
    MUNMAP = 17
    MREMAP = 18
    MADVISE = 19
    MPROTECT = 20
    BRK = 21
    SBRK = 22
    THREAD_CREATE = 32
    THREAD_START = 33
    THREAD_EXIT = 34
    FORK = 35
    EXEC = 36
    MAPS = 40
    LOST = 41
    END = 42


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


# Never null: pandas would turn a column of 64-bit integers with nulls into floats, and addresses would lose their ends.
EVENTS = pa.schema(
    [
        _required("op", pa.uint8()),
        _required("flags", pa.uint8()),
        _required("error", pa.uint8()),
        _required("thread", pa.uint32()),  # tid
        _required("size", pa.uint64()),
        _required("pointer", pa.uint64()),
        _required("argument", pa.uint64()),
        _required("extra", pa.uint64()),
        _required("result", pa.uint64()),
    ]
)

# One row a sample; a figure that this sample did not take is null. `event` is the number of the event it precedes.
SAMPLES = pa.schema(
    [
        _required("event", pa.uint64()),
        _required("time_ns", pa.uint64()),  # since the image's first event, CLOCK_MONOTONIC
        ("rss_bytes", pa.uint64()),  # statm resident
        ("heap_bytes", pa.uint64()),  # the brk heap: its size
        ("heap_resident_bytes", pa.uint64()),  # and the part of it in RAM (mincore / pagemap)
        ("arena_resident_bytes", pa.uint64()),  # thread arenas' heaps
        ("mmapped_resident_bytes", pa.uint64()),  # chunks that malloc got by mmap
        ("anonymous_bytes", pa.uint64()),  # smaps
        ("total_vm_bytes", pa.uint64()),  # statm size
        ("cost_ns", pa.uint64()),  # what taking the sample took
    ]
)

# One row a block that malloc mapped by itself and that was looked at while it lived, by event.
BLOCKS = pa.schema(
    [
        _required("event", pa.uint64()),  # its allocation
        _required("resident_bytes", pa.uint64()),  # the most of its mapping that was seen in RAM (mincore)
    ]
)

# One row a VMA of a snapshot, snapshots in the order of their events, VMAs by address.
MAPS = pa.schema(
    [
        _required("snapshot", pa.uint32()),
        _required("event", pa.uint64()),  # row of its MAPS event
        _required("time_ns", pa.uint64()),
        _required("start", pa.uint64()),
        _required("end", pa.uint64()),
        _required("permissions", pa.string()),  # "rw-p"
        _required("offset", pa.uint64()),
        _required("device", pa.string()),
        _required("inode", pa.uint64()),
        _required("path", pa.string()),
        ("rss_bytes", pa.uint64()),  # from smaps; null where the snapshot is of maps only
    ]
)
