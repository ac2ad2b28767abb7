# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory calls of section 2 of the manual as the C library offers them: 0 or a result, or -1 with errno set."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from memtwin.calls import Calls
from memtwin.errors import UserError
from memtwin.kernel.addrspace import AddressSpace
from memtwin.libc.malloc import Malloc
from memtwin.twin.heapcalls import WORD, int32, int64, integer

if TYPE_CHECKING:
    from memtwin.twin.machine import Machine

_READ_WRITE, _PRIVATE_ANONYMOUS, _ANONYMOUS, _MAYMOVE = 3, 0x22, 0x20, 1
_EINVAL = 22


class MapCalls(Calls):
    """brk, mmap and their kin on the twin. Lengths are bytes; flags and advice are the numbers of sys/mman.h."""

    machine: Machine
    space: AddressSpace
    libc: Malloc
    files: dict[int, Any]

    @abstractmethod
    def _do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Make one call as the process."""

    def _syscall(self, call: Callable[..., int], *arguments: Any) -> int:
        """A raw system call: -errno becomes -1 with errno set, as the C library does."""
        result = int(self._do(call, *arguments))
        if -4096 < result < 0:
            self.errno = -result
            return -1
        return result

    def _range(self, call: Callable[..., int], address: int, length: int, *more: int) -> int:
        return self._syscall(call, integer(address) & WORD, integer(length) & WORD, *(int32(number) for number in more))

    def brk(self, address: int) -> int:
        """brk(2): move the break to `address`; 0, or -1 with ENOMEM."""
        old = self.sbrk(0)
        return 0 if self.sbrk(address - old) != -1 else -1

    def sbrk(self, increment: int) -> int:
        """sbrk(2): move the break by `increment` bytes; where it was, or -1 with ENOMEM."""
        old = int(self._do(self.libc.program_sbrk, int64(increment)))
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
        """mmap(2): the mapping's address, or MAP_FAILED, which is -1, with errno set."""
        file = None if int32(flags) & _ANONYMOUS else self.files.get(integer(fd), self.machine.kernel.closed)
        words = integer(address) & WORD, integer(length) & WORD, int32(prot), int32(flags)
        return self._syscall(self.space.sys_mmap, *words, file, integer(offset) & WORD)

    def munmap(self, address: int, length: int) -> int:
        """munmap(2)."""
        return self._range(self.space.sys_munmap, address, length)

    def mremap(
        self, address: int, old_length: int, new_length: int, flags: int = _MAYMOVE, new_address: int = 0
    ) -> int:
        """mremap(2): the mapping's new address, or -1 with errno set."""
        lengths = integer(old_length) & WORD, integer(new_length) & WORD
        place = integer(new_address) & WORD
        return self._syscall(self.space.sys_mremap, integer(address) & WORD, *lengths, int32(flags), place)

    def mprotect(self, address: int, length: int, prot: int) -> int:
        """mprotect(2): what comes before a hole stays changed when it fails."""
        return self._range(self.space.sys_mprotect, address, length, prot)

    def madvise(self, address: int, length: int, advice: int) -> int:
        """madvise(2)."""
        return self._range(self.space.sys_madvise, address, length, advice)

    def mlock(self, address: int, length: int) -> int:
        """mlock(2): the pages are brought in and stay."""
        return self._range(self.space.sys_mlock, address, length)

    def mlock2(self, address: int, length: int, flags: int) -> int:
        """mlock2(2); MLOCK_ONFAULT: pages stay once they were brought in."""
        return self._range(self.space.sys_mlock2, address, length, flags)

    def munlock(self, address: int, length: int) -> int:
        """munlock(2)."""
        return self._range(self.space.sys_munlock, address, length)

    def msync(self, address: int, length: int, flags: int) -> int:
        """msync(2)."""
        return self._range(self.space.sys_msync, address, length, flags)

    def mincore(self, address: int, length: int) -> bytes:
        """mincore(2): a byte a page, bit 0 set when it is in memory; empty with errno set when the range is bad."""
        seen: list[bytes] = []
        words = integer(address) & WORD, integer(length) & WORD
        failed = self._syscall(lambda: self.space.mincore_into(seen, *words))
        return b"" if failed else b"".join(seen)

    def memfd_create(self, name: str) -> int:
        """memfd_create(2): a descriptor of an empty file in memory. UserError: a name that is none."""
        return self._descriptor(self.machine.kernel.memfd(0, f"/memfd:{_name(name)} (deleted)"))

    def ftruncate(self, fd: int, length: int) -> int:
        """ftruncate(2) of a file in memory."""
        file = self.files.get(fd)
        if file is None or file.inode is None or length < 0:
            self._do(lambda: None)
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


def _name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,200}", name):
        raise UserError(f"{name!r} is no name for a file in memory: letters, digits, '.', '_' and '-'")
    return name
