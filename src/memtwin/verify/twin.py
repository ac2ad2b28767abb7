# SPDX-License-Identifier: LGPL-2.1-or-later
"""The twin's part in a comparison: the same operations on kernel.AddressSpace, observed as the host is."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from memtwin.errors import MemoryFault
from memtwin.host.stage import Facts
from memtwin.kernel.addrspace import AddressSpace
from memtwin.kernel.check import validate_machine
from memtwin.kernel.files import File
from memtwin.kernel.flags import FILE_UNMAPPABLE, FILE_ZERO
from memtwin.kernel.machine import Machine
from memtwin.kernel.meminfo import huge_pages
from memtwin.kernel.procfs import NAME_COLUMN, maps_line, vma_name
from memtwin.kernel.profile import KernelProfile
from memtwin.kernel.smaps import smaps
from memtwin.kernel.status import pagemap, status
from memtwin.kernel.vma import Vma
from memtwin.verify.host import Start
from memtwin.verify.layout import spans
from memtwin.verify.observation import Observation, Pages, observe
from memtwin.verify.operations import NO_FILE, Operation, Outcome
from memtwin.verify.scene import FILE_CONTENT, MEMFD_BYTES

PAGE = 4096
READ, WRITE = 1, 2
_MASK = (1 << 64) - 1
_Player = Callable[["KernelTwin", AddressSpace, tuple[int, ...]], Outcome]


class KernelTwin:
    """A machine of the twin that becomes the host's stage at each restart.

    make_machine: the machine to start on, so that tests can give a broken one. huge_pages: reserved on that machine;
    they are looked at if there are any.
    """

    def __init__(self, make_machine: Callable[..., Machine] = Machine, huge_pages: int = 0) -> None:
        self._make_machine = make_machine
        self._huge_pages = huge_pages
        self._facts: Facts | None = None
        self._looks = 0
        self.spaces: dict[int, AddressSpace] = {}

    def restart(self, start: Start) -> None:
        """A process like the host's: its mappings as maps has them, its pages resident as pagemap has them."""
        self._facts = start.facts
        profile = replace(KernelProfile(), protection_keys=start.protection_keys)
        self.machine = self._make_machine(profile=profile, huge_pages=self._huge_pages)
        self.files = open_files(self.machine, start)
        space = AddressSpace(self.machine, window_bits=32)
        space.set_layout(space.mmap_base, -(-start.facts.image_end // PAGE) * PAGE)
        self.spaces = {0: space}
        files: dict[str, str] = {}
        self._maps = MapsText(files)
        for line in start.maps.splitlines():
            words = line.decode().split(None, 5)
            if len(words) > 5 and words[5].startswith("/"):
                files[words[5]] = f"{words[3]} {words[4]}"
                if "x" in words[1]:
                    space.start_code, space.end_code = (int(part, 16) for part in words[0].split("-"))
            _restore(space, line)
        writable = [span for span in spans(start.maps) if b"w" in span.permissions]
        for address, pages in start.resident:
            write = any(span.start <= address < span.end for span in writable)
            space.touch(address, pages * PAGE, WRITE if write else READ)

    def play(self, operation: Operation) -> Outcome:
        """Perform one operation."""
        process, name, arguments = operation
        space = self.spaces[process]
        minor, major = space.min_flt, space.maj_flt
        outcome = _PLAY[name](self, space, arguments)
        return outcome._replace(minflt=space.min_flt - minor, majflt=space.maj_flt - major, maps=self._maps.text(space))

    def observe(self) -> Observation:
        """What is to be seen of all living processes."""
        assert self._facts is not None
        return observe(
            self._facts, {process: _TwinPages(space) for process, space in self.spaces.items()}, self._huge_pages > 0
        )

    def validate(self) -> None:
        """Check all structures of the twin, every third time: it takes longer than what it checks."""
        self._looks += 1
        if self._looks % 3 == 0:
            validate_machine(self.machine, self.spaces.values())

    def finish(self) -> None:
        """Nothing to do before the host plays."""


class _TwinPages(Pages):
    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def smaps(self) -> bytes:
        return smaps(self.space).encode()

    def status(self) -> str:
        return status(self.space)

    def pagemap(self, start: int, pages: int) -> array[int]:
        return pagemap(self.space, start, pages)

    def map_count(self, pfn: int) -> int:
        return 0 if pfn == self.space.zero_pfn else int(self.space.frames.state(pfn)["mapped"])

    def pool(self) -> dict[str, int]:
        return {name: count % 2**64 for name, count in huge_pages(self.space.machine).items()}


def open_files(machine: Machine, start: Start) -> list[File]:
    """The twin's files for each of FILES, as they are before a sequence."""
    memfd = machine.memfd(MEMFD_BYTES, *start.labels["memfd"])
    disk = machine.disk_file(FILE_CONTENT, *start.labels["file"])
    zero = File(None, start.labels["zero"][0], kind=FILE_ZERO, identity=start.labels["zero"][1])
    return [
        memfd,
        disk,
        File(disk.inode, disk.path, writable=False),
        File(disk.inode, disk.path, readable=False),
        zero,
        File(None, "", writable=False, kind=FILE_UNMAPPABLE),
        File(None, "", writable=False, kind=FILE_UNMAPPABLE, noexec=True),
        machine.closed,
    ]


def _restore(space: AddressSpace, line: bytes) -> None:
    words = line.decode().split(None, 5)
    start, end = (int(part, 16) for part in words[0].split("-"))
    prot = sum(bit for letter, bit in zip("rwx", (1, 2, 4), strict=True) if letter in words[1])
    label = words[5] if len(words) > 5 else None
    if label != "[vsyscall]":
        space.restore_vma(start, end, prot, 0x21 if "s" in words[1] else 0x22, int(words[2], 16), label)


class MapsText:
    """Writes /proc/PID/maps of one run's spaces; a line that was written before is not put together again.

    files: device and inode by path, of mappings that were restored from a text.
    """

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files
        self._lines: dict[tuple[object, ...], str] = {}

    def text(self, space: AddressSpace) -> bytes:
        """The text as it is now."""
        return "".join([self._line(space, vma) for vma in space.vmas()]).encode()

    def _line(self, space: AddressSpace, vma: Vma) -> str:
        name = vma_name(space, vma)
        key = (vma.start, vma.end, vma.flags, vma.pgoff, name, vma.file)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = self._written(space, vma, name)
        return line

    def _written(self, space: AddressSpace, vma: Vma, name: str) -> str:
        line = maps_line(space, vma)
        if name in self._files:
            words = line.split(None, 5)
            line = f"{' '.join((*words[:3], self._files[name])):<{NAME_COLUMN - 1}} {name}"
        return line + "\n"


def _call(name: str) -> _Player:
    method = f"sys_{name}"

    def play(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
        return Outcome(getattr(space, method)(*[value & _MASK for value in arguments]))

    return play


def _mmap(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    address, length, prot, flags, file, offset = arguments
    return Outcome(space.sys_mmap(address & _MASK, length & _MASK, prot, flags, _file(twin, file), offset & _MASK))


def _file(twin: KernelTwin, number: int) -> File | None:
    return None if number == NO_FILE else twin.files[number]


def _mincore(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    seen: list[bytes] = []
    result = space.mincore_into(seen, *[value & _MASK for value in arguments])
    return Outcome(result, data=b"" if result else b"".join(seen))


def _touched(space: AddressSpace, base: int, stride: int, times: int, value: int = 0) -> Outcome:
    """A touch's outcome from the sticky stop, which it clears."""
    signal, code, address = space.stop_signal, space.stop_code, space.stop_address
    if not signal:
        return Outcome(times, value=value)
    with suppress(MemoryFault):
        space.raise_stop()
    return Outcome((address - base) // stride, signal=signal, code=code, address=address, value=value)


def _touch_read(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    address, pages = arguments
    space.touch(address, pages * PAGE, READ)
    return _touched(space, address, PAGE, pages)


def _touch_write(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    address, pages = arguments
    space.touch(address, pages * PAGE, WRITE)
    return _touched(space, address, PAGE, pages)


def _load(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    address, times, stride = arguments
    value = 0
    for i in range(times):
        try:
            value = (value * 31 + space.read(address + i * stride, 1)[0]) & _MASK
        except MemoryFault as stop:
            return Outcome(i, signal=stop.signal, code=stop.code, address=stop.address, value=value)
    return Outcome(times, value=value)


def _store(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    address, times, stride, byte = arguments
    data = bytes((byte & 255,))
    for i in range(times):
        try:
            space.write(address + i * stride, data)
        except MemoryFault as stop:
            return Outcome(i, signal=stop.signal, code=stop.code, address=stop.address)
    return Outcome(times)


def _fork(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    twin.spaces[arguments[0]] = space.fork(window_bits=32)
    return Outcome(0)


def _exit(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    twin.spaces.pop(arguments[0]).release_all()
    return Outcome(0)


def _nothing(twin: KernelTwin, space: AddressSpace, arguments: tuple[int, ...]) -> Outcome:
    return Outcome(0)


_CALLS = (
    "munmap",
    "mprotect",
    "mremap",
    "brk",
    "madvise",
    "mlock",
    "mlock2",
    "munlock",
    "mlockall",
    "munlockall",
    "msync",
)
_PLAY: dict[str, _Player] = {
    **{name: _call(name) for name in _CALLS},
    "mmap": _mmap, "mincore": _mincore, "touch_read": _touch_read, "touch_write": _touch_write,
    "load": _load, "store": _store,
    "fork": _fork, "exit": _exit, "nothing": _nothing,
}  # fmt: skip
