# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same column of operations on a real C library and on the twin, call for call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memtwin.host.libcs import find_libc
from memtwin.host.player import Play, Player
from memtwin.libc.check import validate_heap
from memtwin.libc.malloc import Malloc
from memtwin.libc.tunables import tunables_of
from memtwin.trace.schema import Op
from memtwin.verify.libc.script import parse_script
from memtwin.verify.libc.twin import processors, space_like


@dataclass
class Side:
    """What one side made of a column: the result and errno of each call, mallinfo's fields, texts, and its last words."""

    results: list[tuple[int, int]] = field(default_factory=list)
    values: list[list[int]] = field(default_factory=list)
    text: str = ""
    told: list[int] = field(default_factory=list)  # what the function that mcheck was given has been told
    signal: int = 0
    message: str = ""


class UnequalCall(Exception):
    """A call that the library made of itself gave another result in the twin."""


def play(
    name: str, script: str | npt.NDArray[Any], environment: Mapping[str, str] | None = None, check_every: int = 50
) -> tuple[Side, Side, Malloc]:
    """Host and twin after the column, and the twin's allocator. The twin's heap is validated every `check_every` calls."""
    if isinstance(script, str):
        parsed = parse_script(script)
        script, environment = parsed.operations, {**parsed.environment, **(environment or {})}
    column = script
    slots = slots_of(column)
    libc = find_libc(name)
    with Player(libc, column, slots, environment or {}) as player:
        malloc = twin_of(player, environment or {})
        while player.run() is not None:
            pass
        host = host_side(player)
        twin = perform(malloc, player.operations, slots, check_every, player.hidden)
    return host, twin, malloc


def slots_of(column: npt.NDArray[Any]) -> int:
    """One more than the highest slot that any operation names."""
    from memtwin.verify.libc.script import LibcScript

    return LibcScript(column).slots


def host_side(player: Player) -> Side:
    """What the player's log holds."""
    ending = player.ending
    assert ending is not None
    done = player.position
    entries = player.entries[:done].copy()
    entries["error"][np.isin(player.operations["op"][:done], (Op.THREAD_START, Op.THREAD_EXIT))] = 0
    values = player.values.reshape(-1, 10).tolist()
    text, last = player.text, ending.message if ending.signal == 6 else ""
    if last:
        text = text.rstrip("\n").removesuffix(last)
    told = [int(row["result"]) for row in player.hidden if row["op"] == Play.MCHECK]
    return Side([(int(e["result"]), int(e["error"])) for e in entries], values, text, told, ending.signal, last)


def twin_of(player: Player, environment: Mapping[str, str]) -> Malloc:
    """The allocator in an address space like the player's."""
    return Malloc(
        space_like(player),
        player.libc.release,
        tunables_of(environment, player.libc.release),
        player.libc.data_model,
        cpus=processors(player.libc.release),
        main_arena=player.main_arena(),
        mp=player.mp(),
    )


def perform(
    malloc: Malloc, column: npt.NDArray[Any], slots: int, check_every: int, hidden: npt.NDArray[Any] | None = None
) -> Side:
    """The twin's side. hidden: the calls that the real library made of itself, when threads begin and end."""
    side = Side()
    pointers = [0] * slots
    if hidden is not None:
        hidden = hidden[hidden["op"] != Play.MCHECK]
    for number, row in enumerate(column):
        malloc.errno = 0
        malloc.switch_thread(int(row["thread"]))
        if row["op"] in (Op.THREAD_START, Op.THREAD_EXIT):
            assert hidden is not None
            try:
                result = thread(malloc, row, hidden[hidden["at"] == number])
            except UnequalCall as unequal:
                side.message = str(unequal)
                return side
        else:
            result = one(malloc, row, pointers, side)
        if malloc.dead or malloc.space.stop_signal:
            side.signal = 6 if malloc.dead else malloc.space.stop_signal
            side.message = malloc.abort or ""
            return side
        side.results.append((result & malloc.word_mask, malloc.errno))
        if check_every and number % check_every == 0:
            validate_heap(malloc)
    return side


def thread(malloc: Malloc, row: Any, hidden: npt.NDArray[Any]) -> int:
    """A thread begins or ends, and the library allocates and frees for it."""
    number = int(row["thread"])
    mine = hidden["thread"] == number
    if row["op"] == Op.THREAD_START:
        malloc.thread_start(int(row["argument"]))
        library_calls(malloc, hidden[mine])
        return 0
    library_calls(malloc, hidden[mine])
    malloc.thread_exit(number)
    library_calls(malloc, hidden[~mine])
    return 0


def library_calls(malloc: Malloc, rows: npt.NDArray[Any]) -> None:
    """Calls that the library made of itself: they must give what they gave."""
    for row in rows:
        malloc.switch_thread(int(row["thread"]))
        op, size, argument, pointer = (int(row[name]) for name in ("op", "size", "argument", "pointer"))
        if op == Op.FREE:
            malloc.free(pointer)
            continue
        if op == Play.POKE:  # the library has written into its block
            store(malloc, pointer + size, argument)
            continue
        if op == Op.MALLOC:
            made = malloc.malloc(size)
        else:
            made = malloc.calloc(size, argument) if op == Op.CALLOC else malloc.realloc(pointer, size)
        if made != int(row["result"]) and not malloc.dead:
            raise UnequalCall(f"a call of the library's own: host {int(row['result']):#x}, twin {made:#x}")


