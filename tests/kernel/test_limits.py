# SPDX-License-Identifier: LGPL-2.1-or-later
"""Resource limits, overcommit and the OOM killer, by the kernel's rules."""

from __future__ import annotations

import pytest

from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.machine import Machine
from memtwin.kernel.oom import badness, choose
from memtwin.kernel.reclaim import validate_reclaim

PAGE, READ, WRITE, ANON, NORESERVE, FIXED = 4096, 1, 2, 0x22, 0x4000, 0x10
ENOMEM, GIB = 12, 1 << 30


def fresh(**settings: object) -> AddressSpace:
    return AddressSpace(Machine(**settings), window_bits=32)  # type: ignore[arg-type]


def test_rlimit_as_is_exact_to_the_page() -> None:
    space = fresh()
    at = space.sys_mmap(0, 10 * PAGE, 3, ANON, None, 0)
    space.as_limit = 20 * PAGE + 17
    assert space.sys_mmap(0, 11 * PAGE, 3, ANON, None, 0) == -ENOMEM
    assert space.sys_mmap(at, 12 * PAGE, 3, ANON | FIXED, None, 0) == at  # what is replaced does not count
    assert space.sys_mmap(0, 8 * PAGE, 0, ANON, None, 0) > 0
    assert space.sys_mmap(0, PAGE, 0, ANON, None, 0) == -ENOMEM
    assert space.sys_brk(space.brk_start + PAGE) == space.brk_start
    assert space.sys_mremap(at, 12 * PAGE, 13 * PAGE, 1, 0) == -ENOMEM


def test_rlimit_data_counts_private_writable_memory() -> None:
    space = fresh()
    space.data_limit = 10 * PAGE
    at = space.sys_mmap(0, 8 * PAGE, 3, ANON, None, 0)
    assert space.sys_mmap(0, 3 * PAGE, 3, ANON, None, 0) == -ENOMEM
    read_only = space.sys_mmap(0, 3 * PAGE, 1, ANON, None, 0)
    assert space.sys_mprotect(read_only, 3 * PAGE, 3) == -ENOMEM
    assert space.sys_mmap(0, 100 * PAGE, 3, 0x21, None, 0) > 0
    assert space.sys_munmap(at, PAGE) == 0
    assert space.sys_mprotect(read_only, 3 * PAGE, 3) == 0
    assert space.sys_brk(space.brk_start + PAGE) == space.brk_start


def test_mode_0_refuses_one_request_that_could_never_be_held() -> None:
    space = fresh(ram="1 GiB", swap="256 MiB")
    all_of_it = GIB + (256 << 20) - PAGE  # a page of swap is its header
    assert space.sys_mmap(0, all_of_it + PAGE, 3, ANON, None, 0) == -ENOMEM
    for _ in range(3):
        assert space.sys_mmap(0, all_of_it, 3, ANON, None, 0) > 0
    assert space.sys_mmap(0, 1 << 40, 3, ANON | NORESERVE, None, 0) > 0
    read_only = space.sys_mmap(0, 1 << 40, 1, ANON, None, 0)
    assert read_only > 0 and space.sys_mprotect(read_only, 1 << 40, 3) == -ENOMEM
    assert space.sys_mmap(0, 1 << 40, 3, 0x21, None, 0) == -ENOMEM
    assert space.frames.committed == 3 * all_of_it // PAGE


def test_mode_1_refuses_nothing() -> None:
    space = fresh(ram="1 GiB", overcommit=1)
    assert space.sys_mmap(0, 1 << 40, 3, ANON, None, 0) > 0
    assert space.sys_mmap(0, 1 << 40, 3, 0x21, None, 0) > 0


