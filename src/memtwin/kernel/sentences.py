# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's events in words: a sentence for each kind that says what happened and why, in English and Korean.

In braces stand the event's fields, and `what`, `span`, `count`, `others` and `why`, which `explain` works out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from memtwin.kernel.observe import Event


class Kind(NamedTuple):
    """What an event is: its kind, and a sentence about it; another for several pages, where that reads otherwise."""

    kind: str
    one: str
    many: str = ""


# by number (flags.py, EVENT_*)
KINDS = {
    1: Kind("zero page", "first read of {what}: mapped to the page of zeros that all processes share"),
    2: Kind("demand zero", "first write to {what}: frame {frame} of zeros",
            "first write to {what}: {count} frames of zeros"),
    3: Kind("copy", "write to a shared page: frame {old_frame} copied to {frame}, because {others}",
            "writes to {what}, which are shared: their frames are copied, because {others}"),
    4: Kind("replace zero", "first write to {what}, until now the page of zeros: frame {frame} of zeros",
            "first write to {what}, until now the page of zeros: {count} frames of zeros"),
    5: Kind("reuse", "write to a page that was shared: frame {frame} is kept, because nobody else maps it any more",
            "writes to {what}, which were shared: their frames are kept, because nobody else maps them any more"),
    6: Kind("file", "access to {what} of a file: found in the page cache, frame {frame}",
            "access to {what} of a file: found in the page cache"),
    7: Kind("file read", "access to {what} of a file, not in memory yet: read from disk into frame {frame}",
            "access to {what} of a file, not in memory yet: read from disk"),
    8: Kind("file copy", "write to private page {start:#x} of a file: frame {old_frame} of the page cache copied to "
            "{frame}, because the file must not change",
            "writes to {what} of a file, private: copied from the page cache, because the file must not change"),
    9: Kind("swap in", "access to {what}, which was in swap slot {old_frame}: read into frame {frame}",
            "access to {what}, which were swapped out: read from swap"),
    10: Kind("swap out", "{what} leaves frame {frame} for swap slot {old_frame}: memory is short, or the program asked",
             "{what} go to swap: memory is short, or the program asked for it"),
    11: Kind("drop", "{what} leaves frame {frame}: memory is short, and its bytes are on disk",
             "{what} leave memory: it is short, and their bytes are on disk"),
    12: Kind("huge", "first access to {span}: a huge page, frames from {frame} on"),
    13: Kind("split huge", "the huge page at {start:#x} is split into small ones"),
    14: Kind("map", "{span} mapped; its pages get frames when they are first touched"),
    15: Kind("unmap", "{span} unmapped; frames that nobody else maps are free"),
    16: Kind("split", "the mapping is split at {start:#x}: its parts are to differ"),
    17: Kind("merge", "{span} merges with its neighbour: nothing distinguishes them"),
    18: Kind("protect", "{span}: other accesses are allowed from now on"),
    19: Kind("brk", "the program break moves from {start:#x} to {end:#x}"),
    20: Kind("stack", "an access below the stack: it grows down to {start:#x}"),
    21: Kind("fork", "process {space} forks: it shares its private pages with process {old_frame} until one of them "
             "writes"),
    22: Kind("exit", "process {space} gives all its memory back"),
    23: Kind("kill", "the OOM killer ends process {space}: no frame is left, and it has the most"),
    24: Kind("signal", "access to {start:#x}: {why}"),
    25: Kind("move", "{span} moves to {frame:#x}: the page table changes, and no byte is copied"),
    26: Kind("discard", "the program gives the contents of {span} back: the frames are free, the mapping stays"),
}  # fmt: skip

