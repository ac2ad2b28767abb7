# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""Files that can be mapped: their pages in the page cache (struct inode, address_space) and open descriptions of them.

A page of a file is a frame with FRAME_FILE whose owner is the Inode and whose index is its place in the file. It stays
in the cache when nobody maps it. Files in memory (shmem: memfd, anonymous MAP_SHARED) get a page at the first access;
those on disk are read from `content`, which costs a major fault unless the file is `warm`, that is, cached whole.
"""

from __future__ import annotations

from typing import Any

import cython

from memtwin.kernel.frames import Frames
from memtwin.kernel.group import Group

if not cython.compiled:
    from memtwin.hostmem import store16, store32, store64
    from memtwin.kernel.flags import FILE_ZERO, FRAME_FILE, FRAME_MEMORY, NO_FRAME
    from memtwin.kernel.frames import born
    from memtwin.kernel.policies.policy import ANON, FILE

ALL_PAGES = 1 << 46
SHARED_MEMORY_PATH = "/dev/zero (deleted)"  # of anonymous MAP_SHARED, as maps shows it


class Inode:
    """A file. size: bytes. in_memory: shmem, else on a disk file system that wants to know of first writes to a page.

    content: the bytes that a file on disk begins with (bytes, or a mapping of a host's file), zeros beyond.
    identity: "device inode" as maps shows it. swapped: slots of pages in swap, by index. evicted: pages of a warm file
    that reclaim took; written: bytes of pages that were written back. promised: pages counted in Committed_AS. vmas:
    who maps it, as keys. opened: open descriptions that keep it alive while nobody maps it.
    """

    def __init__(
        self, frames: Frames, size: int, identity: str, in_memory: bool = True, content: Any = b"", warm: bool = True
    ) -> None:
        self.frames = frames
        self.number = frames.new_owner(self)
        self.size = size
        self.identity = identity
        self.in_memory = in_memory
        self.warm = warm and not in_memory
        self.content = content
        self.pages: dict[int, int] = {}
        self.vmas: dict[Any, None] = {}
        self.opened = 0
        self.promised = 0
        self.swapped: dict[int, int] = {}
        self.evicted: set[int] = set()
        self.written: dict[int, bytes] = {}

    def limit(self) -> int:
        """How many pages the file has; those from here on raise SIGBUS."""
        return (self.size + (1 << self.frames.page_shift) - 1) >> self.frames.page_shift

    def find(self, index: int) -> int:
        """The frame that holds page `index`, if it is in the page cache; 0 when it is not, NO_FRAME without RAM."""
        pfn = self.pages.get(index)
        if pfn is not None:
            return pfn
        if self.warm and index not in self.evicted and index < self.limit():
            return self.bring(index, self.frames.root)
        return 0

    def bring(self, index: int, group: Group) -> int:
        """Put page `index`, which is not cached, into the page cache, charged to a group: its frame, or NO_FRAME."""
        frames = self.frames
        pfn = frames.alloc(0)
        if pfn == NO_FRAME:
            return NO_FRAME
        store16(frames.flags_at + 2 * pfn, FRAME_FILE | (FRAME_MEMORY if self.in_memory else 0))
        store32(frames.owner_at + 4 * pfn, self.number)
        store64(frames.index_at + 8 * pfn, index)
        self.pages[index] = pfn
        born(frames, group, pfn, ANON if self.in_memory else FILE)
        data = self.stored(index)
        if data.strip(b"\0"):
            frames.put_bytes(pfn, data)
        return pfn

    def stored(self, index: int) -> bytes:
        """The bytes of page `index`, which is not cached, as disk or swap has them; they leave swap."""
        self.evicted.discard(index)
        slot = self.swapped.pop(index, 0)
        if slot:
            return bytes(self.frames.swap_area.take_bytes(slot))
        shift = self.frames.page_shift
        return self.written.get(index) or bytes(self.content[index << shift : (index + 1) << shift])

    def evict(self, pfn: int, index: int, dirty: bool) -> bool:
        """The page, which nobody maps any more, leaves RAM: to swap, or to the disk if it is dirty. False: no slot."""
        if self.in_memory:
            slot = self.frames.swap_area.store_page(pfn)
            if slot == 0:
                return False
            self.swapped[index] = slot
        else:
            self.evicted.add(index)
            if dirty:
                self.written[index] = self.frames.page_bytes(pfn)
        del self.pages[index]
        return True

    def forget(self, vma: Any) -> None:
        """`vma` maps it no more; a file that nobody has open either is gone."""
        self.vmas.pop(vma, None)
        if not self.vmas and not self.opened:
            self.release()

    def release(self) -> None:
        """The file's pages leave the page cache; none is mapped."""
        if self.number == 0:
            return
        self.drop_pages(0, ALL_PAGES)
        self.frames.forget_owner(self.number)
        self.frames.committed -= self.promised
        self.number = self.promised = 0

    def drop_pages(self, first: int, last: int) -> None:
        """Pages [first, last) leave the page cache; none is mapped."""
        for page in [page for page in self.pages if first <= page < last]:
            self.frames.free_page(self.pages.pop(page))
        for page in [page for page in self.swapped if first <= page < last]:
            self.frames.swap_area.take_bytes(self.swapped.pop(page))
        for page in [page for page in self.written if first <= page < last]:
            del self.written[page]

    def unmap(self, first: int, last: int) -> None:
        """Nobody maps pages [first, last) any more; private copies of them go too (unmap_mapping_range)."""
        shift = self.frames.page_shift
        for vma in list(self.vmas):
            begin, end = max(first, vma.pgoff), min(last, vma.pgoff + ((vma.end - vma.start) >> shift))
            if begin < end:
                base = vma.start - (vma.pgoff << shift)
                vma.space.zap_pages(base + (begin << shift), base + (end << shift))

    def punch(self, first: int, last: int) -> None:
        """Pages [first, last) are zeros again for all who map them (fallocate with FALLOC_FL_PUNCH_HOLE)."""
        self.unmap(first, last)
        self.drop_pages(first, last)
        shift = self.frames.page_shift
        lost = self.content[first << shift : last << shift]
        self.content = self.content[: first << shift] + bytes(len(lost)) + self.content[last << shift :]

    def resize(self, size: int) -> None:
        """ftruncate: what lies behind `size` is gone for everyone who maps it, their private copies too."""
        page = 1 << self.frames.page_shift
        if size < self.size:
            first = (size + page - 1) >> self.frames.page_shift
            self.punch(first, ALL_PAGES)
            if size & (page - 1) and first - 1 in self.pages:
                self.frames.clear_tail(self.pages[first - 1], size & (page - 1))
            self.content = self.content[:size]
        self.size = size


class File:
    """An open description of a file (struct file): what stands for a file descriptor in `sys_mmap`.

    path: its name in maps. kind: FILE_REGULAR, FILE_ZERO (/dev/zero), FILE_UNMAPPABLE (a directory, a pipe) or
    FILE_CLOSED, a descriptor that is not open. noexec: its file system forbids PROT_EXEC. Two mappings merge only if
    they have the same File.
    """

    def __init__(
        self,
        inode: Inode | None,
        path: str,
        readable: bool = True,
        writable: bool = True,
        kind: int = 0,
        identity: str = "00:00 0",
        noexec: bool = False,
    ) -> None:
        self.inode: Any = inode
        self.noexec = noexec
        self.path = path
        self.identity = identity if inode is None else inode.identity
        self.readable = readable
        self.writable = writable
        self.kind = kind
        if inode is not None:
            inode.opened += 1


def aligned_to_huge(file: Any, shared: bool) -> bool:
    """Whether mmap aligns large mappings of the file to huge pages: disk file systems do, /dev/zero if not `shared`."""
    if not isinstance(file, File):
        return True
    return (file.kind == FILE_ZERO and not shared) or (file.inode is not None and not file.inode.in_memory)


def shared_memory(machine: Any, size: int, promised: bool = True) -> File:
    """What an anonymous shared mapping maps: a file of its own that lives as long as the mapping (shmem_zero_setup).

    promised: it counts in Committed_AS; MAP_NORESERVE leaves that out."""
    file = File(Inode(machine.frames, size, f"00:01 {machine.next_inode()}"), SHARED_MEMORY_PATH)
    file.inode.opened = 0
    if promised:
        file.inode.promised = size >> machine.frames.page_shift
        machine.frames.committed += file.inode.promised
    return file
