# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copy on write: the first write to a page that fork left shared copies that page, and no other."""

from memtwin import Machine

PAGE = 4096
machine = Machine(ram="64 MiB")
parent = machine.spawn()
p = parent.mmap(length=4 * PAGE)
parent.touch(p, 4 * PAGE)
child = parent.fork()
child.write(p, b"the child's own")
print(f"child's write: {child.minflt} minor fault")
shared = [parent.pages(p + i * PAGE, 1).pages[0].frame == child.pages(p + i * PAGE, 1).pages[0].frame for i in range(4)]
print(f"pages still shared: {shared}")
before = parent.pages(p, 1).pages[0].frame
parent.write(p, b"last owner")
print(f"parent's write: {parent.minflt} minor fault, same frame: {parent.pages(p, 1).pages[0].frame == before}")