_KOREAN = {
    1: ("{what} 첫 읽기: 모든 프로세스가 함께 쓰는 0 페이지로 매핑", ""),
    2: ("{what} 첫 쓰기: 0으로 채운 프레임 {frame}", "{what} 첫 쓰기: 0으로 채운 프레임 {count}개"),
    3: ("공유 페이지에 쓰기: 프레임 {old_frame}을(를) {frame}(으)로 복사, 까닭: {others}",
        "공유하던 {what}에 쓰기: 프레임을 복사, 까닭: {others}"),
    4: ("지금까지 0 페이지였던 {what} 첫 쓰기: 0으로 채운 프레임 {frame}",
        "지금까지 0 페이지였던 {what} 첫 쓰기: 0으로 채운 프레임 {count}개"),
    5: ("공유하던 페이지에 쓰기: 이제 아무도 매핑하지 않으므로 프레임 {frame}을(를) 그대로 쓴다",
        "공유하던 {what}에 쓰기: 이제 아무도 매핑하지 않으므로 프레임을 그대로 쓴다"),
    6: ("파일의 {what} 접근: 페이지 캐시에서 찾음, 프레임 {frame}", "파일의 {what} 접근: 페이지 캐시에서 찾음"),
    7: ("아직 메모리에 없던 파일의 {what} 접근: 디스크에서 프레임 {frame}(으)로 읽음",
        "아직 메모리에 없던 파일의 {what} 접근: 디스크에서 읽음"),
    8: ("파일의 사적 페이지 {start:#x}에 쓰기: 파일이 바뀌면 안 되므로 페이지 캐시의 프레임 {old_frame}을(를) "
        "{frame}(으)로 복사", "파일의 사적 {what}에 쓰기: 파일이 바뀌면 안 되므로 페이지 캐시에서 복사"),
    9: ("스왑 자리 {old_frame}에 있던 {what} 접근: 프레임 {frame}(으)로 읽음",
        "스왑에 나가 있던 {what} 접근: 스왑에서 읽음"),
    10: ("{what}이(가) 프레임 {frame}에서 스왑 자리 {old_frame}(으)로 나감: 메모리가 모자라거나 프로그램이 청했다",
         "{what}이(가) 스왑으로 나감: 메모리가 모자라거나 프로그램이 청했다"),
    11: ("{what}이(가) 프레임 {frame}을(를) 떠남: 메모리가 모자라고, 바이트는 디스크에 있다",
         "{what}이(가) 메모리를 떠남: 메모리가 모자라고, 바이트는 디스크에 있다"),
    12: ("{span} 첫 접근: 거대 페이지, 프레임 {frame}부터", ""),
    13: ("{start:#x}의 거대 페이지가 작은 페이지로 나뉨", ""),
    14: ("{span} 매핑: 페이지는 처음 건드릴 때 프레임을 받는다", ""),
    15: ("{span} 매핑 해제: 다른 이가 매핑하지 않는 프레임은 빈다", ""),
    16: ("매핑이 {start:#x}에서 나뉨: 두 쪽이 달라져야 한다", ""),
    17: ("{span}이(가) 이웃 매핑과 합쳐짐: 둘을 구별할 것이 없다", ""),
    18: ("{span}: 이제부터 허용되는 접근이 다르다", ""),
    19: ("프로그램 브레이크가 {start:#x}에서 {end:#x}(으)로 옮겨 감", ""),
    20: ("스택 아래 접근: 스택이 {start:#x}까지 내려와 자람", ""),
    21: ("프로세스 {space}의 fork: 둘 중 하나가 쓸 때까지 사적 페이지를 프로세스 {old_frame}과(와) 함께 쓴다", ""),
    22: ("프로세스 {space}이(가) 메모리를 모두 돌려줌", ""),
    23: ("OOM 킬러가 프로세스 {space}을(를) 끝냄: 남은 프레임이 없고, 가장 많이 가졌다", ""),
    24: ("{start:#x} 접근: {why}", ""),
    25: ("{span}이(가) {frame:#x}(으)로 옮겨 감: 페이지 테이블만 바뀌고 복사되는 바이트는 없다", ""),
    26: ("프로그램이 {span}의 내용을 돌려줌: 프레임은 비고 매핑은 남는다", ""),
}  # fmt: skip

_WHY = {
    "en": {(11, 1): "nothing is mapped there (SIGSEGV, code 1)",
           (11, 2): "the mapping does not allow it (SIGSEGV, code 2)",
           (11, 4): "its protection key allows execution only (SIGSEGV, code 4)",
           (7, 2): "the file ends before that page, or the pool has no huge page for it (SIGBUS)",
           (9, 0): "no frame is free (SIGKILL)"},
    "ko": {(11, 4): "보호 키가 실행만 허락한다 (SIGSEGV, 코드 4)",
           (11, 1): "거기에는 매핑이 없다 (SIGSEGV, 코드 1)", (11, 2): "매핑이 허락하지 않는다 (SIGSEGV, 코드 2)",
           (7, 2): "파일이 그 페이지 앞에서 끝나거나, 예약해 둔 거대 페이지가 없다 (SIGBUS)",
           (9, 0): "빈 프레임이 없다 (SIGKILL)"},
}  # fmt: skip


def explain(event: Event, language: str = "en") -> str:
    """One sentence for a person: what happened and why. language: "en" or "ko"."""
    pages = max((event.end - event.start) // event.page_size, 1)
    one, many = KINDS[event.code][1:] if language == "en" else _KOREAN[event.code]
    reasons = _WHY[language]
    fields = {
        **event._asdict(),
        "what": _pages(event.start, pages, language),
        "span": f"{event.start:#x}-{event.end:#x}",
        "count": pages,
        "others": _others(event.others, language),
        "why": reasons.get((event.frame, event.old_frame), f"signal {event.frame}, code {event.old_frame}"),
    }
    return (many if many and pages > 1 else one).format(**fields)


def _pages(start: int, count: int, language: str) -> str:
    if language == "ko":
        return f"페이지 {start:#x}" if count == 1 else f"{start:#x}부터 {count}페이지"
    return f"page {start:#x}" if count == 1 else f"{count} pages from {start:#x}"


def _others(numbers: tuple[int, ...], language: str) -> str:
    if language == "ko":
        return f"프로세스 {', '.join(map(str, numbers))}도 매핑한다" if numbers else "이 매핑만의 것이 아니다"
    if not numbers:
        return "it is not this mapping's alone"
    if len(numbers) == 1:
        return f"process {numbers[0]} also maps it"
    return f"processes {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} also map it"
