# SPDX-License-Identifier: LGPL-2.1-or-later
"""Questions made from a seed, whose answers the twin works out.

A question is a script of calls and something to ask about what it did; the same kind and seed give the same question
everywhere. Nothing is answered from a table: each answer is what the twin, which is held against the real machine, did.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from memtwin import script
from memtwin.abi.layout import lay_out
from memtwin.abi.order import best_order
from memtwin.abi.parse import parse_records
from memtwin.errors import UserError
from memtwin.kernel.frames import Frames
from memtwin.twin.machine import Machine
from memtwin.twin.process import Process

PAGE = 4096


@dataclass(frozen=True)
class Question:
    """A question. kind, seed: what it was made from; given: calls or a declaration; text: by language; answer: the
    answer; steps: how the twin came to it, a line a call."""

    kind: str
    seed: int
    given: str
    text: dict[str, str]
    answer: str
    steps: tuple[str, ...]


_Made = tuple[str, dict[str, str], str, tuple[str, ...]]


def question(kind: str, seed: int, glibc: str = "") -> Question:
    """The question of that kind and seed. glibc: release of the process in question, by default the newest known.

    UserError: there is no such kind or release.
    """
    if kind not in KINDS:
        raise UserError(f"there is no quiz {kind!r}: there are {', '.join(KINDS)}")
    return Question(kind, seed, *KINDS[kind](random.Random(f"{kind}:{seed}"), glibc))


def _play(lines: list[str], glibc: str) -> tuple[Process, list[script.Step], tuple[str, ...]]:
    """Play a script on a small machine: the process, its steps, and a line a step for people."""
    process = Machine(ram="16 MiB").spawn(glibc=glibc)
    steps, told = [], []
    for step in script.parse("\n".join(lines)).run(process):
        steps.append(step)
        faults = f"   {process.minflt} minor" if not step.process and process.minflt else ""
        result = step.error if step.error else script.show_value(step.result) if step.result is not None else "done"
        told.append(f"{step.text} -> {result}{faults}")
    return process, steps, tuple(told)


def _address(draw: random.Random, glibc: str) -> _Made:
    sizes = [draw.choice((24, 40, 100, 200, 500, 1000, 2000)) for _ in range(4)]
    lines = [f"p{i} = malloc({size})" for i, size in enumerate(sizes)]
    freed = draw.sample(range(1, 4), draw.randint(1, 2))
    lines += [f"free(p{i})" for i in freed]
    lines.append(f"q = malloc({draw.choice([*(sizes[i] for i in freed), draw.choice((24, 300, 900))])})")
    _, steps, told = _play(lines, glibc)
    text = {
        "en": "How many bytes above p0 does q lie?",
        "ko": "q는 p0보다 몇 바이트 위에 있는가?",
    }
    return "\n".join(lines), text, str(steps[-1].result - steps[0].result), told


def _fault_count(draw: random.Random, glibc: str) -> _Made:
    pages = draw.randint(3, 9)
    read, written = draw.randint(0, pages), draw.randint(1, pages)
    lines = [f"p = mmap(length={pages} * PAGE)"]
    if read:
        lines.append(f"x = read(p, {read} * PAGE)")
    lines.append(f"touch(p, {written} * PAGE)")
    if draw.random() < 0.6:
        lines += ["child = fork()", f"touch(p, {draw.randint(1, written)} * PAGE)"]
    minor = 0
    process = Machine(ram="16 MiB").spawn(glibc=glibc)
    told = []
    for step in script.parse("\n".join(lines)).run(process):
        minor += process.minflt
        told.append(f"{step.text}   {process.minflt} minor")
    text = {
        "en": "How many minor faults does the first process have in all?",
        "ko": "첫 프로세스의 마이너 폴트는 모두 몇 번인가?",
    }
    return "\n".join(lines), text, str(minor), tuple(told)


def _fault_code(draw: random.Random, glibc: str) -> _Made:
    where = draw.choice(("p", "p - PAGE", "p + PAGE"))
    lines = ["p = mmap(length=2 * PAGE)", "mprotect(p, PAGE, PROT_READ)", f'write({where}, "x")']
    _, steps, told = _play(lines, glibc)
    error = steps[-1].error
    code = getattr(error, "code", 0)
    text = {
        "en": "What is the signal's si_code: 1 (no mapping there), 2 (the mapping does not allow it), 0 for no signal?",
        "ko": "신호의 si_code는 무엇인가: 1(매핑 없음), 2(매핑이 허락하지 않음), 신호가 없으면 0?",
    }
    return "\n".join(lines), text, str(code), told


def _usable(draw: random.Random, glibc: str) -> _Made:
    size = draw.randint(1, 1200)
    lines = [f"p = malloc({size})", "n = malloc_usable_size(p)"]
    _, steps, told = _play(lines, glibc)
    text = {"en": "What is n?", "ko": "n은 얼마인가?"}
    return "\n".join(lines), text, str(steps[-1].result), told


def _page_count(draw: random.Random, glibc: str) -> _Made:
    size, length = draw.choice((4096, 8192, 16384, 65536)), draw.randint(1, 1 << 20)
    process = Machine(ram="128 MiB", page_size=size).spawn(glibc=glibc)
    start = process.mmap(length=length)
    process.touch(start, length)
    answer = process.minflt
    text = {
        "en": f"Pages have {size} bytes. A program maps {length} bytes and writes them all: how many are resident?",
        "ko": f"페이지는 {size}바이트다. {length}바이트를 매핑해 모두 쓴다. 상주하는 페이지는 몇 개인가?",
    }
    return f"p = mmap(length={length})\ntouch(p, {length})", text, str(answer), (f"ceil({length} / {size}) = {answer}",)


def _mallinfo(draw: random.Random, glibc: str) -> _Made:
    sizes = [draw.choice((16, 100, 1000, 1500, 5000)) for _ in range(draw.randint(2, 4))]
    lines = [f"p{i} = malloc({size})" for i, size in enumerate(sizes)]
    lines.append(f"free(p{draw.randrange(len(sizes))})")
    process, _, told = _play(lines, glibc)
    text = {
        "en": "What is mallinfo2().uordblks: bytes in chunks that malloc counts as used, headers and caches included?",
        "ko": "mallinfo2().uordblks는 얼마인가: 헤더와 캐시까지 포함해 malloc이 쓰는 중으로 세는 바이트?",
    }
    return "\n".join(lines), text, str(process.mallinfo2()["uordblks"]), told


def _region(draw: random.Random, glibc: str) -> _Made:
    calls = {
        "[heap]": f"p = malloc({draw.randint(1, 100_000)})",
        "mapping": draw.choice((f"p = malloc({draw.randint(140_000, 900_000)})", "p = mmap(length=3 * PAGE)")),
    }
    line = calls[draw.choice(sorted(calls))]
    process, steps, told = _play([line], glibc)
    heap = process.space.brk_start <= steps[-1].result < process.space.brk_end
    text = {
        "en": "Does p point into the heap, or into a mapping of its own? Answer heap or mapping.",
        "ko": "p는 힙을 가리키는가, 자기만의 매핑을 가리키는가? heap 또는 mapping으로 답하라.",
    }
    return line, text, "heap" if heap else "mapping", told


def _layout(draw: random.Random, glibc: str) -> _Made:
    kinds = draw.sample(
        ("char a", "short b", "int c", "double d", "char *e", "long f", "char g[3]"), draw.randint(3, 5)
    )
    declaration = f"struct s {{ {'; '.join(kinds)}; }};"
    (record,) = parse_records(declaration)
    layout, best = lay_out(record), best_order(record)
    text = {
        "en": "How many bytes has the struct on x86-64, and how many in the best order of its members? Answer as A B.",
        "ko": "이 구조체는 x86-64에서 몇 바이트이며, 멤버를 가장 좋은 순서로 놓으면 몇 바이트인가? A B로 답하라.",
    }
    steps = tuple(f"{place.member.declared}: offset {place.offset}" for place in layout.places)
    return declaration, text, f"{layout.size} {best.layout.size}", steps


def _buddy(draw: random.Random, glibc: str) -> _Made:
    frames = Frames(8 << 20, 12)
    orders = [draw.randint(0, 4) for _ in range(draw.randint(3, 5))]
    for order in range(9, -1, -1):
        frames.alloc(order)  # frame 0 is taken, and now what is left of its block; the next block is whole
    told = [f"2**{order} frames: the block at frame {frames.alloc(order) - 1024}" for order in orders]
    answer = told[-1].rpartition(" ")[2]
    text = {
        "en": "A buddy allocator has one free block of 1024 frames, from frame 0. It gives blocks of these orders in "
        "turn, smallest fitting block first, the lower half of a split. At which frame does the last one begin?",
        "ko": "버디 할당자에 프레임 0부터 1024프레임짜리 빈 블록 하나가 있다. 이 차수들의 블록을 차례로, "
        "맞는 가장 작은 블록에서, 나눌 때는 아래 절반을 준다. 마지막 블록은 어느 프레임에서 시작하는가?",
    }
    return "orders " + ", ".join(map(str, orders)), text, answer, tuple(told)


KINDS: dict[str, Callable[[random.Random, str], _Made]] = {
    "address": _address,
    "buddy": _buddy,
    "fault-code": _fault_code,
    "fault-count": _fault_count,
    "layout": _layout,
    "mallinfo": _mallinfo,
    "page-count": _page_count,
    "region": _region,
    "usable": _usable,
}
