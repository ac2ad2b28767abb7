# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a replay found, as plain records; `to_json` gives the fields that --json prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

# The lines of a ledger that add up to the resident size, in the order in which they are shown.
LINES = {
    "live": "live blocks, as many bytes as the program asked for",
    "overhead": "chunk headers, padding and the allocator's own structures",
    "tcache": "freed, kept in a thread's cache",
    "fast_bins": "freed, kept in a fast bin",
    "free": "free chunks in bins, resident",
    "top": "the free end of a heap, resident",
    "mapped": "live blocks that were mapped one by one",
    "page_rounding": "ends of pages that belong to no chunk",
    "text": "programs' and libraries' code",
    "files": "other pages of files and libraries",
    "stacks": "stacks",
    "other": "the program's own mappings",
    "unexplained": "measured, but on none of these lines",
}
MALLOC_LINES = tuple(LINES)[:8]
FREE_LINES = ("tcache", "fast_bins", "free", "top")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where the resident bytes are after event `event`: the values of `lines` add up to `rss_bytes` exactly.

    Beside the sum: free_not_resident_bytes lie in free chunks or tops without RAM behind them, live_not_resident_bytes
    in blocks that were never touched; trimmable_bytes are the resident whole pages in free chunks and tops, what a
    malloc_trim(0) would give back now; arenas: how many there are; pin: what keeps the main heap from shrinking.
    """

    event: int
    rss_bytes: int
    lines: dict[str, int]
    live_requested_bytes: int = 0
    live_blocks: int = 0
    free_not_resident_bytes: int = 0
    live_not_resident_bytes: int = 0
    trimmable_bytes: int = 0
    arena_free_bytes: int = 0  # resident free bytes in thread arenas
    arenas: int = 1
    mmap_threshold: int = 0
    recorder_bytes: int = 0  # of memtwin's own recorder, then; not in the sum
    pin: Pin | None = None

    @property
    def malloc_bytes(self) -> int:
        """Resident bytes that are the allocator's."""
        return sum(self.lines[line] for line in MALLOC_LINES)

    @property
    def free_bytes(self) -> int:
        """Resident bytes that the program has freed and the allocator kept."""
        return sum(self.lines[line] for line in FREE_LINES)

    def details(self) -> dict[str, Any]:
        """What stands beside the sum, by name."""
        return {
            "event": self.event,
            "rss_bytes": self.rss_bytes,
            "live_requested_bytes": self.live_requested_bytes,
            "live_blocks": self.live_blocks,
            "free_not_resident_bytes": self.free_not_resident_bytes,
            "live_not_resident_bytes": self.live_not_resident_bytes,
            "trimmable_bytes": self.trimmable_bytes,
            "free_in_thread_arenas_bytes": self.arena_free_bytes,
            "recorder_bytes": self.recorder_bytes,
            "arenas": self.arenas,
            "mmap_threshold_bytes": self.mmap_threshold,
            "pin": self.pin.to_json() if self.pin else None,
        }


