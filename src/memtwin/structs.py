# SPDX-License-Identifier: LGPL-2.1-or-later
"""C structures and unions as views, for pictures and tables.

>>> from memtwin import layout
>>> layout("struct s { char a; double d; int i; };")
<LayoutView struct s: 24 bytes, 11 of them padding, alignment 8>
>>> layout("struct s { char a; double d; int i; };", best=True)
<LayoutView struct s: 16 bytes, 3 of them padding, alignment 8>
"""

from __future__ import annotations

from memtwin.abi.layout import CACHE_LINE, Layout, lay_out
from memtwin.abi.model import data_model as model_named
from memtwin.abi.order import best_order
from memtwin.abi.parse import parse_records
from memtwin.errors import UserError
from memtwin.views import LayoutView, Member


def layout(declaration: str, data_model: str = "LP64", best: bool = False) -> LayoutView:
    """How gcc lays out the last structure or union that C declarations define.

    data_model: "LP64" (x86-64) or "ILP32" (gcc -m32). best: its members in the order that wastes least.
    UserError: no C declaration, with the place of the mistake, or none that defines a structure.
    """
    records = [record for record in parse_records(declaration, model_named(data_model)) if record.name]
    if not records:
        raise UserError("no struct or union with a name is defined in this declaration: nothing to lay out")
    return view_of(best_order(records[-1]).layout if best else lay_out(records[-1]))


def view_of(found: Layout) -> LayoutView:
    """A layout of abi/ as a view."""
    members = tuple(
        Member(p.member.name, p.member.declared, p.offset, p.size, None if p.member.bits is None else (p.bit, p.bits))
        for p in found.places
        if p.bits
    )
    return LayoutView(found.record.title, found.size, found.align, members, CACHE_LINE)
