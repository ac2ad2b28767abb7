# SPDX-License-Identifier: LGPL-2.1-or-later
# cython: infer_types=True
"""VMAs (struct vm_area_struct) and the tree that finds them and the gaps between them.

The tree is a treap ordered by address; each node knows the free gap directly below it and the widest such gap in its
subtree, so that find, insert, remove, resize and "highest gap of at least n bytes" all cost O(log n). The nodes are
also a list by `previous` and `next`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cython

from memtwin.errors import ValidationError
from memtwin.kernel.files import File
from memtwin.kernel.frames import Frames

if not cython.compiled:
    from memtwin.kernel.flags import FILE_ZERO


class AnonVma:
    """What ties anonymous pages to the VMAs that may map them (struct anon_vma).

    number: the owner that frames name. vmas: the VMAs of all spaces whose chain holds this one, as keys. active: how
    many of them have it as their own. parent: from whose VMA fork made it; children: how many it was made parent of,
    itself included when it has no parent.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.number = frames.new_owner(self)
        self.vmas: dict[Vma, None] = {}
        self.parent: Any = None
        self.children = 1
        self.active = 0

    def descend(self, parent: AnonVma) -> None:
        """Become a child of `parent`, right after birth."""
        self.parent = parent
        self.children = 0
        parent.children += 1

    def forget(self) -> None:
        """No VMA has it any more, so that no frame names it."""
        self.frames.forget_owner(self.number)
        if self.parent is not None:
            self.parent.children -= 1


class Vma:
    """One mapping: the pages of [start, end), all alike.

    flags: VM_* bits. pgoff: the first page's index in `file`, or for anonymous memory what start >> page_shift was at
    birth; two VMAs merge only when it runs on. inode: whose pages these are, or None. anonymous: no file, or /dev/zero
    privately (vma_is_anonymous); without inode and not anonymous: a file of which only the name is known. anon: the
    AnonVma for pages that are born here, from the first write fault on; chain: all that pages in here may belong to,
    youngest first. promise: of reserved huge pages to this mapping, or None. label: what /proc/PID/maps shows, or None.
    """

    start: int
    end: int
    flags: int
    pgoff: int
    file: Any
    inode: Any  # an Inode or None
    anonymous: bool
    space: Any
    promise: Any  # a Promise of hugepool.py, or None
    anon: Any  # AnonVma or None
    chain: Any  # a tuple of AnonVmas, or None
    label: str | None
    left: Any  # links of the tree and of the list: a Vma or None
    right: Any
    parent: Any
    previous: Any
    next: Any
    gap: int
    widest: int
    priority: int

    def page_offset(self, address: int, page_shift: int) -> int:
        """The index (pgoff) of the page at `address`, which lies in here or at the end."""
        return self.pgoff + ((address - self.start) >> page_shift)

    def part(self, start: int, end: int) -> Vma:
        """A VMA like this one for [start, end), not in the tree, its pgoff not yet moved; shares the chain."""
        new = new_vma(start, end, self.flags, self.pgoff, self.file, self.space)
        new.label = self.label
        new.promise = self.promise
        if self.chain is not None:
            new.join(self.chain, self.anon)
        return new

    def join(self, chain: tuple[AnonVma, ...], anon: AnonVma) -> None:
        """Become one of the VMAs of each AnonVma in `chain`; `anon`, one of them, is for pages born here."""
        self.chain = chain
        self.anon = anon
        anon.active += 1
        for anon in chain:
            anon.vmas[self] = None

    def leave(self) -> None:
        """Forget the chain, as a VMA that goes away must."""
        if self.chain is not None:
            self.anon.active -= 1
            for anon in self.chain:
                anon.vmas.pop(self, None)
                if not anon.vmas:
                    anon.forget()
            self.chain = None
            self.anon = None

    def __repr__(self) -> str:
        return f"<Vma {self.start:x}-{self.end:x} flags {self.flags:#x} pgoff {self.pgoff:x} {self.label or ''}>"


