# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written on pictures, in Korean; English stands where it is written (memtwin.languages)."""

from __future__ import annotations

from memtwin.languages import Tell

KOREAN: dict[str, str] = {
    # address space, regions, break
    "Address space of process {pid}": "프로세스 {pid}의 주소 공간",
    "Regions of process {pid}": "프로세스 {pid}의 영역",
    "{kind} from {start:#x} to {end:#x} {rights}": "{kind} {start:#x}부터 {end:#x}까지 {rights}",
    "nothing mapped: {size}": "매핑 없음: {size}",
    "{count} mappings": "매핑 {count}개",
    "{size}, {count} page in memory": "{size}, 메모리에 {count}페이지",
    "{size}, {count} pages in memory": "{size}, 메모리에 {count}페이지",
    "{size} mapped": "{size} 매핑됨",
    "{size} in memory": "{size}가 메모리에 있음",
    "{part} of {size}": "{size} 가운데 {part}",
    "text": "텍스트",
    "constants": "상수",
    "data": "데이터",
    "bss": "bss",
    "heap": "힙",
    "mapping": "매핑",
    "library": "라이브러리",
    "stack": "스택",
    "the kernel's": "커널의 것",
    "the program's file: code and string constants": "프로그램 파일: 코드와 문자열 상수",
    "the program's file: constants": "프로그램 파일: 상수",
    "the program's file, copied on write: variables with a value": "프로그램 파일, 쓸 때 복사: 값이 있는 변수",
    "zero pages: variables without a value, nothing in the file": "0 페이지: 값이 없는 변수, 파일에는 없음",
    "zero pages, up to the break": "0 페이지, 브레이크까지",
    "zero pages, grows down by itself": "0 페이지, 저절로 아래로 자람",
    "mmap": "mmap",
    "the library's file": "라이브러리 파일",
    "the kernel": "커널",
    "The break of process {pid}": "프로세스 {pid}의 브레이크",
    "The heap begins at {start:#x}; the break is at {end:#x}":
        "힙은 {start:#x}에서 시작하고 브레이크는 {end:#x}에 있다",
    "; it was at {at:#x}": "; 전에는 {at:#x}에 있었다",
    "it was {at:#x}": "전에는 {at:#x}",
    "start {at:#x}": "시작 {at:#x}",
    "break {at:#x}": "브레이크 {at:#x}",
    "break": "브레이크",
    "new": "새로 생김",
    "given back": "돌려줌",
    # pages, frames, swap
    "Pages and frames": "페이지와 프레임",
    "Pages of processes {first} and {second}": "프로세스 {first}과(와) {second}의 페이지",
    "; {count} more are touched": "; 건드린 페이지가 {count}개 더 있음",
    "Copy on write: before and after": "쓸 때 복사: 전과 후",
    "process {pid}": "프로세스 {pid}",
    "process {pid} at {address:#x}": "프로세스 {pid}의 {address:#x}",
    ", dirty": ", 더러움",
    "absent": "없음",
    "zero page": "0 페이지",
    "own frame": "자기 프레임",
    "file": "파일",
    "shared": "공유",
    "on disk": "디스크에",
    "frame {number}": "프레임 {number}",
    "slot {number}": "자리 {number}",
    "disk slot {number}": "디스크 자리 {number}",
    "Paging between RAM and disk": "RAM과 디스크 사이의 페이징",
    "{here} pages in RAM, {there} on the disk": "RAM에 {here}페이지, 디스크에 {there}페이지",
    "RAM: {count} of these pages": "RAM: 이 페이지 가운데 {count}개",
    "Disk: {used} of {total} slots in use": "디스크: 자리 {total}개 가운데 {used}개 사용",
    "{count} in": "{count}개 들어옴",
    "{count} out": "{count}개 나감",
    "{count} of the {total} pages have never been touched, or are zero.":
        "{total}페이지 가운데 {count}개는 건드린 적이 없거나 0이다.",
    "page {address:#x} in slot {number}": "페이지 {address:#x}, 자리 {number}",
    "page {address:#x} in frame {number}": "페이지 {address:#x}, 프레임 {number}",
    "{used} of {total} frames in use": "프레임 {total}개 가운데 {used}개 사용",
    "frame {number}: {kind}, {count} references": "프레임 {number}: {kind}, 참조 {count}",
    "{free} of {total} frames are free; of the first {count}: {kinds}":
        "프레임 {total}개 가운데 {free}개가 비어 있다. 처음 {count}개는 {kinds}",
    "{count} {kind}": "{kind} {count}",
    "none": "없음",
    "free": "빈 것",
    "anonymous": "익명",
    "page table": "페이지 테이블",
    "kernel": "커널",
    "Swap: {used} of {total} slots in use": "스왑: 자리 {total}개 가운데 {used}개 사용",
    "Swap: the machine has none": "스왑: 이 기계에는 없다",
    "slot {number}: {owner}": "자리 {number}: {owner}",
    "in use": "쓰는 중",
    # heap
    "Heap of the {arena} arena, {size}": "{arena} 아레나의 힙, {size}",
    ", {shown} of its {count} chunks": ", 청크 {count}개 가운데 {shown}개",
    "Free lists of the {arena} arena": "{arena} 아레나의 빈 목록",
    ", {shown} of {count}": ", {count}개 가운데 {shown}개",
    "main": "main",
    "thread {number}": "스레드 {number}",
    "{list} of thread {number}": "{list}, 스레드 {number}",
    "{kind} up to {size}": "{kind} {size}까지",
    "The heap is empty: nothing was allocated yet.": "힙이 비어 있다. 아직 아무것도 할당하지 않았다.",
    "All free lists are empty.": "빈 목록이 모두 비어 있다.",
    "{name}: {count} chunks": "{name}: 청크 {count}개",
    "chunk {address:#x}, {size} bytes, {state}": "청크 {address:#x}, {size}바이트, {state}",
    "chunk {address:#x} on {list}": "청크 {address:#x}, 목록 {list}",
    " on {list}": ", 목록 {list}",
    "and {count} more": "그 밖에 {count}개",
    "to scale: {size} from {address:#x} on": "실제 비율: {address:#x}부터 {size}",
    "header": "헤더",
    "header of {address:#x}": "{address:#x}의 헤더",
    "cached (tcache)": "캐시됨 (tcache)",
    "fast bin": "패스트 빈",
    "top": "꼭대기",
    "own mapping": "자기 매핑",
    "fence": "울타리",
    # buddy
    "Buddy allocator: {free} of {total} frames free": "버디 할당자: 프레임 {total}개 가운데 {free}개가 빔",
    "; the rows show frames {first} to {last}": "; 줄은 프레임 {first}부터 {last}까지를 보인다",
    "order {order}: {count}": "차수 {order}: {count}",
    "free blocks": "빈 블록",
    "free block": "빈 블록",
    "{count} frame": "{count}프레임",
    "{count} frames": "{count}프레임",
    "frames {first} to {last} were free": "프레임 {first}부터 {last}까지 비어 있었다",
    "frames {first} to {last} free: order {order}": "프레임 {first}부터 {last}까지 빔: 차수 {order}",
    "free from frame {frame}, order {order}": "프레임 {frame}부터 빔, 차수 {order}",
    "memory": "메모리",
    # bytes, structures
    "Page, word, byte, bit at {address:#x}": "{address:#x}의 페이지, 워드, 바이트, 비트",
    "The bytes {bytes} at {address:#x}": "{address:#x}의 바이트 {bytes}",
    "the page {page:#x} of {size} bytes": "{size}바이트인 페이지 {page:#x}",
    "the word at {address:#x}": "{address:#x}의 워드",
    "page {page:#x}: {size} bytes, {words} words": "페이지 {page:#x}: {size}바이트, 워드 {words}개",
    "byte {place} at {address:#x}: {value}": "{address:#x}의 바이트 {place}: {value}",
    "word {value:#x}: {count} bytes, the lowest first": "워드 {value:#x}: {count}바이트, 가장 낮은 것부터",
    "bit {number}": "비트 {number}",
    "byte {value:#04x} = {value}: 8 bits, the highest first": "바이트 {value:#04x} = {value}: 8비트, 가장 높은 것부터",
    "{name}: {size} bytes, {padding} of them padding, alignment {alignment}":
        "{name}: {size}바이트, 그 가운데 패딩 {padding}, 정렬 {alignment}",
    "{size} bytes of padding at {offset}": "{offset}에 패딩 {size}바이트",
    "{member}: {size} bytes at {offset}": "{member}: {offset}에 {size}바이트",
    "{member}: {count} bits from bit {first} on": "{member}: 비트 {first}부터 {count}비트",
    "{what} at {offset}": "{offset}에 {what}",
    "padding: {holes}": "패딩: {holes}",
    "a member": "멤버",
    "the next": "다음 멤버",
    "padding": "패딩",
    "a line every {count} bytes: the cache lines": "{count}바이트마다 그은 줄: 캐시 라인",
    # translation
    "Translating {address:#x}": "{address:#x} 변환",
    "bits {high} to {low}": "비트 {high}부터 {low}까지",
    "{count} bits": "{count}비트",
    "{level} index {index}": "{level} 인덱스 {index}",
    "entry {entry}": "엔트리 {entry}",
    "not present": "없음",
    "offset {at:#x}": "오프셋 {at:#x}",
    "page fault": "페이지 폴트",
    "{steps} leads to no frame: an access is a page fault.": "{steps}: 프레임에 이르지 않는다. 접근은 페이지 폴트다.",
    "{steps} leads to frame {frame}, byte {at}.": "{steps}: 프레임 {frame}의 바이트 {at}에 이른다.",
    "TLB: {hits} hits, {misses} misses": "TLB: 적중 {hits}, 실패 {misses}",
    " ({share:.0f} % hits)": " (적중 {share:.0f} %)",
    "set {number}": "세트 {number}",
    "empty": "빔",
    # over time
    "Memory over time": "시간에 따른 메모리",
    "{name}: at most {size}": "{name}: 많아야 {size}",
    "{count} events": "이벤트 {count}개",
    "step {number}": "걸음 {number}",
    "step {number}: {sentence}": "걸음 {number}: {sentence}",
    "Nothing has happened yet.": "아직 아무 일도 일어나지 않았다.",
    "events": "이벤트",
    "seconds": "초",
    # kinds of events (kernel/sentences.py, KINDS)
    "demand zero": "요구 0 페이지",
    "copy": "복사",
    "replace zero": "0 페이지 대체",
    "reuse": "그대로 씀",
    "file read": "파일 읽기",
    "file copy": "파일 복사",
    "swap in": "스왑 들이기",
    "swap out": "스왑 내보내기",
    "drop": "버림",
    "huge": "거대 페이지",
    "split huge": "거대 페이지 나눔",
    "map": "매핑함",
    "unmap": "매핑 해제",
    "split": "나눔",
    "merge": "합침",
    "protect": "보호",
    "brk": "brk",
    "fork": "fork",
    "exit": "exit",
    "kill": "끝냄",
    "signal": "시그널",
    "move": "옮김",
    "discard": "내용 버림",
}  # fmt: skip


def in_language(language: str) -> Tell:
    """Says what stands on a picture. UserError: an unknown language."""
    return Tell(KOREAN, language)


def place_of(owner: tuple[int, int], tell: Tell) -> str:
    """Where a page is mapped: owner: (pid, address)."""
    return tell("process {pid} at {address:#x}", pid=owner[0], address=owner[1])


def arena_name(name: str, tell: Tell) -> str:
    """An arena's name: the main one, or a thread's."""
    main, thread, number = name.partition("thread ")
    return tell("thread {number}", number=number) if thread and not main else tell.known(name)


def list_name(name: str, tell: Tell) -> str:
    """A free list's name as glibc has it; words around it in the reader's language."""
    bare, of, thread = name.partition(" of thread ")
    kind, up_to, size = bare.partition(" up to ")
    bare = tell("{kind} up to {size}", kind=kind, size=size) if up_to else bare
    return tell("{list} of thread {number}", list=bare, number=thread) if of else bare
