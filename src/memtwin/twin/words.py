# SPDX-License-Identifier: LGPL-2.1-or-later
"""What explanations say, in Korean; English stands where it is said (twin/explain.py, memtwin.languages)."""

from __future__ import annotations

KOREAN: dict[str, str] = {
    "{address:#x} lies in {region} ({start:#x}-{end:#x}, {rights}, {size}).":
        "{address:#x}의 자리는 {region} ({start:#x}-{end:#x}, {rights}, {size}).",
    "the program's code, mapped from its file and never written": "프로그램의 코드, 파일에서 매핑되어 쓰이지 않는다",
    "the program's constants, mapped from its file and never written":
        "프로그램의 상수, 파일에서 매핑되어 쓰이지 않는다",
    "the program's variables that begin with a value: its file's pages, copied at the first write":
        "값을 가지고 시작하는 프로그램의 변수: 파일의 페이지이고 첫 쓰기 때 복사된다",
    "variables that begin as zero: they take no room in the file":
        "0으로 시작하는 변수: 파일에서 자리를 차지하지 않는다",
    "the heap, which ends at the break: malloc moves it up when the top is used up":
        "힙, 브레이크에서 끝난다: 꼭대기를 다 쓰면 malloc이 위로 옮긴다",
    "the stack, which grows down by itself as the program uses it":
        "스택, 프로그램이 쓰는 대로 저절로 아래로 자란다",
    "memory from mmap, outside the heap": "mmap으로 받은, 힙 밖의 메모리",
    "a library's file": "라이브러리 파일",
    "the kernel's own, the same in every process": "커널의 것, 모든 프로세스에서 같다",
    "text": "텍스트",
    "rodata": "상수",
    "data": "데이터",
    "bss": "bss",
    "heap": "힙",
    "stack": "스택",
    "mapping": "매핑",
    "library": "라이브러리",
    "kernel": "커널",
    "{size} above the end of {name}": "{name}의 끝에서 {size} 위",
    "{size} below {name}": "{name}에서 {size} 아래",
    " and ": ", ",
    "{address:#x}: nothing is mapped there, {where}; an access is a segmentation fault (code 1, no mapping).":
        "{address:#x}: 거기에는 매핑이 없다 ({where}). 접근은 세그멘테이션 폴트다 (코드 1, 매핑 없음).",
    " The break is at {at:#x}: the heap ends there.": " 브레이크는 {at:#x}에 있다: 힙은 거기서 끝난다.",
    "{address:#x} is no address: the processor translates {bits} bits, and the ones above must all be equal to the "
    "highest of these. An access is a segmentation fault (code 128), which reports the address 0.":
        "{address:#x}는 주소가 아니다: 프로세서는 {bits}비트를 변환하고, 그 위의 비트는 모두 그 가장 높은 비트와 "
        "같아야 한다. 접근은 세그멘테이션 폴트이고 (코드 128), 주소로는 0을 알린다.",
    "{address:#x} is the kernel's: a program's addresses end at {end:#x}. An access is a segmentation fault (code 1, "
    "no mapping).":
        "{address:#x}는 커널의 것이다: 프로그램의 주소는 {end:#x}에서 끝난다. "
        "접근은 세그멘테이션 폴트다 (코드 1, 매핑 없음).",
    "{address:#x}: nothing is mapped there yet, {size} below the stack at {start:#x}, which grows down to an access by "
    "itself: a page fault (a frame of zeros), no signal.":
        "{address:#x}: 아직 매핑이 없다. {start:#x}의 스택에서 {size} 아래이고, 스택은 접근이 있으면 저절로 거기까지 "
        "자란다: 페이지 폴트이고 (0으로 채운 프레임) 신호는 없다.",
    "{address:#x}: nothing is mapped there, {size} below the stack at {start:#x}, which may not grow so far: "
    "RLIMIT_STACK is {limit}. An access is a segmentation fault (code 1, no mapping).":
        "{address:#x}: 거기에는 매핑이 없다. {start:#x}의 스택에서 {size} 아래이고, RLIMIT_STACK이 {limit}라서 스택이 "
        "거기까지 자랄 수 없다. 접근은 세그멘테이션 폴트다 (코드 1, 매핑 없음).",
    "{address:#x}: nothing is mapped there, {size} below the stack at {start:#x}, which keeps {gap} free to the "
    "mapping below it. An access is a segmentation fault (code 1, no mapping).":
        "{address:#x}: 거기에는 매핑이 없다. {start:#x}의 스택에서 {size} 아래이고, 스택은 그 아래 매핑과 {gap}를 비워 "
        "둔다. 접근은 세그멘테이션 폴트다 (코드 1, 매핑 없음).",
    "in an empty address space": "빈 주소 공간",
    "A guard page (MADV_GUARD_INSTALL): each access is a segmentation fault (code 1), though the region would allow "
    "it.":
        "보호 페이지다 (MADV_GUARD_INSTALL): 영역이 허락하더라도 모든 접근이 세그멘테이션 폴트다 (코드 1).",
    "It may only be executed: its protection key makes each load and store a segmentation fault (code 4).":
        "실행만 할 수 있다: 보호 키 때문에 읽기와 쓰기는 모두 세그멘테이션 폴트다 (코드 4).",
    "The file ends before that page: an access is a bus error (SIGBUS, code 2).":
        "파일이 그 페이지 앞에서 끝난다: 접근은 버스 오류다 (SIGBUS, 코드 2).",
    "A write is a segmentation fault (code 2): the region is read-only.":
        "쓰기는 세그멘테이션 폴트다 (코드 2): 읽기 전용 영역이다.",
    "One entry maps the huge page of {size} at {start:#x}.": "한 항목이 {start:#x}의 거대 페이지 {size}를 매핑한다.",
    "No access is allowed: each is a segmentation fault (code 2, the mapping does not allow it).":
        "어떤 접근도 허락되지 않는다: 모두 세그멘테이션 폴트다 (코드 2, 매핑이 허락하지 않는다).",
    "found in the file": "파일에서 찾는다",
    "a frame of zeros": "0으로 채운 프레임",
    "Its page {address:#x} is not in memory, because nothing has touched it: the next access is a page fault ({how}).":
        "그 페이지 {address:#x}는 아무도 건드리지 않아 메모리에 없다: 다음 접근은 페이지 폴트다 ({how}).",
    "Its page was only read so far: it is the page of zeros that all processes share, and a write will get a frame of "
    "its own.": "그 페이지는 지금까지 읽기만 했다: 모든 프로세스가 함께 쓰는 0 페이지이고, 쓰면 자기 프레임을 받는다.",
    " It is mapped read-only for now: a write is a fault that may keep the frame.":
        " 지금은 읽기 전용으로 매핑되어 있다: 쓰기는 폴트이고, 프레임은 그대로일 수 있다.",
    "Its page lies in frame {frame}, this process's own because it was written.":
        "그 페이지는 프레임 {frame}에 있고, 쓴 것이므로 이 프로세스만의 것이다.",
    "Its page lies in frame {frame} of the page cache, which belongs to the file.":
        "그 페이지는 페이지 캐시의 프레임 {frame}에 있고, 파일의 것이다.",
    "process {pid}": "프로세스 {pid}",
    "another mapping": "다른 매핑",
    "Its page lies in frame {frame}, which {who} maps too: a write is seen there.":
        "그 페이지는 프레임 {frame}에 있고, {who}도 매핑한다: 쓰면 거기서도 보인다.",
    "Its page lies in frame {frame}, which {who} maps too.": "그 페이지는 프레임 {frame}에 있고, {who}도 매핑한다.",
    "Its page lies in frame {frame}, which {who} maps too, and a write copies the page first.":
        "그 페이지는 프레임 {frame}에 있고, {who}도 매핑한다. 쓰면 먼저 페이지가 복사된다.",
    "Its page lies in swap slot {slot}, where it was paged out to: the next access is a major fault.":
        "그 페이지는 내보내져 스왑 자리 {slot}에 있다: 다음 접근은 메이저 폴트다.",
    "It is {part}: the chunk at {chunk:#x} of {size} bytes has a mapping of its own, because it is not smaller than "
    "glibc's threshold; free gives it back at once.":
        "{part}: {chunk:#x}의 {size}바이트 청크는 glibc의 문턱보다 작지 않아 자기만의 매핑을 가졌다. free하면 바로 "
        "돌려준다.",
    "It lies in the top of the {arena} arena, {size} bytes that no block was cut from yet.":
        "{arena} 아레나의 꼭대기에 있다: 아직 블록을 잘라 내지 않은 {size}바이트다.",
    "in use": "쓰는 중",
    "in use by glibc itself: a thread's tcache, made when it first needed one":
        "glibc 자신이 쓰는 중: 스레드의 tcache, 처음 필요했을 때 만들었다",
    "It is {part}: the chunk at {chunk:#x} of {size} bytes, {where}.":
        "{part}: {chunk:#x}의 {size}바이트 청크, {where}.",
    "byte {number} of its block": "블록의 바이트 {number}",
    "the header of a block": "블록의 헤더",
    "its thread keeps it for the next request of this size": "스레드가 이 크기의 다음 요청을 위해 둔다",
    "its neighbours still see it in use, so that it does not join them yet":
        "이웃에게는 아직 쓰는 것으로 보여서 합쳐지지 않는다",
    "it has joined its free neighbours": "빈 이웃과 합쳐졌다",
    "the next malloc will sort it": "다음 malloc이 분류한다",
    "free": "빈 것",
    "free, number {number} of {count} on the list {list!r}: {why}":
        "빈 것, 목록 {list!r}의 {count}개 가운데 {number}번째: {why}",
    "process {pid} at {address:#x}": "프로세스 {pid}의 {address:#x}",
    "Frame {number} is {kind}; mapped by {owners}.": "프레임 {number}의 종류는 {kind}, 매핑한 것은 {owners}.",
    "no process": "아무도 없음",
    "anonymous": "익명",
    "file": "파일",
    "shared": "공유",
    "table": "페이지 테이블",
    "zero": "0 페이지",
}  # fmt: skip