def new_vma(start: int, end: int, flags: int, pgoff: int, file: Any, space: Any) -> Vma:
    """A VMA that is in no tree. (A function, as a compiled constructor would box its arguments.)"""
    vma = Vma.__new__(Vma)
    vma.start = start
    vma.end = end
    vma.flags = flags
    vma.pgoff = pgoff
    vma.file = file
    vma.inode = None
    vma.anonymous = file is None
    if file is not None and isinstance(file, File):
        opened = file
        vma.inode = opened.inode
        vma.anonymous = opened.kind == FILE_ZERO
    vma.space = space
    vma.promise = None
    vma.anon = None
    vma.chain = None
    vma.label = None
    vma.left = vma.right = vma.parent = vma.previous = vma.next = None
    vma.gap = vma.widest = vma.priority = 0
    return vma


class VmaTree:
    """All VMAs of an address space, by address."""

    def __init__(self) -> None:
        self.count = 0
        self.seed = 1
        self.root: Any = None
        self.first: Any = None
        self.last: Any = None

    def find(self, address: int) -> Any:
        """The first VMA that ends above `address`, whether it covers it or not; None when there is none."""
        node = self.root
        found = None
        while node is not None:
            if address < node.end:
                found = node
                if address >= node.start:
                    break
                node = node.left
            else:
                node = node.right
        return found

    def insert(self, vma: Vma) -> None:
        """Put in a VMA that overlaps none."""
        self.seed = (self.seed * 1664525 + 1013904223) & 0x7FFFFFFF
        vma.priority = self.seed
        self.link(vma, self.find(vma.start))
        self.count += 1
        vma.gap = vma.start - (vma.previous.end if vma.previous is not None else 0)
        vma.widest = vma.gap
        if vma.next is not None:
            self.set_gap(vma.next)
        if vma.parent is not None:
            self.widen(vma.parent)
        while vma.parent is not None and vma.parent.priority < vma.priority:
            self.rotate_up(vma)

    def link(self, vma: Vma, before: Vma | None) -> None:
        """Hang `vma` in as a leaf directly below `before` (None: above all) in address order, and into the list."""
        previous = self.last if before is None else before.previous
        vma.next = before
        vma.previous = previous
        if previous is None:
            self.first = vma
        else:
            previous.next = vma
        if before is None:
            self.last = vma
        else:
            before.previous = vma
        if before is not None and before.left is None:
            before.left = vma
            vma.parent = before
        elif previous is not None:
            previous.right = vma
            vma.parent = previous
        else:
            self.root = vma
            vma.parent = None

    def remove(self, vma: Vma) -> None:
        """Take out a VMA; its own links are cleared, so that nothing keeps it alive."""
        while vma.left is not None and vma.right is not None:
            self.rotate_up(vma.left if vma.left.priority > vma.right.priority else vma.right)
        parent = vma.parent
        child = vma.left if vma.left is not None else vma.right
        self.replace(vma, child)
        if vma.previous is None:
            self.first = vma.next
        else:
            vma.previous.next = vma.next
        if vma.next is None:
            self.last = vma.previous
        else:
            vma.next.previous = vma.previous
        self.count -= 1
        after = vma.next
        vma.left = vma.right = vma.parent = vma.previous = vma.next = None
        if parent is not None:
            self.widen(parent)
        if after is not None:
            self.set_gap(after)

    def replace(self, vma: Vma, other: Vma | None) -> None:
        """Let `other` hang where `vma` hangs."""
        parent = vma.parent
        if parent is None:
            self.root = other
        elif parent.left is vma:
            parent.left = other
        else:
            parent.right = other
        if other is not None:
            other.parent = parent

    def rotate_up(self, vma: Vma) -> None:
        """Exchange `vma` with its parent, keeping the order."""
        parent = vma.parent
        assert parent is not None
        self.replace(parent, vma)
        if parent.left is vma:
            parent.left = vma.right
            if vma.right is not None:
                vma.right.parent = parent
            vma.right = parent
        else:
            parent.right = vma.left
            if vma.left is not None:
                vma.left.parent = parent
            vma.left = parent
        parent.parent = vma
        vma.widest = parent.widest
        widest = parent.gap
        if parent.left is not None and parent.left.widest > widest:
            widest = parent.left.widest
        if parent.right is not None and parent.right.widest > widest:
            widest = parent.right.widest
        parent.widest = widest

    def resize(self, vma: Vma, start: int, end: int) -> None:
        """Move a VMA's borders; it must go on overlapping none."""
        vma.start = start
        vma.end = end
        self.set_gap(vma)
        if vma.next is not None:
            self.set_gap(vma.next)

    def set_gap(self, vma: Vma) -> None:
        """Measure the gap below `vma` again."""
        gap = vma.start - (vma.previous.end if vma.previous is not None else 0)
        if gap != vma.gap:
            vma.gap = gap
            self.widen(vma)

    def widen(self, vma: Vma) -> None:
        """Bring `widest` of `vma` and of those above it up to date."""
        node: Any = vma
        while node is not None:
            widest = node.gap
            if node.left is not None and node.left.widest > widest:
                widest = node.left.widest
            if node.right is not None and node.right.widest > widest:
                widest = node.right.widest
            if widest == node.widest:
                break
            node.widest = widest
            node = node.parent

    def highest_gap(self, length: int, low: int, high: int) -> int:
        """The end of the highest free range of `length` bytes within [low, high); 0 when there is none."""
        last = self.last
        bottom = low
        if last is not None and last.end > bottom:
            bottom = last.end
        if high >= bottom and high - bottom >= length:
            return high
        return self.highest_in(self.root, length, low, high)

    def highest_in(self, node: Vma | None, length: int, low: int, high: int) -> int:
        """`highest_gap` among the gaps below the VMAs of one subtree."""
        while node is not None and node.widest >= length:
            if node.end < high:
                found = self.highest_in(node.right, length, low, high)
                if found:
                    return found
            top = node.start if node.start < high else high
            bottom = node.start - node.gap
            if bottom < low:
                bottom = low
            if top >= bottom and top - bottom >= length:
                return top
            if node.start <= low:
                return 0
            node = node.left
        return 0

    def lowest_gap(self, length: int, low: int, high: int) -> int:
        """The start of the lowest free range of `length` bytes within [low, high); 0 when there is none."""
        found = self.lowest_in(self.root, length, low, high)
        if found:
            return found
        last = self.last
        bottom = low
        if last is not None and last.end > bottom:
            bottom = last.end
        return bottom if high >= bottom and high - bottom >= length else 0

    def lowest_in(self, node: Vma | None, length: int, low: int, high: int) -> int:
        """`lowest_gap` among the gaps below the VMAs of one subtree."""
        while node is not None and node.widest >= length:
            if node.start > low:
                found = self.lowest_in(node.left, length, low, high)
                if found:
                    return found
            top = node.start if node.start < high else high
            bottom = node.start - node.gap
            if bottom < low:
                bottom = low
            if top >= bottom and top - bottom >= length:
                return bottom
            if node.end >= high:
                return 0
            node = node.right
        return 0

    def __len__(self) -> int:
        return int(self.count)

    def __iter__(self) -> Iterator[Vma]:
        node = self.first
        while node is not None:
            yield node
            node = node.next