def one(malloc: Malloc, row: Any, pointers: list[int], side: Side) -> int:
    """One operation, as host/player.c's perform has it."""
    op, slot = int(row["op"]), int(row["slot"])
    whole, argument, byte = int(row["size"]), int(row["argument"]), int(row["byte"])
    p = pointers[slot]
    size, signed = whole & malloc.word_mask, whole - (1 << 64) if whole >> 63 else whole
    other = (pointers[argument >> 32] + int32(argument)) & malloc.word_mask if op in (72, 71, 74) else 0
    if op in MAKERS:
        pointers[slot] = MAKERS[op](malloc, size, argument & malloc.word_mask)
        return pointers[slot]
    if op in (Op.REALLOC, Op.REALLOCARRAY):
        made = (
            malloc.realloc(p, size) if op == Op.REALLOC else malloc.reallocarray(p, size, argument & malloc.word_mask)
        )
        if made or size == 0 or (op == Op.REALLOCARRAY and argument == 0):
            pointers[slot] = made
        return int(made)
    if op == Op.FREE:
        if not byte:
            pointers[slot] = 0
        malloc.free(p)
    elif op == Op.MALLOC_TRIM:
        return int(malloc.malloc_trim(size))
    elif op == Op.MALLOPT:
        return int(malloc.mallopt(int32(argument >> 32), int32(argument))) & 0xFFFFFFFF
    elif op == Play.USABLE_SIZE:
        return int(malloc.malloc_usable_size(p))
    elif op in (Play.MALLINFO, Play.MALLINFO2):
        info = malloc.mallinfo() if op == Play.MALLINFO else malloc.mallinfo2()
        side.values.append([v & (0xFFFFFFFF if op == Play.MALLINFO else malloc.word_mask) for v in info.values()])
        return 10 * (len(side.values) - 1)
    elif op == Play.MALLOC_STATS:
        side.text += malloc.malloc_stats()
    elif op == Play.MALLOC_INFO:
        side.text += malloc.malloc_info(argument)
        return 22 if argument else 0
    elif op == Play.WRITE:
        usable = malloc.malloc_usable_size(p) if p else 0
        if argument < usable:
            malloc.space.write(p + argument, bytes([byte]) * min(size, usable - argument))
    elif op == Play.POKE:
        store(malloc, p + signed, argument)
    elif op == Play.POKE_POINTER:
        store(malloc, p + signed, other)
    elif op == Play.POKE_LINK:
        store(malloc, p + signed, ((p + signed) >> 12) ^ other)
    elif op == Play.PEEK:
        return int.from_bytes(malloc.space.read(p + signed, malloc.word), "little")
    elif op == Play.SET:
        pointers[slot] = other
        return other
    elif op == Play.MCHECK:
        return int(malloc.mcheck(side.told.append if byte & 2 else None, bool(byte & 1))) & 0xFFFFFFFF
    elif op == Play.MPROBE:
        return int(malloc.mprobe(p)) & 0xFFFFFFFF
    elif op == Play.CHECK_ALL:
        malloc.mcheck_check_all()
    else:
        return further(malloc, row, pointers)
    return 0


def store(malloc: Malloc, address: int, value: int) -> None:
    """The process writes a word."""
    malloc.space.write(address & malloc.word_mask, (value & malloc.word_mask).to_bytes(malloc.word, "little"))


def further(malloc: Malloc, row: Any, pointers: list[int]) -> int:
    """System calls of the program itself."""
    op, slot, size, argument = (int(row[name]) for name in ("op", "slot", "size", "argument"))
    space = malloc.space
    if op == Op.MMAP:
        made = space.sys_mmap(0, size, argument >> 32, argument & 0xFFFFFFFF, None, 0)
    elif op == Op.MUNMAP:
        return failing(malloc, space.sys_munmap(pointers[slot] + argument, size))
    elif op == Op.MPROTECT:
        return failing(malloc, space.sys_mprotect(pointers[slot] + (argument & (1 << 48) - 1), size, argument >> 48))
    elif op == Op.SBRK:
        made = malloc.program_sbrk(size - (1 << 64) if size >> 63 else size) or -1
    elif op == Play.LIMIT:
        return failing(malloc, 0)
    else:
        raise AssertionError(f"operation {op} is not for these tests")
    if failing(malloc, made) >= 0:
        pointers[slot] = made
        return int(made)
    return -1


def failing(malloc: Malloc, result: int) -> int:
    """A system call's result as the library returns it."""
    if -4096 < result < 0:
        malloc.errno = -result if result != -1 or malloc.errno == 0 else malloc.errno
        return -1
    return result


def int32(value: int) -> int:
    """The lower half of a word as C's int."""
    return (value + (1 << 31) & 0xFFFFFFFF) - (1 << 31)


MAKERS = {
    Op.MALLOC: lambda m, size, argument: m.malloc(size),
    Op.CALLOC: lambda m, size, argument: m.calloc(size, argument),
    Op.MEMALIGN: lambda m, size, argument: m.memalign(argument, size),
    Op.ALIGNED_ALLOC: lambda m, size, argument: m.aligned_alloc(argument, size),
    Op.POSIX_MEMALIGN: lambda m, size, argument: m.posix_memalign(argument, size),
    Op.VALLOC: lambda m, size, argument: m.valloc(size),
    Op.PVALLOC: lambda m, size, argument: m.pvalloc(size),
}


def same(host: Side, twin: Side) -> None:
    """Assert that both sides are equal in everything."""
    for number, (one_side, other) in enumerate(zip(host.results, twin.results, strict=False)):
        assert one_side == other, f"operation {number}: host {one_side}, twin {other}"
    assert (host.signal, host.message) == (twin.signal, twin.message)
    assert len(host.results) == len(twin.results)
    assert host.values == twin.values
    assert host.text == twin.text
    assert host.told == twin.told