def test_mode_2_keeps_promises_below_the_commit_limit() -> None:
    machine = Machine("1 GiB", "256 MiB", overcommit=2)
    space = AddressSpace(machine, window_bits=32)
    limit = machine.overcommit.limit()
    assert limit == (GIB // 2 + (256 << 20) - PAGE) // PAGE
    assert space.sys_mmap(0, limit * PAGE, 3, ANON | NORESERVE, None, 0) == -ENOMEM
    at = space.sys_mmap(0, (limit // 2) * PAGE, 3, ANON, None, 0)
    reserve = min(space.total_vm // 32, machine.overcommit.user_reserve_kbytes // 4)
    room = limit - reserve - machine.frames.committed - 1
    assert space.sys_mmap(0, (room + 1) * PAGE, 3, ANON, None, 0) == -ENOMEM
    more = space.sys_mmap(0, room * PAGE, 3, ANON, None, 0)
    assert more > 0 and machine.frames.committed == limit // 2 + room
    assert space.sys_munmap(more, room * PAGE) == 0 and space.sys_munmap(at, PAGE * (limit // 2)) == 0
    assert machine.frames.committed == 0


def test_committed_memory_comes_and_goes_with_what_promised_it() -> None:
    machine = Machine("1 GiB")
    space = AddressSpace(machine, window_bits=32)
    frames = machine.frames
    space.sys_brk(space.brk_start + (1 << 20))
    assert frames.committed == 256
    shared = space.sys_mmap(0, 1 << 20, 3, 0x21, None, 0)
    assert frames.committed == 512
    child = space.fork(window_bits=32)
    assert frames.committed == 768
    child.release_all()
    assert space.sys_munmap(shared, 1 << 20) == 0
    assert frames.committed == 256
    space.release_all()
    assert frames.committed == 0


def test_the_oom_killer_takes_the_largest_and_spares_whom_it_must() -> None:
    machine = Machine("16 MiB")
    big, small, spared = (AddressSpace(machine, window_bits=32) for _ in range(3))
    spared.oom_score_adj = -1000
    sizes = {big: 1500, small: 300, spared: 1700}
    for space, pages in sizes.items():
        space.touch(space.sys_mmap(0, pages * PAGE, 3, ANON, None, 0), pages * PAGE, WRITE)
    assert badness(spared, 4096) is None
    assert badness(big, 4096) == 1500 + big.pages.tables
    assert choose([big, small, spared], 4096) is big
    at = small.sys_mmap(0, 1500 * PAGE, 3, ANON, None, 0)
    assert small.touch(at, 1500 * PAGE, WRITE) == 1500
    assert (big.stop_signal, small.stop_signal, big.anon_pages) == (9, 0, 0)
    assert [kill.space for kill in machine.oom_kills] == [big.number]
    assert "Out of memory: Killed process" in str(machine.oom_kills[0]) and "anon-rss:6000kB" in str(
        machine.oom_kills[0]
    )
    validate_reclaim(machine.reclaim)


def test_a_process_that_is_itself_the_largest_is_stopped_where_it_is() -> None:
    machine = Machine("16 MiB", "4 MiB")
    space = AddressSpace(machine, window_bits=32)
    at = space.sys_mmap(0, 8000 * PAGE, 3, ANON | NORESERVE, None, 0)
    assert at > 0
    space.touch(at, 8000 * PAGE, WRITE)
    assert space.stop_signal == 9 and space.anon_pages == space.swap_pages == 0
    assert machine.swap_area.used == 0 and machine.swap_area.pages_out == machine.swap_area.total


def test_fork_asks_for_a_second_promise_in_mode_2_only() -> None:
    """dup_mmap asks for each VM_ACCOUNT mapping, on top of those before it; MADV_DONTFORK's are left out."""
    for mode, refused in ((0, False), (1, False), (2, True)):
        machine = Machine("64 MiB", overcommit=mode)
        space = AddressSpace(machine, window_bits=32)
        allowed = machine.overcommit.limit()
        parts = [space.sys_mmap(0, allowed // 4 * PAGE, 3, ANON, None, 0), space.sys_mmap(0, PAGE, 1, ANON, None, 0)]
        parts.append(space.sys_mmap(0, allowed // 4 * PAGE, 3, ANON, None, 0))
        space.sys_mprotect(parts[2], PAGE, 1)
        committed = machine.frames.committed
        if refused:
            with pytest.raises(OSError, match="overcommit") as caught:
                space.fork(window_bits=32)
            assert caught.value.errno == ENOMEM
        else:
            space.fork(window_bits=32).release_all()
        assert machine.frames.committed == committed
        space.sys_madvise(parts[0], allowed // 4 * PAGE, 10)
        space.fork(window_bits=32).release_all()


def test_the_break_counts_the_program_s_data_against_its_limit() -> None:
    space = AddressSpace(Machine("64 MiB"), window_bits=32)
    space.data_bytes = 0x800
    space.data_limit = 4 * PAGE
    start = space.brk_start
    assert space.sys_brk(start + 4 * PAGE - 0x800) == start + 4 * PAGE - 0x800
    assert space.sys_brk(start + 4 * PAGE - 0x7FF) == start + 4 * PAGE - 0x800
    space.data_limit = PAGE
    assert space.sys_brk(start + 3 * PAGE) == start + 4 * PAGE - 0x800  # to shrink is refused too


def test_a_group_s_own_oom_killer_takes_one_of_the_group() -> None:
    machine = Machine("64 MiB")
    group = machine.new_group("small", "1 MiB")
    inside, outside = AddressSpace(machine, window_bits=32), AddressSpace(machine, window_bits=32)
    inside.join(group)
    outside.touch(outside.sys_mmap(0, 1000 * PAGE, 3, ANON, None, 0), 1000 * PAGE, WRITE)
    inside.touch(inside.sys_mmap(0, 1000 * PAGE, 3, ANON, None, 0), 1000 * PAGE, WRITE)
    assert (inside.stop_signal, outside.stop_signal, group.kills, group.peak) == (9, 0, 1, 256)
    assert group.usage == group.tables == inside.pages.tables  # its memory is free at once, its tables when it exits
    inside.release_all()
    assert group.usage == 0
