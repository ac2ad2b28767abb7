# SPDX-License-Identifier: LGPL-2.1-or-later
"""The facts a trace carries about one process image: everything a replay needs besides the events.

In a file they are one JSON object under the key `memtwin` of the Parquet metadata, with the fields below. An image
is what a process runs between two execs: a process has one, and one more for each exec that succeeded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_origin, get_type_hints

from memtwin.errors import TraceError
from memtwin.trace.schema import FORMAT_VERSION, Op

MAX_JSON_BYTES = 64 << 20
ADDR_NO_RANDOMIZE = 0x0040000  # linux/personality.h

# start: nothing before it is in the trace. fork: it continues the parent image's memory as it was at parent_event.
# exec: the same process as the parent image, new memory. spawn: a new process with new memory (vfork or posix_spawn).
ORIGINS = ("start", "fork", "exec", "spawn")
HUGE_PAGES = ("", "never", "madvise", "always")  # /sys/kernel/mm/transparent_hugepage/enabled


@dataclass(frozen=True, slots=True)
class Header:
    """Header facts of one image. An empty text or a 0 says that the recorder could not find out."""

    key: str  # "PID" or "PID.N": the image after the Nth exec
    pid: int
    parent_pid: int
    origin: str = "start"  # how the image began, one of ORIGINS
    parent: str | None = None  # key of the image it came from, None when that is not in the trace
    parent_event: int = 0  # number of the FORK or EXEC event there, 0 when it is not known

    executable: str = ""
    command: tuple[str, ...] = ()
    working_directory: str = ""
    environment: Mapping[str, str] = field(
        default_factory=dict
    )  # what glibc's allocator reads: GLIBC_TUNABLES, MALLOC_*

    architecture: str = ""  # uname -m
    kernel: str = ""  # uname -r
    page_size: int = 4096
    cpus: int = 1  # that the image may run on
    cpus_online: int = 0  # that there are; 0 unknown. The limit of arenas counts these or those (Release.processors)
    huge_pages: str = ""  # one of HUGE_PAGES: the machine's choice, or what prctl left the process of it
    free_huge_pages: Mapping[str, int] = field(default_factory=dict)  # reserved ones, by size in bytes, when it began
    personality: int = 0
    overcommit: int = 0  # vm.overcommit_memory
    max_map_count: int = 0  # vm.max_map_count, 0 unknown

    glibc: str = ""  # release, "2.36"
    libc_path: str = ""
    libc_build_id: str = ""  # hexadecimal
    allocator: str = "glibc"  # who provides malloc
    start_brk: int = 0  # where the heap starts, /proc/PID/stat
    first_break: int = 0  # the break at the first event

    mode: str = "exact"  # "exact": one lock orders all calls; "fast": the order between threads is approximate
    started_ns: int = 0  # wall clock at the first event, nanoseconds since 1970

    ending: str = ""  # why the recording ends, in words
    events: int = 0  # rows of the events file
    lost: int = 0  # events that are known to be missing
    operations: Mapping[str, int] = field(default_factory=dict)  # rows by name of the operation
    threads: int = 0  # different tids
    allocated_bytes: int = 0  # all that the allocating calls asked for, a realloc with its new size
    duration_ns: int = 0  # from the first event to the last time mark
    peak_rss_bytes: int = 0  # highest resident size of all samples; 0 without samples
    notes: tuple[str, ...] = ()  # what else the reader of this trace must know, a sentence each

    @property
    def randomized(self) -> bool:
        """Whether the kernel randomized this image's addresses."""
        return not self.personality & ADDR_NO_RANDOMIZE

    @property
    def exact(self) -> bool:
        """Whether the events stand in the order in which the allocator saw them, none missing."""
        return self.mode == "exact" and self.lost == 0

    def to_json(self) -> str:
        """The JSON object that `parse_header` reads."""
        return json.dumps({"version": FORMAT_VERSION, **dataclasses.asdict(self)})


def load_json(text: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `text`; TraceError when it is none, nests too deep or is larger than MAX_JSON_BYTES."""
    if len(text) > MAX_JSON_BYTES:
        raise TraceError(f"{where}: {len(text)} bytes of JSON, more than the {MAX_JSON_BYTES} that a trace may have")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{where}: no JSON that can be read: {error}") from None
    if not isinstance(value, dict):
        raise TraceError(f"{where}: a JSON {type(value).__name__} where an object is expected")
    return value


def check_version(value: Mapping[str, Any], where: str) -> None:
    """TraceError unless the object says that it was written for this format."""
    version = value.get("version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise TraceError(f"{where}: trace format {version!r:.40}; this memtwin reads format {FORMAT_VERSION}")


def parse_header(text: bytes, where: str) -> Header:
    """The header in the JSON object `text`; fields it does not know are skipped, missing ones have their default.

    TraceError names `where` and the field that is missing or has a wrong type or value.
    """
    value = load_json(text, where)
    check_version(value, where)
    known = {name: _checked(value[name], hint, f"{where}: header field {name!r}")
             for name, hint in get_type_hints(Header).items() if name in value}  # fmt: skip
    for name in ("key", "pid", "parent_pid"):
        if name not in known:
            raise TraceError(f"{where}: header field {name!r} is missing")
    header = Header(**known)
    _check_values(header, where)
    return header


def _check_values(header: Header, where: str) -> None:
    if header.origin not in ORIGINS:
        raise TraceError(f"{where}: header field 'origin' is {header.origin!r:.40}, not one of {', '.join(ORIGINS)}")
    if header.huge_pages not in HUGE_PAGES:
        raise TraceError(f"{where}: header field 'huge_pages' is {header.huge_pages!r:.40}, not one of {HUGE_PAGES}")
    if not all(size.isdecimal() and len(size) < 12 for size in header.free_huge_pages):
        raise TraceError(f"{where}: header field 'free_huge_pages' names {[*header.free_huge_pages]!r:.60}, no sizes")
    if header.page_size < 512 or header.page_size & (header.page_size - 1):
        raise TraceError(f"{where}: header field 'page_size' is {header.page_size}, which no machine has")
    unknown = set(header.operations) - set(Op.__members__)
    if unknown:
        raise TraceError(f"{where}: header field 'operations' counts {min(unknown)!r:.40}, which is no operation")


def _checked(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type that `hint` names; TraceError when JSON held something else."""
    if hint is int:
        good = type(value) is int and 0 <= value < 1 << 64
    elif hint is str:
        good = isinstance(value, str)
    elif get_origin(hint) is tuple:
        good = isinstance(value, list) and all(isinstance(one, str) for one in value)
        value = tuple(value) if good else value
    elif get_origin(hint) is Mapping or hint is Mapping:
        of = hint.__args__[1]
        good = isinstance(value, dict)
        value = {name: _checked(one, of, where) for name, one in value.items()} if good else value
    else:  # str | None
        good = value is None or isinstance(value, str)
    if not good:
        raise TraceError(f"{where} is {value!r:.60}, which has the wrong type")
    return value
