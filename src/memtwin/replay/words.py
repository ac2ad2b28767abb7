# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a replay found, in plain words: sentences that follow from the numbers, and nothing else."""

from __future__ import annotations

from memtwin.replay.result import Ledger, ProcessResult
from memtwin.replay.settings import environment_line
from memtwin.replay.twin import Options
from memtwin.units import KIB, MIB, format_size

DEFAULT_MMAP_THRESHOLD = 128 * KIB


def plural(count: int, noun: str) -> str:
    """ "1 block", "2,000 blocks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def headline(ledger: Ledger, when: str) -> str:
    """ "412 MiB resident at the end: 96 MiB live in 12,345 blocks, 301 MiB free but kept, …"."""
    live = ledger.lines["live"] + ledger.lines["mapped"]
    aside = ledger.lines["overhead"] + ledger.lines["page_rounding"]
    return (
        f"{format_size(ledger.rss_bytes)} resident {when}: "
        f"{format_size(live)} live in {plural(ledger.live_blocks, 'block')}, "
        f"{format_size(ledger.free_bytes)} free but kept, "
        f"{format_size(aside)} overhead, "
        f"{format_size(ledger.rss_bytes - ledger.malloc_bytes)} the program, its files and stacks."
    )


def explain(result: ProcessResult) -> str:
    """One paragraph on the process: what is resident at the end, why it stays, and what may be tried."""
    if result.final is None:
        return ""
    return " ".join([headline(result.final, "at the end"), *what_to_do(result)])


def what_to_do(result: ProcessResult) -> list[str]:
    """Why free memory stays, and what may be tried; nothing when there is not much of it."""
    ledger = result.final
    if ledger is None or ledger.free_bytes <= max(ledger.malloc_bytes // 10, MIB):
        return []
    return why_kept(ledger)


def why_kept(ledger: Ledger) -> list[str]:
    """Why the free memory of this ledger has not gone back to the kernel."""
    sentences = []
    if ledger.trimmable_bytes:
        shared = ledger.free_bytes - ledger.trimmable_bytes
        sentences.append(
            f"Of what is free, {format_size(ledger.trimmable_bytes)} are whole pages that malloc_trim(0) would give "
            f"back now, {format_size(max(shared, 0))} share their pages with live blocks."
        )
    pin = ledger.pin
    if pin and pin.resident_bytes > ledger.free_bytes // 10:
        sentences.append(
            f"The heap cannot shrink because a live block of {format_size(pin.size)} at {pin.address:#x} lies above "
            f"{format_size(pin.resident_bytes)} of it."
        )
    return sentences + hints(ledger)


def hints(ledger: Ledger) -> list[str]:
    """Settings that these numbers point at; whether they help, a replay with --set shows."""
    found = []
    if ledger.mmap_threshold > DEFAULT_MMAP_THRESHOLD:
        found.append(
            f"The mmap threshold has risen by itself from 128 KiB to {format_size(ledger.mmap_threshold)}, so that "
            "large blocks came from the heap: see `--set mmap_threshold=128KiB`."
        )
    if ledger.arenas > 1 and ledger.arena_free_bytes > ledger.free_bytes // 4:
        found.append(
            f"{format_size(ledger.arena_free_bytes)} of what is free lie in "
            f"{plural(ledger.arenas - 1, 'thread arena')}: see `--set arena_max=1` and `--set arena_max=2`."
        )
    if ledger.lines["top"] > ledger.free_bytes // 2:
        found.append("Most of it is the top of the heap: see `--set trim_threshold=128KiB`.")
    return found


def agreement_sentence(result: ProcessResult) -> str:
    """How far the numbers stand on the program's own addresses."""
    if not result.compared:
        return "No allocation to compare."
    if result.exact:
        told = f"Exact: all {result.compared:,} allocations have the address that the program got."
        if result.abort:
            told += f" The last event stops the twin with {result.abort!r}, and the program ended there."
        return told
    share = f"{result.equal:,} of {result.compared:,} allocations have the address that the program got"
    if result.abort:
        return f"Not exact: the twin stopped with {result.abort!r} at event {result.stopped_at:,}; {share}."
    if result.lost or result.unknown:
        missing = plural(result.lost, "event") if result.lost else plural(result.unknown, "pointer")
        return f"Not exact: {missing} missing from the trace, the replay goes on from the recorded addresses; {share}."
    assert result.first_mismatch
    return (
        f"Not exact: {share}; the first that differs is event {result.first_mismatch.event:,}, "
        f"{result.first_mismatch.recorded:#x} recorded, {result.first_mismatch.twin:#x} in the twin."
    )


def compare_sentence(real: ProcessResult, what_if: ProcessResult, options: Options) -> str:
    """What the setting would have changed."""
    changes = []
    for name, before, after in (
        ("peak", real.peak_rss_bytes, what_if.peak_rss_bytes),
        ("end", real.final_rss_bytes, what_if.final_rss_bytes),
    ):
        share = f" ({after / before - 1:+.0%})" if before else ""
        changes.append(f"{name} {format_size(before)} → {format_size(after)}{share}")
    calls = sum(what_if.system_calls.values()) - sum(real.system_calls.values())
    faults = what_if.minor_faults - real.minor_faults
    cost = f"{calls:+,} system calls, {faults:+,} page faults"
    given = [environment_line(options.settings)] if options.settings else []
    given += [f"glibc {options.glibc}"] if options.glibc else []
    return f"With {' and '.join(given)}: {', '.join(changes)}; {cost}."
