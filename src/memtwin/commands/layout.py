# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin layout`: where the members of a C struct lie, what its padding costs, and the order that wastes least."""

from __future__ import annotations

import json
import sys
from functools import partial, reduce
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memtwin.abi.ctype import Record
from memtwin.abi.layout import BYTE, CACHE_LINE, Field, Layout, fields, lay_out
from memtwin.abi.model import data_model
from memtwin.abi.order import BestOrder, best_order
from memtwin.abi.parse import MAX_TEXT, parse_records
from memtwin.commands.progress import Output
from memtwin.errors import UserError
from memtwin.pictures import below
from memtwin.structs import view_of
from memtwin.units import format_size

_WIDTH = 100


def command(
    declaration: Annotated[
        str, typer.Argument(help="C declarations, or a file that holds them; - or nothing: standard input.")
    ] = "-",
    model: Annotated[str, typer.Option("--data-model", help="LP64 (x86-64) or ILP32 (i386, gcc -m32).")] = "LP64",
    count: Annotated[int, typer.Option(min=1, help="How many elements you keep, to tell what padding costs.")] = 1,
    only: Annotated[str, typer.Option(help="The one struct or union to show, by its tag or typedef.")] = "",
    svg: Annotated[Path | None, typer.Option(help="Write a picture of all that is laid out to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Lay out C structs and unions as gcc does: offsets, sizes, holes, cache lines, and the best order of the members.

    memtwin layout 'struct entry { char tag; double value; short count; };' --count 1000000
    """
    chosen = data_model(model)
    records = parse_records(_text(declaration), chosen)
    if not records:
        raise UserError("no struct or union is defined in these declarations: nothing to lay out")
    if only:
        records = [record for record in records if only in (record.name, record.title)]
        if not records:
            raise UserError(f"--only {only}: no struct or union of that name is defined in these declarations")
    laid_out = [(lay_out(record), best_order(record)) for record in records if record.name]
    if svg is not None:
        _draw([layout for layout, _ in laid_out], svg)
    if as_json:
        found = [to_json(layout, best, count) for layout, best in laid_out]
        print(json.dumps({"data_model": chosen.name, "count": count, "records": found}, indent=1))
        return
    console = Output(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for layout, best in laid_out:
        print_layout(console, layout, best, count)


def _draw(layouts: list[Layout], file: Path) -> None:
    """One picture below the other. UserError: nothing to draw, or the file cannot be written."""
    if not layouts:
        raise UserError("no struct or union with a name is defined in these declarations: nothing to draw")
    drawn = [view_of(layout).svg() for layout in layouts]
    try:
        file.write_text(reduce(partial(below, "Layouts"), drawn), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}: give a file that can be written") from None


def _text(argument: str) -> str:
    """The declarations: standard input, a file of that name, or the argument itself."""
    if argument == "-":
        return sys.stdin.read(MAX_TEXT + 1)
    if any(mark in argument for mark in "{;"):
        return argument
    try:
        with Path(argument).open(encoding="utf-8") as file:
            return file.read(MAX_TEXT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{argument!r} is neither a C declaration nor a file that can be read: {error}") from None


def to_json(layout: Layout, best: BestOrder, count: int) -> dict[str, Any]:
    """What --json prints of one record."""
    return {
        "kind": layout.record.kind,
        "name": layout.record.name,
        "size_bytes": layout.size,
        "align_bytes": layout.align,
        "padding_bits": layout.padding_bits,
        "cache_lines": -(-layout.size // CACHE_LINE),
        "members": [_field_json(field) for field in fields(layout)],
        "holes": [{"offset_bytes": bit // BYTE, "bit": bit % BYTE, "bits": bits} for bit, bits in layout.holes()],
        "best_order": {
            "members": [place.member.name for place in best.layout.places],
            "size_bytes": best.layout.size,
            "saved_bytes": best.saved,
            "saved_bytes_in_all": best.saved * count,
            "least_possible": best.least,
            "declaration": declaration_of(best.layout.record),
        },
    }


def _field_json(field: Field) -> dict[str, Any]:
    member = field.place.member
    return {
        "path": field.path,
        "declared": member.declared,
        "depth": field.depth,
        "offset_bytes": field.offset,
        "size_bytes": field.place.size,
        "bit": None if member.bits is None else field.bit % BYTE,
        "bits": member.bits,
    }


def print_layout(console: Console, layout: Layout, best: BestOrder, count: int) -> None:
    """One record for a person: the members with holes between them, what it costs, what would be better."""
    record = layout.record
    lost = f", {_bits(layout.padding_bits)} of padding ({layout.padding_bits / (layout.size * BYTE):.0%})"
    lines = -(-layout.size // CACHE_LINE)
    console.print(
        Text(record.title, style="bold").append(
            f"   {layout.size:,} bytes, aligned to {layout.align}{lost if layout.padding_bits else ', no padding'}, "
            f"{lines} cache line{'s' if lines != 1 else ''}",
            style="not bold",
        )
    )
    console.print(_table(layout))
    for place in layout.crossing():
        console.print(
            Text(f"{place.member.declared} lies across two cache lines, where the {record.kind} starts at one"),
            style="yellow",
        )
    _print_best(console, layout, best, count)
    console.print()


def _table(layout: Layout) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("offset", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("member")
    rows: list[tuple[int, int, list[Text]]] = [
        (field.bit, 1, [_at(field), _size(field), _name(field)]) for field in fields(layout)
    ]
    if layout.record.kind == "struct":
        rows += [
            (bit, 0, [Text(_offset(bit)), Text(_bits(bits)), Text("— padding", style="yellow")])
            for bit, bits in layout.holes()
        ]
    for _, _, row in sorted(rows, key=lambda one: one[:2]):
        table.add_row(*row)
    return table


def _at(field: Field) -> Text:
    return Text(str(field.offset) if field.place.member.bits is None else f"{field.offset}:{field.bit % BYTE}")


def _offset(bit: int) -> str:
    return f"{bit // BYTE}:{bit % BYTE}" if bit % BYTE else str(bit // BYTE)


def _size(field: Field) -> Text:
    bits = field.place.member.bits
    return Text(str(field.place.size) if bits is None else _bits(bits) if bits % BYTE else f"{bits} bits")


def _name(field: Field) -> Text:
    return Text("  " * field.depth + field.place.member.declared)


def _bits(bits: int) -> str:
    if bits % BYTE == 0:
        return f"{bits // BYTE:,} byte{'s' if bits != BYTE else ''}"
    return f"{bits:,} bit{'s' if bits != 1 else ''}"


def _print_best(console: Console, layout: Layout, best: BestOrder, count: int) -> None:
    if layout.record.kind == "union":
        return
    if best.saved == 0:
        sure = "No other order is smaller." if best.least else "No smaller order was found."
        console.print(Text(sure, style="green"))
        return
    often = f", {format_size(best.saved * count)} in {count:,} elements" if count > 1 else ""
    sure = "" if best.least else " (the smallest order that was found)"
    better = f"Another order of the members needs {best.layout.size:,} bytes: {best.saved:,} less{often}{sure}:"
    console.print(Text(better, style="green"))
    console.print(Text(declaration_of(best.layout.record)))


def declaration_of(record: Record) -> str:
    """The record as C text, its members in their order."""
    words = [record.kind]
    if record.packed:
        words.append("__attribute__((packed))")
    if record.name and not record.name.startswith("("):
        words.append(record.name)
    lines = [f"    {member.declared};" for member in record.members]
    return "\n".join([f"{' '.join(words)} {{", *lines, "};"])
