# SPDX-License-Identifier: LGPL-2.1-or-later
"""Structs: alignment of the largest member, padding, and the order that saves it."""

from memtwin.abi.layout import lay_out
from memtwin.abi.order import best_order
from memtwin.abi.parse import parse_records

(record,) = parse_records("struct entry { char tag; double value; short count; };")
layout, best = lay_out(record), best_order(record)
print(f"{layout.size} bytes, {layout.padding} of padding; {best.layout.size} in the order "
      + ", ".join(place.member.name for place in best.layout.places))  # fmt: skip
