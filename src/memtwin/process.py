# SPDX-License-Identifier: LGPL-2.1-or-later
"""Process: the C programmer's calls on the twin, under their C names and with C's results.

Addresses are ints in the process's own address space. `errno`, `minflt` and `majflt` are those of the last call.
What kills a real process raises: SegmentationFault, BusError, Aborted with glibc's message, Exited.

host.process.Process offers the same calls on a real process.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from memtwin.errors import Aborted, Exited, Killed, OutOfMemoryKilled, UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc

if TYPE_CHECKING:
    from memtwin.machine import Machine

P = ParamSpec("P")
R = TypeVar("R")

_READ_WRITE, _PRIVATE_ANONYMOUS, _MAYMOVE = 3, 0x22, 1
_WRITE_ACCESS = 2
_EINVAL = 22
_SIGKILL = 9
_MAX_READ = 1 << 28  # bytes of one read or write

# A process without a program, laid out as Linux lays out a small PIE without address randomisation:
# start, pages, prot, offset in pages, label.
_PROGRAM = (
    (0x555555554000, 1, 1, 0, "/program"),
    (0x555555555000, 1, 5, 1, "/program"),
    (0x555555556000, 1, 1, 2, "/program"),
    (0x555555557000, 1, 1, 2, "/program"),
    (0x555555558000, 1, 3, 3, "/program"),
)
_HEAP_START = 0x55555555A000
_LIBRARY = (
    (0x7FFFF7DD6000, 0x26, 1, 0, "/lib/libc.so.6"),
    (0x7FFFF7DFC000, 0x155, 5, 0x26, "/lib/libc.so.6"),
    (0x7FFFF7F51000, 0x53, 1, 0x17B, "/lib/libc.so.6"),
    (0x7FFFF7FA4000, 0x4, 1, 0x1CE, "/lib/libc.so.6"),
    (0x7FFFF7FA8000, 0x2, 3, 0x1D2, "/lib/libc.so.6"),
    (0x7FFFF7FAA000, 0xD, 3, 0, None),
)
_MAIN_ARENA = 0x7FFFF7FA8C60
_MP = 0x7FFFF7FA8340
_STACK_TOP = 0x7FFFFFFFF000
_STACK_PAGES = 33
_MMAP_BASE = 0x7FFFF7FFF000


class Process:
    """A process of a machine; `Machine.spawn` makes it."""

    def __init__(self, machine: Machine, pid: int, space: AddressSpace, libc: Malloc, parent: int = 0) -> None:
        self.machine = machine
        self.pid = pid
        self.parent = parent
        self.space = space
        self.libc = libc
        self.ended: Killed | None = None
        self.errno = self.minflt = self.majflt = 0
        self.files: dict[int, Any] = {}
        self.threads: dict[int, Thread] = {}
        self._thread = pid

    @classmethod
    def start(cls, machine: Machine, pid: int, glibc: str, tunables: dict[str, int], cpus: int) -> Process:
        """A process on `machine` whose mappings are those of a small program, none of its pages touched yet."""
        space = AddressSpace(machine.kernel, 40)
        page = machine.page_size
        space.set_layout(_MMAP_BASE & -page, _up(_HEAP_START, page))
        for start, pages, prot, offset, label in (*_PROGRAM, *_LIBRARY):
            first, last = start & -page, _up(start + pages * 4096, page)
            space.restore_vma(first, last, prot, offset=offset * page, label=label)
        space.restore_vma(_up(_STACK_TOP, page) - _STACK_PAGES * page, _up(_STACK_TOP, page), 3, label="[stack]")
        space.touch(_up(_STACK_TOP, page) - page, 1, _WRITE_ACCESS)
        libc = Malloc(space, glibc, tunables, cpus=cpus, main_arena=_MAIN_ARENA, mp=_MP)
        return cls(machine, pid, space, libc)

    # How a call is made.

    def _do(self, call: Callable[..., R], *arguments: Any) -> R:
        """Make one call: count its faults, note errno, and end the process if that is what it came to."""
        if self.ended is not None:
            raise UserError(f"process {self.pid} has ended: {self.ended}")
        space, libc = self.space, self.libc
        minor, major = space.min_flt, space.maj_flt
        libc.errno = 0
        try:
            result = call(*arguments)
            self._look_for_death()
        except Killed as death:
            self._die(death)
            raise
        finally:
            self.minflt, self.majflt = space.min_flt - minor, space.maj_flt - major
            self.errno = libc.errno
        return result

    def _look_for_death(self) -> None:
        if self.libc.dead:
            raise Aborted(self.libc.abort)
        if self.space.stop_signal == _SIGKILL:
            raise OutOfMemoryKilled(f"no frame is free for process {self.pid}")
        self.space.raise_stop()

    def _die(self, death: Killed) -> None:
        """The process is gone: its memory goes back to the machine."""
        self.ended = death
        self.space.release_all()
        self.machine.processes.pop(self.pid, None)

    def _libc(self, call: Callable[..., int], *arguments: int) -> int:
        for argument in arguments:
            _integer(argument)
        if self._thread != self.libc.tid:
            self.libc.switch_thread(self._thread)
        return self._do(call, *(argument & _WORD for argument in arguments))

    def _syscall(self, call: Callable[..., int], *arguments: Any) -> int:
        """A raw system call: -errno becomes -1 with errno set, as the C library does."""
        result = self._do(call, *arguments)
        if -4096 < result < 0:
            self.errno = -result
            return -1
        return result

    # The C library's allocator.

    def malloc(self, size: int) -> int:
        """malloc(3): a pointer, or 0 with errno ENOMEM."""
        return self._libc(self.libc.malloc, size)

    def calloc(self, count: int, size: int) -> int:
        """calloc(3): zeroed; the product is checked."""
        return self._libc(self.libc.calloc, count, size)

    def realloc(self, pointer: int, size: int) -> int:
        """realloc(3): of 0 is malloc, to 0 is free."""
        return self._libc(self.libc.realloc, pointer, size)

    def reallocarray(self, pointer: int, count: int, size: int) -> int:
        """reallocarray(3)."""
        return self._libc(self.libc.reallocarray, pointer, count, size)

    def free(self, pointer: int) -> None:
        """free(3). Aborted: glibc noticed a pointer that is not malloc's, or one freed twice."""
        self._libc(self.libc.free, pointer)

    def memalign(self, alignment: int, size: int) -> int:
        """memalign(3)."""
        return self._libc(self.libc.memalign, alignment, size)

    def posix_memalign(self, memptr: int, alignment: int, size: int) -> int:
        """posix_memalign(3): 0, EINVAL or ENOMEM; the block's address is stored at `memptr`."""
        pointer = self._libc(self.libc.posix_memalign, alignment, size)
        error, self.errno = self.errno, 0
        if pointer == 0:
            return error
        faults = self.minflt
        self.write_u64(memptr, pointer)
        self.minflt += faults
        return 0

    def aligned_alloc(self, alignment: int, size: int) -> int:
        """aligned_alloc(3)."""
        return self._libc(self.libc.aligned_alloc, alignment, size)

    def valloc(self, size: int) -> int:
        """valloc(3)."""
        return self._libc(self.libc.valloc, size)

    def pvalloc(self, size: int) -> int:
        """pvalloc(3)."""
        return self._libc(self.libc.pvalloc, size)

    def malloc_usable_size(self, pointer: int) -> int:
        """malloc_usable_size(3), bytes."""
        return self._libc(self.libc.malloc_usable_size, pointer)

    def malloc_trim(self, pad: int) -> int:
        """malloc_trim(3): 1 when anything was given back, else 0."""
        return self._libc(self.libc.malloc_trim, pad)

    def mallopt(self, parameter: int, value: int) -> int:
        """mallopt(3): 1, or 0 when glibc refuses."""
        _integer(parameter), _integer(value)
        return self._do(self.libc.mallopt, _int32(parameter), _int32(value))

    def xmalloc(self, size: int) -> int:
        """malloc that ends the process with a message when there is no memory."""
        return self._or_exit(self.malloc(size), "xmalloc", size)

    def malloc0(self, size: int) -> int:
        """malloc whose bytes are zero."""
        pointer = self.malloc(size)
        faults = self.minflt
        if pointer:
            self.memset(pointer, 0, size)
            self.minflt += faults
        return pointer

    def xmalloc0(self, size: int) -> int:
        """malloc0 that ends the process with a message when there is no memory."""
        return self._or_exit(self.malloc0(size), "xmalloc0", size)

    def _or_exit(self, pointer: int, name: str, size: int) -> int:
        if pointer == 0:
            death = Exited(1, f"{name}: out of memory (allocating {size} bytes)")
            self._die(death)
            raise death
        return pointer

    # System calls, as the C library offers them.

    def brk(self, address: int) -> int:
        """brk(2): 0, or -1 with ENOMEM."""
        old = self.sbrk(0)
        return 0 if self.sbrk(address - old) != -1 else -1

    def sbrk(self, increment: int) -> int:
        """sbrk(2): the old break, or -1 with ENOMEM."""
        _integer(increment)
        old = self._do(self.libc.program_sbrk, _int64(increment))
        return old if old else -1

    def mmap(
        self,
        address: int = 0,
        length: int = 0,
        prot: int = _READ_WRITE,
        flags: int = _PRIVATE_ANONYMOUS,
        fd: int = -1,
        offset: int = 0,
    ) -> int:
        """mmap(2): the address, or -1 with errno set."""
        for number in (address, length, prot, flags, fd, offset):
            _integer(number)
        file = None if flags & 0x20 else self.files.get(fd, self.machine.kernel.closed)
        return self._syscall(
            self.space.sys_mmap, address & _WORD, length & _WORD, _int32(prot), _int32(flags), file, offset & _WORD
        )

    def munmap(self, address: int, length: int) -> int:
        """munmap(2)."""
        return self._range(self.space.sys_munmap, address, length)

    def mremap(
        self, address: int, old_length: int, new_length: int, flags: int = _MAYMOVE, new_address: int = 0
    ) -> int:
        """mremap(2): the address, or -1 with errno set."""
        for number in (address, old_length, new_length, flags, new_address):
            _integer(number)
        call = self.space.sys_mremap
        words = (address & _WORD, old_length & _WORD, new_length & _WORD, _int32(flags), new_address & _WORD)
        return self._syscall(call, *words)

    def mprotect(self, address: int, length: int, prot: int) -> int:
        """mprotect(2)."""
        return self._range(self.space.sys_mprotect, address, length, prot)

    def madvise(self, address: int, length: int, advice: int) -> int:
        """madvise(2)."""
        return self._range(self.space.sys_madvise, address, length, advice)

    def mlock(self, address: int, length: int) -> int:
        """mlock(2)."""
        return self._range(self.space.sys_mlock, address, length)

    def mlock2(self, address: int, length: int, flags: int) -> int:
        """mlock2(2)."""
        return self._range(self.space.sys_mlock2, address, length, flags)

    def munlock(self, address: int, length: int) -> int:
        """munlock(2)."""
        return self._range(self.space.sys_munlock, address, length)

    def msync(self, address: int, length: int, flags: int) -> int:
        """msync(2)."""
        return self._range(self.space.sys_msync, address, length, flags)

    def _range(self, call: Callable[..., int], address: int, length: int, *more: int) -> int:
        for number in (address, length, *more):
            _integer(number)
        return self._syscall(call, address & _WORD, length & _WORD, *(_int32(number) for number in more))

    def mincore(self, address: int, length: int) -> bytes:
        """mincore(2): a byte a page, bit 0 set when it is in memory; empty with errno set when the range is bad."""
        _integer(address), _integer(length)
        seen: list[bytes] = []
        failed = self._syscall(lambda: self.space.mincore_into(seen, address & _WORD, length & _WORD))
        return b"" if failed else b"".join(seen)

    def memfd_create(self, name: str) -> int:
        """memfd_create(2): a descriptor of a file in memory, empty."""
        return self._descriptor(self.machine.kernel.memfd(0, f"/memfd:{_name(name)} (deleted)"))

    def ftruncate(self, fd: int, length: int) -> int:
        """ftruncate(2): a file in memory gets a size."""
        file = self.files.get(fd)
        if file is None or file.inode is None or length < 0:
            self.errno = _EINVAL
            return -1
        return self._syscall(self.machine.kernel.truncate, file.inode, length)

    def open(self, path: str) -> int:
        """open(2) of "/dev/zero", the one file that every process can map. UserError: any other path."""
        if path != "/dev/zero":
            raise UserError(f"open {path!r}: the twin opens /dev/zero; files in memory come from memfd_create")
        return self._descriptor(self.machine.kernel.dev_zero)

    def _descriptor(self, file: Any) -> int:
        self._do(lambda: None)
        fd = next(number for number in range(3, 1 << 20) if number not in self.files)
        self.files[fd] = file
        return fd

    # The program's own accesses.

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at `address`. SegmentationFault, BusError."""
        _integer(address), _bounded(length)
        return self._do(self.space.read, address & _WORD, length)

    def write(self, address: int, data: bytes) -> None:
        """Store `data` at `address`, upwards; what lies before an illegal page is stored."""
        _integer(address), _bounded(len(data))
        self._do(self.space.write, address & _WORD, bytes(data))

    def read_u64(self, address: int) -> int:
        """The 64-bit word at `address`."""
        return int(struct.unpack("<Q", self.read(address, 8))[0])

    def write_u64(self, address: int, value: int) -> None:
        """Store a 64-bit word."""
        self.write(address, struct.pack("<Q", value & _WORD))

    def memset(self, address: int, value: int, length: int) -> None:
        """memset(3)."""
        self.write(address, bytes([value & 255]) * _bounded(length))

    def memcpy(self, to: int, source: int, length: int) -> None:
        """memcpy(3)."""
        data = self.read(source, length)
        faults = self.minflt
        self.write(to, data)
        self.minflt += faults

    def touch(self, address: int, length: int) -> None:
        """A write access to each page of the range; the bytes stay what they are."""
        _integer(address), _integer(length)
        self._do(self.space.touch, address & _WORD, length & _WORD, _WRITE_ACCESS)

    # The process.

    def fork(self) -> Process:
        """fork(2): the child."""
        return self._do(self.machine.fork_of, self)

    def copy(self, pid: int) -> Process:
        """The child that fork makes, with that pid."""
        space = self.space.fork(40)
        child = Process(self.machine, pid, space, self.libc.fork(space), self.pid)
        child.files = dict(self.files)
        child._thread = self._thread
        return child

    def thread(self) -> Thread:
        """A new thread of this process."""
        tid = self.pid + (len(self.threads) + 1) * 100_000
        self._do(self.libc.switch_thread, self._thread)
        self._do(self.libc.thread_start, tid)
        self.threads[tid] = Thread(self, tid)
        return self.threads[tid]

    def exit(self, status: int = 0) -> None:
        """exit_group(2). Exited is raised, as every call raises what ends the process."""
        death = Exited(status)
        self._die(death)
        raise death

    def maps(self) -> str:
        """/proc/PID/maps, as the kernel writes it."""
        from memtwin.kernel.procfs import maps

        return maps(self.space)

    def mapped_frames(self) -> Iterator[tuple[int, int]]:
        """(address, frame) of every present page, from low to high."""
        shift = self.space.page_shift
        for address, entry, _ in self.space.pages.entries():
            if entry & 1:
                yield address, entry >> shift & (1 << 40) - 1

    def __repr__(self) -> str:
        state = f"ended: {self.ended}" if self.ended else f"{self.space.rss_pages} pages resident"
        return f"<Process {self.pid}: {state}>"


class Thread:
    """A thread: the calls of its process, made with its own tcache and arena."""

    def __init__(self, process: Process, tid: int) -> None:
        self._process = process
        self.tid = tid

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._process, name)
        if not callable(call):
            return call

        def made(*arguments: Any, **keywords: Any) -> Any:
            process = self._process
            if self.tid not in process.threads:
                raise UserError(f"thread {self.tid} has ended")
            before, process._thread = process._thread, self.tid
            try:
                return call(*arguments, **keywords)
            finally:
                process._thread = before

        return made

    def exit(self, status: int = 0) -> None:
        """The thread ends: its tcache is flushed, its arena given up."""
        process = self._process
        process._do(process.libc.thread_exit, self.tid)
        process._do(process.libc.switch_thread, process._thread)
        del process.threads[self.tid]


_WORD = 2**64 - 1


def _up(address: int, page: int) -> int:
    return -(-address // page) * page


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise UserError(f"{value!r} is no integer")
    return value


def _bounded(length: Any) -> int:
    if not isinstance(length, int) or not 0 <= length <= _MAX_READ:
        raise UserError(f"{length!r} bytes: from 0 to {_MAX_READ} at once")
    return length


def _int32(value: int) -> int:
    return (value + (1 << 31) & 0xFFFFFFFF) - (1 << 31)


def _int64(value: int) -> int:
    return (value + (1 << 63) & _WORD) - (1 << 63)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,200}", name):
        raise UserError(f"{name!r} is no name for a file in memory: letters, digits, '.', '_' and '-'")
    return name
