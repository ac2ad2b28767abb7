# SPDX-License-Identifier: LGPL-2.1-or-later
"""The chapter's print_chars(5, 'X'), with the free and without it."""

from memtwin import Machine


def print_chars(process, count, letter, forget=False):
    """A string of `count` letters, built in memory of its own."""
    p = process.malloc(count + 1)
    process.memset(p, ord(letter), count)
    process.write(p + count, b"\0")
    print(process.read(p, count).decode())
    if not forget:
        process.free(p)


process = Machine(ram="64 MiB").spawn()
for forget in (False, True):
    for _ in range(100):
        last = process.mallinfo2()["uordblks"]
        print_chars(process, 5, "X", forget)
    grown = process.mallinfo2()["uordblks"] - last
    print(f"{'without' if forget else 'with'} the free, a call leaves {grown} bytes in use")
