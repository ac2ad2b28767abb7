# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the images of a recording descend from each other: keys, parents, and the order to import them in."""

from __future__ import annotations

from dataclasses import dataclass, field

from memtwin.trace.raw import RawHeader


@dataclass(eq=False)
class Member:
    """One image among its relatives."""

    header: RawHeader
    key: str = ""
    origin: str = "start"  # one of header.ORIGINS
    parent: Member | None = None
    children: list[Member] = field(default_factory=list)


def relate(headers: list[RawHeader]) -> list[Member]:
    """The images with keys and parents, each after the one it came from.

    A fork child names the image it continues. An image of a process that has an earlier one came by exec; any other
    is a spawned child of the latest image that its parent process had by then.
    """
    members = [Member(header) for header in sorted(headers, key=lambda one: (one.start_ns, one.pid))]
    by_pid: dict[int, list[Member]] = {}
    by_start: dict[int, list[Member]] = {}
    for member in members:
        _find_parent(member, by_pid, by_start)
        earlier = by_pid.setdefault(member.header.pid, [])
        member.key = f"{member.header.pid}.{len(earlier)}" if earlier else str(member.header.pid)
        earlier.append(member)
        by_start.setdefault(member.header.start_ns, []).append(member)
        if member.parent:
            member.parent.children.append(member)
    return members


def _find_parent(member: Member, by_pid: dict[int, list[Member]], by_start: dict[int, list[Member]]) -> None:
    header = member.header
    if header.parent_start_ns:
        candidates = by_start.get(header.parent_start_ns, [])
        exact = [one for one in candidates if one.header.pid == header.parent_pid] or candidates
        member.parent, member.origin = (exact[0], "fork") if exact else (None, "start")
        return
    earlier = by_pid.get(header.pid, [])
    if earlier and earlier[-1].header.process_start == header.process_start:
        member.parent, member.origin = earlier[-1], "exec"
    elif by_pid.get(header.parent_pid):
        member.parent, member.origin = by_pid[header.parent_pid][-1], "spawn"