def validate_tree(tree: VmaTree) -> None:
    """Raise ValidationError unless the VMAs are sorted, disjoint, linked both ways, and every gap is right."""
    end = count = 0
    previous = None
    for vma in tree:
        if not end <= vma.start < vma.end:
            raise ValidationError(f"{vma!r} is empty or begins below {end:#x}, where the one before ends")
        if vma.previous is not previous or vma.gap != vma.start - end:
            raise ValidationError(f"{vma!r}: its neighbour below or its gap {vma.gap:#x} is wrong")
        end, previous, count = vma.end, vma, count + 1
    if count != tree.count or tree.last is not previous:
        raise ValidationError(f"{count} VMAs in the list, {tree.count} counted")
    if _validate_node(tree.root)[1] != count:
        raise ValidationError("the tree and the list hold different VMAs")


def _validate_node(node: Vma | None) -> tuple[int, int]:
    """Widest gap and number of nodes of a subtree, found the slow way and compared."""
    if node is None:
        return 0, 0
    for child in (node.left, node.right):
        if child is not None and (child.parent is not node or child.priority > node.priority):
            raise ValidationError(f"{child!r} hangs wrongly in the tree")
    left, right = _validate_node(node.left), _validate_node(node.right)
    widest = max(node.gap, left[0], right[0])
    if widest != node.widest:
        raise ValidationError(f"{node!r}: widest gap {node.widest:#x}, really {widest:#x}")
    return widest, left[1] + right[1] + 1
