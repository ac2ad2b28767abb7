# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads of the twin: what pthread_create(3) does to memory, and the calls that a thread makes.

A new thread gets a stack of its own, mapped inaccessible with a guard page at its low end and then made writable
(nptl/allocatestack.c), and a table of its thread-local storage, a calloc of the creator (elf/dl-tls.c, allocate_dtv).
The stack of a thread that has ended is kept, table and all, and the next one gets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtwin.errors import UserError
from memtwin.twin.heapcalls import HeapCalls
from memtwin.twin.mapcalls import MapCalls

if TYPE_CHECKING:
    from memtwin.twin.process import Process

STACK_SIZE = 8 << 20  # bytes: the usual RLIMIT_STACK, which is the default size of threads' stacks
_DTV_ENTRIES = 17  # one module with thread-local storage, 14 to spare, two for the table's own use
_MAP_STACK, _PROT_NONE, _READ_WRITE, _PRIVATE_ANONYMOUS, _WRITE = 0x20000, 0, 3, 0x22, 2
_EAGAIN = 11


class ThreadCalls(HeapCalls, MapCalls):
    """`thread`, and the stacks that go with it. threads: those that live, by tid."""

    threads: dict[int, Thread]
    spare_stacks: list[int]  # guard pages' addresses of stacks whose thread has ended, the last one first out
    _thread: int
    _made_threads: int

    def thread(self) -> Thread:
        """pthread_create(3): a new thread, which makes the same calls with its own tcache and arena.

        UserError: there is no memory for its stack.
        """
        stack = self.spare_stacks.pop() if self.spare_stacks else self._new_stack()
        self._made_threads += 1
        tid = self.pid + 100_000 * self._made_threads
        with self._together():
            self._do(self.libc.thread_start, tid)
        self._keep_stack_resident(stack)
        self.threads[tid] = Thread(self, tid, stack)
        return self.threads[tid]

    def _new_stack(self) -> int:
        """mmap, mprotect, calloc, and a first write to the thread's control block at the high end."""
        page = int(self.space.page_size)
        stack = self.mmap(0, STACK_SIZE + page, _PROT_NONE, _PRIVATE_ANONYMOUS | _MAP_STACK)
        if stack == -1:
            raise UserError("pthread_create: EAGAIN, no memory is left for another stack")
        with self._together():
            self.mprotect(stack + page, STACK_SIZE, _READ_WRITE)
        with self._together():
            self.calloc(_DTV_ENTRIES, 2 * self.word)
        with self._together():
            self._do(self.space.touch, stack + STACK_SIZE, page, _WRITE)
        return stack

    def _keep_stack_resident(self, stack: int) -> None:
        """The pages that a running thread uses, without counting them; see memtwin.twin.process."""
        page = int(self.space.page_size)
        self.space.touch(stack + STACK_SIZE - 3 * page, 4 * page, _WRITE)

    def _forked(self, parent: ThreadCalls) -> None:
        """In a child only the calling thread goes on: the other stacks are spare (nptl/reclaim_stacks)."""
        others = [thread.stack for tid, thread in parent.threads.items() if tid != parent._thread]
        self.spare_stacks = [*parent.spare_stacks, *others]
        self._made_threads = parent._made_threads


class Thread:
    """A thread: the calls of its process, made with its own tcache and arena; `Process.thread` makes it.

    tid: its number; stack: address of its guard page, above which its stack lies.
    """

    def __init__(self, process: Any, tid: int, stack: int) -> None:
        self._process: Process = process
        self.tid = tid
        self.stack = stack

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
        """The thread ends and is joined: its tcache is flushed, its arena given up, its stack kept for the next."""
        process = self._process
        process._do(process.libc.thread_exit, self.tid)
        del process.threads[self.tid]
        process.spare_stacks.append(self.stack)

    def __repr__(self) -> str:
        return f"<Thread {self.tid} of process {self._process.pid}>"