@dataclass(frozen=True, slots=True)
class Pin:
    """The highest live block of the main heap: `below_bytes` of free memory lie under it, `resident_bytes` in RAM."""

    address: int
    size: int
    below_bytes: int
    resident_bytes: int

    def to_json(self) -> dict[str, int]:
        """The fields by name."""
        return {
            "address": self.address,
            "size_bytes": self.size,
            "free_below_bytes": self.below_bytes,
            "free_below_resident_bytes": self.resident_bytes,
        }


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first event whose address is not the recorded one: both, the bins then, and the events that led to it."""

    event: int
    operation: str
    recorded: int
    twin: int
    state: tuple[str, ...]
    last_events: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields by name; addresses as hexadecimal text."""
        return {
            "event": self.event,
            "operation": self.operation,
            "recorded": hex(self.recorded),
            "twin": hex(self.twin),
            "state": list(self.state),
            "last_events": list(self.last_events),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sample of the real process beside the twin at the same event; None where the sample has no such figure."""

    event: int
    seconds: float
    rss_bytes: int | None
    heap_bytes: int | None
    heap_twin_bytes: int | None
    mapped_bytes: int | None = None
    mapped_twin_bytes: int | None = None

    @property
    def measured(self) -> int:
        """What the allocator had in RAM, bytes."""
        return (self.heap_bytes or 0) + (self.mapped_bytes or 0)

    @property
    def error(self) -> float:
        """The twin's part of that, less 1."""
        mapped = self.mapped_twin_bytes if self.mapped_bytes is not None else None
        return ((self.heap_twin_bytes or 0) + (mapped or 0)) / self.measured - 1


@dataclass(slots=True)
class ProcessResult:
    """The replay of one process image."""

    key: str
    pid: int
    command: tuple[str, ...]
    glibc: str
    events: int = 0
    origin: str = "start"
    parent: str | None = None
    compared: int = 0
    equal: int = 0
    unknown: int = 0
    lost: int = 0
    first_mismatch: Mismatch | None = None
    abort: str = ""  # glibc's message, or the fault, that stopped the twin
    stopped_at: int = 0  # the event that did
    peak_rss_bytes: int = 0
    peak_event: int = 0
    final_rss_bytes: int = 0
    minor_faults: int = 0
    system_calls: dict[str, int] = field(default_factory=dict)
    peak: Ledger | None = None
    final: Ledger | None = None
    time_line: list[dict[str, Any]] = field(default_factory=list)
    samples: list[Comparison] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        """The share of compared events with the recorded address; 1.0 of none."""
        return self.equal / self.compared if self.compared else 1.0

    @property
    def exact(self) -> bool:
        """Whether the whole replay stands on the program's own addresses, none missing and none different."""
        stopped_early = self.abort and not self.stopped_as_recorded
        return self.equal == self.compared and not self.lost and not self.unknown and not stopped_early

    @property
    def stopped_as_recorded(self) -> bool:
        """Whether what stopped the twin is the last that the program did."""
        return bool(self.abort) and self.stopped_at == self.events - 1

    def to_json(self) -> dict[str, Any]:
        """One object of `processes`."""
        return {
            "key": self.key,
            "pid": self.pid,
            "origin": self.origin,
            "parent": self.parent,
            "command": list(self.command),
            "glibc": self.glibc,
            "events": self.events,
            "compared": self.compared,
            "equal": self.equal,
            "agreement": self.agreement,
            "exact": self.exact,
            "unknown_pointers": self.unknown,
            "lost_events": self.lost,
            "first_mismatch": self.first_mismatch.to_json() if self.first_mismatch else None,
            "abort": self.abort or None,
            "abort_event": self.stopped_at if self.abort else None,
            "peak_rss_bytes": self.peak_rss_bytes,
            "peak_event": self.peak_event,
            "final_rss_bytes": self.final_rss_bytes,
            "minor_faults": self.minor_faults,
            "system_calls": self.system_calls,
            "ledger": {
                "peak": dict(self.peak.lines) if self.peak else None,
                "final": dict(self.final.lines) if self.final else None,
            },
            "ledger_details": {
                "peak": self.peak.details() if self.peak else None,
                "final": self.final.details() if self.final else None,
            },
            "time_line": self.time_line,
            "heap_rss_error": self.heap_error(),
            "samples": [asdict(one) for one in self.samples],
            "seconds": self.seconds,
            "events_per_second": self.events / self.seconds if self.seconds else 0.0,
            "notes": self.notes,
        }

    def heap_error(self) -> dict[str, float | None]:
        """How far what the twin's allocator has in RAM (heap, arenas, mapped blocks) is from what was measured, as a
        share: at the measured peak, at the end."""
        known = [one for one in self.samples if one.measured and one.heap_twin_bytes is not None]
        if not known:
            return {"peak": None, "end": None}
        peak = max(known, key=lambda one: one.measured)
        return {"peak": peak.error, "end": known[-1].error}
